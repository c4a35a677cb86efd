//! What the connections of all databases have in common: a guard that stays on its thread.

use crate::driver::Driver;
use crate::pool::PooledConnection;
use std::fmt;
use std::marker::PhantomData;

/// A guard that is not `Send`: no other thread can use it, or still use it when its request
/// has closed it.
pub(super) struct Lent<D: Driver> {
    guard: PooledConnection<D>,
    stays_here: PhantomData<*const ()>,
}

impl<D: Driver> Lent<D> {
    pub(super) fn new(guard: PooledConnection<D>) -> Lent<D> {
        Lent { guard, stays_here: PhantomData }
    }

    pub(super) fn get(&self) -> &D::Connection {
        &self.guard
    }

    pub(super) fn get_mut(&mut self) -> &mut D::Connection {
        &mut self.guard
    }
}

impl<D: Driver> fmt::Debug for Lent<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}
