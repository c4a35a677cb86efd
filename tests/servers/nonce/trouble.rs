//! Faults at random, while all others are at work.

use super::{Fault, Faults, Proxy, Stage, Talk};
use fastrand::Rng;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::wait::eventually;

/// Nothing stands still for longer.
const LONGEST: Duration = Duration::from_millis(30);

/// Among the connections opened last; those before are mostly gone.
const RECENT: usize = 16;

/// Operations from one fault to the next, on average.
const EVERY: u64 = 40;

/// Until so many operations were begun, or what stands still must go on.
fn pause<F: Talk>(stage: &Stage<'_, F>, operations: u64) {
    let (begun, began) = (stage.next.load(SeqCst), Instant::now());
    while stage.next.load(SeqCst) < begun + operations && began.elapsed() < LONGEST {
        sleep(Duration::from_micros(300));
    }
}

/// Makes trouble until the work is over; returns how often of which kind. When it
/// returns, nothing is held up any more.
pub(super) fn make<F: Talk>(
    flavour: &F,
    stage: &Stage<'_, F>,
    proxy: &Proxy,
    random: &mut Rng,
) -> Faults {
    let mut made = Faults::new();
    // Connections that go on only when they are told so.
    let mut slow = Vec::new();
    while !stage.over.load(SeqCst) {
        pause(stage, random.u64(..2 * EVERY));
        let name = match random.u8(..20) {
            0..14 => {
                let (name, fault, slows) = fault(random);
                let Some(place) = hit(proxy, &fault, random) else { continue };
                if slows {
                    slow.push(place);
                }
                name
            }
            14..17 => {
                flavour.harass(random);
                "killed or cancelled by the server"
            }
            _ => {
                heal(proxy, &mut slow);
                stray::<F>(stage, proxy, random);
                "answer that nobody asked for"
            }
        };
        *made.entry(name).or_default() += 1;
        if random.u8(..3) == 0 {
            heal(proxy, &mut slow);
        }
    }
    heal(proxy, &mut slow);
    made
}

fn fault(random: &mut Rng) -> (&'static str, Fault, bool) {
    let millis = Duration::from_millis(random.u64(1..8));
    match random.u8(..7) {
        0 => ("reset", Fault::Rst, false),
        1 => ("end", Fault::Fin, false),
        2 => ("half end", Fault::HalfClose, false),
        3 => ("cut after bytes", Fault::CutAfter(random.usize(..400)), false),
        4 => ("stall", Fault::Stall, true),
        5 => ("delay", Fault::Delay(millis), true),
        _ => ("drip", Fault::Drip { bytes: random.usize(1..9), every: millis }, true),
    }
}

/// Applies a fault to some connection that is open; returns which.
fn hit(proxy: &Proxy, fault: &Fault, random: &mut Rng) -> Option<usize> {
    let accepted = proxy.accepted();
    let some = (0..RECENT).map(|_| accepted - 1 - random.usize(..accepted.min(RECENT)));
    some.into_iter().find(|place| proxy.apply_to(*place, fault))
}

fn heal(proxy: &Proxy, slow: &mut Vec<usize>) {
    for place in slow.drain(..) {
        proxy.apply_to(place, &Fault::Pass);
    }
}

/// While nobody is at work, writes an answer to idle connections: whoever gets one
/// next must not read it.
fn stray<F: Talk>(stage: &Stage<'_, F>, proxy: &Proxy, random: &mut Rng) {
    let _nobody = stage.work.write();
    // What is lied to in the middle of its log-in cannot know.
    if !eventually(LONGEST, || stage.pool.snapshot().pending == 0) {
        return;
    }
    for _ in 0..random.usize(1..4) {
        let bytes = F::stray(u64::MAX / 2, random);
        hit(proxy, &Fault::Inject(bytes), random);
    }
}
