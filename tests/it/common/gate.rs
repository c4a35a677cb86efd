//! A gate decides what happens first: no test here relies on a sleep for that.

use super::PATIENCE;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Shut until it is opened, for all who come to it; clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    open: bool,
    came: usize,
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
    /// end, so that no thread outlives the tests for ever.
    pub fn pass(&self) {
        let mut state = self.state();
        state.came += 1;
        self.0.1.notify_all();
        let passed = self.0.1.wait_timeout_while(state, 3 * PATIENCE, |state| !state.open);
        drop(passed.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until so many have come to the gate, ever.
    #[track_caller]
    pub fn until_came(&self, number: usize) {
        let state = self.state();
        let waited = self.0.1.wait_timeout_while(state, PATIENCE, |state| state.came < number);
        let came = waited.unwrap_or_else(PoisonError::into_inner).0.came;
        assert!(came >= number, "{came} of {number} came to the gate");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
