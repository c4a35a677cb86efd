//! Random faults, while all other threads work.

use super::{Fault, Faults, NonceVariant, Proxy, Round};
use fastrand::Rng;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::wait::eventually;

/// The longest time for which a connection stays stalled.
const LONGEST: Duration = Duration::from_millis(30);

/// The number of recent connections among which one is chosen; older ones are mostly closed.
const RECENT: usize = 16;

/// The average number of operations between two faults.
const EVERY: u64 = 40;

/// Waits until this number of operations were begun, or for [`LONGEST`].
fn pause<F: NonceVariant>(round_state: &Round<'_, F>, operations: u64) {
    let (begun, began) = (round_state.next.load(SeqCst), Instant::now());
    while round_state.next.load(SeqCst) < begun + operations && began.elapsed() < LONGEST {
        sleep(Duration::from_micros(300));
    }
}

/// Applies faults until the work is done; returns their numbers by kind. When it
/// returns, no connection is stalled.
pub(super) fn make<F: NonceVariant>(
    variant: &F,
    round_state: &Round<'_, F>,
    proxy: &Proxy,
    random: &mut Rng,
) -> Faults {
    let mut made = Faults::new();
    // Connections that stay slow until their fault is cleared.
    let mut slow = Vec::new();
    while !round_state.stop.load(SeqCst) {
        pause(round_state, random.u64(..2 * EVERY));
        let name = match random.u8(..20) {
            0..14 => {
                let (name, fault, slows) = fault(random);
                let Some(index) = hit(proxy, &fault, random) else { continue };
                if slows {
                    slow.push(index);
                }
                name
            }
            14..17 => {
                variant.disturb_session(random);
                "killed or cancelled by the server"
            }
            _ => {
                clear_faults(proxy, &mut slow);
                stray::<F>(round_state, proxy, random);
                "unsolicited reply"
            }
        };
        *made.entry(name).or_default() += 1;
        if random.u8(..3) == 0 {
            clear_faults(proxy, &mut slow);
        }
    }
    clear_faults(proxy, &mut slow);
    made
}

fn fault(random: &mut Rng) -> (&'static str, Fault, bool) {
    let millis = Duration::from_millis(random.u64(1..8));
    match random.u8(..7) {
        0 => ("reset", Fault::Rst, false),
        1 => ("end", Fault::Fin, false),
        2 => ("half end", Fault::HalfClose, false),
        3 => ("closed after bytes", Fault::CloseAfter(random.usize(..400)), false),
        4 => ("stall", Fault::Stall, true),
        5 => ("delay", Fault::Delay(millis), true),
        _ => ("throttle", Fault::Throttle { bytes: random.usize(1..9), every: millis }, true),
    }
}

/// Applies a fault to some connection that is open; returns which.
fn hit(proxy: &Proxy, fault: &Fault, random: &mut Rng) -> Option<usize> {
    let accepted = proxy.accepted();
    let some = (0..RECENT).map(|_| accepted - 1 - random.usize(..accepted.min(RECENT)));
    some.into_iter().find(|index| proxy.apply_to(*index, fault))
}

fn clear_faults(proxy: &Proxy, slow: &mut Vec<usize>) {
    for index in slow.drain(..) {
        proxy.apply_to(index, &Fault::Pass);
    }
}

/// While no operation runs, writes a reply to idle connections: their next borrowers
/// must not read it.
fn stray<F: NonceVariant>(round_state: &Round<'_, F>, proxy: &Proxy, random: &mut Rng) {
    let _no_work = round_state.work.write();
    // A connection in its log-in could not detect the reply.
    if !eventually(LONGEST, || round_state.pool.snapshot().levels.pending == 0) {
        return;
    }
    for _ in 0..random.usize(1..4) {
        let bytes = F::stray(u64::MAX / 2, random);
        hit(proxy, &Fault::Inject(bytes), random);
    }
}
