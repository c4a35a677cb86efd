//! The counts behind the permits of one pool.

/// How many permits of one pool are used, and for what.
pub(crate) struct PermitCounts {
    pub(crate) limit: u32,
    /// One permit of a limit above one is reserved for control connections.
    pub(crate) reserve: bool,
    pub(crate) used: u32,
    /// Law: how many of the used permits belong to control connections; one at most.
    pub(crate) control: u32,
    /// Law: how many of the used permits belong to connections being closed.
    pub(crate) leaving: u32,
    pub(crate) abandoned: u32,
    /// How many more permits the pool wants, as its group was told.
    pub(crate) wanted: u32,
    /// No pool is left that could use a permit.
    pub(crate) orphaned: bool,
}

/// How the permits of one pool are used, for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PermitUsage {
    pub(crate) limit: u32,
    pub(crate) used: u32,
    pub(crate) abandoned: u32,
}

impl PermitCounts {
    pub(crate) fn new(limit: u32) -> PermitCounts {
        PermitCounts {
            limit,
            reserve: false,
            used: 0,
            control: 0,
            leaving: 0,
            abandoned: 0,
            wanted: 0,
            orphaned: false,
        }
    }

    /// Returns how many permits connections for work may have.
    pub(crate) fn for_work(&self) -> u32 {
        self.limit - u32::from(self.reserve && self.limit > 1)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.used - self.control < self.for_work() && self.used < self.limit
    }

    /// Returns how many connections for work are not being closed.
    pub(crate) fn staying(&self) -> u32 {
        self.used - self.control - self.leaving
    }

    /// Counts a permit as free: that of a connection being closed, or the reserved one.
    pub(crate) fn release(&mut self, leaving: bool, reserved: bool) {
        self.leaving -= u32::from(leaving);
        self.control -= u32::from(reserved);
        let left = self.used.checked_sub(1);
        self.used = left.expect("bug: more permits were released than taken");
    }

    /// Counts that an abandoned connection has ended.
    pub(crate) fn abandoned_ended(&mut self) {
        let left = self.abandoned.checked_sub(1);
        self.abandoned = left.expect("bug: an abandoned connection was counted down twice");
    }

    pub(crate) fn usage(&self) -> PermitUsage {
        PermitUsage { limit: self.limit, used: self.used, abandoned: self.abandoned }
    }
}
