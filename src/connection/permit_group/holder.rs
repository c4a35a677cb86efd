//! What a pool does for the others with which it shares permits.

use std::sync::Arc;
use std::time::Duration;

/// A pool that shares permits. All its methods are called without a lock.
pub(crate) trait PermitHolder: Send + Sync {
    /// Plans again: a permit was granted to the pool, or its demand is asked for.
    fn plan_again(self: Arc<Self>);

    /// Returns how long the connection has been idle that has been idle longest.
    fn longest_idle(&self) -> Option<Duration>;

    /// Closes that connection if the group decides so; returns `true` if it did. Must not
    /// call foreign code that may block.
    fn give_up_idle(self: Arc<Self>) -> bool;
}
