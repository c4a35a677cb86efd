//! One resource limit of this process, lowered for a while.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A lowered limit; its drop restores the previous one.
#[derive(Debug)]
pub(super) struct Lowered {
    resource: Resource,
    before: Rlimit,
}

/// Lowers the soft limit of this process; the hard limit stays.
pub(super) fn lower(resource: Resource, limit: u64) -> Lowered {
    let before = getrlimit(resource);
    let lowered = Rlimit { current: Some(limit), ..before };
    setrlimit(resource, lowered).expect("a limit can be lowered");
    Lowered { resource, before }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        setrlimit(self.resource, self.before).expect("a limit can be restored");
    }
}
