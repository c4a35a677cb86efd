//! Watches the calls of log sinks and observers, which may never return.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A call that takes longer blocks: further events of the pool are dropped until it
/// returns, so that no more threads are left behind.
pub(crate) const CALL_LIMIT: Duration = Duration::from_millis(500);

/// The calls under way of one pool's log sinks and observers.
#[derive(Debug, Default)]
pub(super) struct CallGate {
    /// Law: held for a few instructions, never during a call.
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    next_number: u64,
    running: Vec<(u64, Instant)>,
}

/// A call under way.
#[must_use]
pub(super) struct Call<'a> {
    gate: &'a CallGate,
    number: u64,
}

impl CallGate {
    /// Allows a call, unless an earlier one blocks.
    pub(super) fn enter(&self, now: Instant) -> Option<Call<'_>> {
        let mut calls = self.calls.lock();
        if calls.is_blocked(now) {
            return None;
        }
        let number = calls.next_number;
        calls.next_number += 1;
        calls.running.push((number, now));
        Some(Call { gate: self, number })
    }
}

impl Calls {
    fn is_blocked(&self, now: Instant) -> bool {
        self.running.iter().any(|(_, began)| now.saturating_duration_since(*began) > CALL_LIMIT)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.gate.calls.lock().running.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_allowed_while_another_blocks() {
        let (gate, start) = (CallGate::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let first = gate.enter(at(0)).expect("no call blocks");
        drop(gate.enter(at(500)).expect("the first call is not late yet"));
        assert!((501..504).all(|millis| gate.enter(at(millis)).is_none()));
        drop(first);
        assert!(gate.enter(at(504)).is_some(), "it has returned");
    }
}
