//! The builder's methods for permits that several pools share.

use super::builder::Builder;
use crate::connection::SharedPermits;
use crate::driver::Driver;

impl<D: Driver> Builder<D> {
    /// Makes the pool one of those that share these permits: together they never have more
    /// connections than the permits allow.
    ///
    /// Default: the pool shares none. `max_size` applies as well. Use it where many pools
    /// connect to one server, or to servers behind one limit. A pool's `min_idle` connections
    /// may be given up for a pool whose callers wait, except those that
    /// [`min_permits`](Builder::min_permits) covers.
    pub fn permits(mut self, permits: &SharedPermits) -> Builder<D> {
        self.sharing.permits = Some(permits.clone());
        self
    }

    /// Sets how many of the shared permits are reserved for this pool: no other pool takes
    /// them, even while this one does not use them.
    ///
    /// A count, up to `max_size`; default 0. The sum over all pools may not exceed the limit,
    /// and one permit must be left if there is a pool without. Set it for a pool whose callers must never wait for another pool to give up a
    /// connection.
    pub fn min_permits(mut self, permits: u32) -> Builder<D> {
        self.sharing.min = Some(permits);
        self
    }

    /// Sets the pool's share of the permits while pools compete for them, in proportion to the
    /// weights of the others.
    ///
    /// 1 to 1 000; default 1. A pool with weight 2 gets twice as much as one with weight 1, if
    /// its callers need it.
    pub fn permit_weight(mut self, weight: u32) -> Builder<D> {
        self.sharing.weight = Some(weight);
        self
    }
}
