//! A gate orders threads: no test here relies on a sleep for that.

use super::LONG_TIMEOUT;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Blocks all threads that reach it until it is opened; clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    open: bool,
    arrived: usize,
}

impl Gate {
    pub fn shut() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        self.state().open = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open. A gate that a failed test left shut opens in the
    /// end, so that no thread hangs for ever.
    pub fn pass(&self) {
        let mut state = self.state();
        state.arrived += 1;
        self.0.1.notify_all();
        let passed = self.0.1.wait_timeout_while(state, 3 * LONG_TIMEOUT, |state| !state.open);
        drop(passed.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until so many threads have reached the gate in total.
    #[track_caller]
    pub fn wait_for_arrivals(&self, number: usize) {
        let state = self.state();
        let waited =
            self.0.1.wait_timeout_while(state, LONG_TIMEOUT, |state| state.arrived < number);
        let arrived = waited.unwrap_or_else(PoisonError::into_inner).0.arrived;
        assert!(arrived >= number, "{arrived} of {number} arrived to the gate");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
