//! The descriptors that the process has left, and a few kept for what must open one
//! when it has none left.

use super::process::{self, DEPTH, PerProcess};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

/// How many are kept: a cancel request of the `postgres` driver opens six.
const KEPT: usize = 8;

struct State {
    /// Law: the sum of all live [`Claim`]s of this process.
    claimed: usize,
    /// Law: the number of live [`Reserve`]s of this process.
    reserves: usize,
    /// Law: empty without a reserve; at most `KEPT`.
    kept: Vec<OwnedFd>,
}

static STATE: PerProcess<Mutex<State>> = PerProcess::new(
    [const { Mutex::new(State { claimed: 0, reserves: 0, kept: Vec::new() }) }; DEPTH],
);

/// Signalled when a claim is dropped.
static RELEASED: PerProcess<Condvar> = PerProcess::new([const { Condvar::new() }; DEPTH]);

/// Descriptors that its owner is about to open.
#[must_use]
pub(crate) struct Claim {
    generation: usize,
    count: usize,
    /// They came from those that are kept.
    from_reserve: bool,
}

/// Keeps a few descriptors for later, until it is dropped.
#[must_use]
pub(crate) struct Reserve {
    generation: usize,
}

/// Makes sure that so many descriptors can be opened now, beside those that other
/// claims of this process are about to open; if only those are in the way, waits for
/// them until the deadline. Other code may still take the descriptors first.
///
/// # Errors
///
/// The system's error, usually that the process has no descriptor left.
pub(crate) fn claim(count: usize, deadline: Instant) -> io::Result<Claim> {
    let mut state = STATE.get().lock();
    while let Err(error) = open(state.claimed + count) {
        // What a claim is for may be open by now, and is then counted twice.
        if state.claimed == 0 || RELEASED.get().wait_until(&mut state, deadline).timed_out() {
            open(count).map_err(|_| error)?;
            break;
        }
    }
    state.claimed += count;
    Ok(Claim { generation: process::generation(), count, from_reserve: false })
}

/// As [`claim`], for what must not fail for want of a descriptor: gives up those that are
/// kept, if there are too few others, until the claim is dropped.
pub(crate) fn claim_kept(count: usize) -> io::Result<Claim> {
    if let Ok(claim) = claim(count, Instant::now()) {
        return Ok(claim);
    }
    let mut state = STATE.get().lock();
    state.kept.clear();
    open(count)?;
    Ok(Claim { generation: process::generation(), count: 0, from_reserve: true })
}

/// Keeps a few descriptors from now on, as far as the process has them.
pub(crate) fn reserve() -> Reserve {
    let mut state = STATE.get().lock();
    state.reserves += 1;
    state.fill();
    Reserve { generation: process::generation() }
}

impl State {
    fn fill(&mut self) {
        let missing = if self.reserves == 0 { 0 } else { KEPT - self.kept.len() };
        self.kept.extend((0..missing).map_while(|_| one().ok()));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.generation != process::generation() {
            return;
        }
        let mut state = STATE.get().lock();
        let left = state.claimed.checked_sub(self.count);
        state.claimed = left.expect("bug: more descriptors were released than claimed");
        RELEASED.get().notify_all();
        if self.from_reserve {
            state.fill();
        }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if self.generation != process::generation() {
            return;
        }
        let mut state = STATE.get().lock();
        let left = state.reserves.checked_sub(1);
        state.reserves = left.expect("bug: more reserves were dropped than made");
        if state.reserves == 0 {
            state.kept = Vec::new();
        }
    }
}

/// Opens so many at a time, and closes them.
fn open(count: usize) -> io::Result<()> {
    let opened: io::Result<Vec<OwnedFd>> = (0..count).map(|_| one()).collect();
    opened.map(drop)
}

/// A socket is the one thing that can be opened without a file system.
fn one() -> io::Result<OwnedFd> {
    UnixDatagram::unbound().map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_as_long_as_a_reserve_and_no_longer_than_all() {
        let kept = || STATE.get().lock().kept.len();
        let (one, two) = (reserve(), reserve());
        assert_eq!(kept(), KEPT);
        drop(one);
        assert_eq!(kept(), KEPT);
        let claim = claim(3, Instant::now()).expect("descriptors");
        assert_eq!(STATE.get().lock().claimed, 3);
        drop((claim, two));
        assert_eq!(STATE.get().lock().claimed, 0);
    }
}
