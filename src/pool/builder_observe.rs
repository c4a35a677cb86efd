//! The builder's options that concern what the pool reports.

use super::builder::Builder;
use crate::driver::Driver;
use crate::observe::Observer;
use std::sync::Arc;
use std::time::Duration;

/// # Reports
impl<D: Driver> Builder<D> {
    /// Registers an observer of the pool's events; more than one may be registered.
    ///
    /// With an observer every check-out and check-in calls it; without one they cost nothing.
    pub fn observer(mut self, observer: impl Observer) -> Builder<D> {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Sets how long a caller may hold a connection before the pool logs it; `None` is
    /// never.
    ///
    /// 1 ms to one year; default `None`. One line names the call site and the thread while
    /// the connection is still held, and another one follows when it comes back; an
    /// [`Observer`] gets both events. The housekeeper looks once a second.
    ///
    /// The pool cannot tell a guard that was forgotten from one that is in use; where the
    /// thread that checked it out has ended, the line says so.
    pub fn held_warning(mut self, limit: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.held_warning = Some(limit.into());
        self
    }

    /// Sets in how many check-outs of each connection one records the calls that led to it, for
    /// the line of [`held_warning`](Builder::held_warning); 0 is none.
    ///
    /// Default 0; it needs `held_warning`. The line names the call site in any case; the calls
    /// help where one function checks out for many. The first check-out of a connection is one
    /// of them; 1 is every one. A stack costs some microseconds to record. Its names are looked
    /// up in the program's debug information when the line is written, on the housekeeper's
    /// thread, which takes some 100 ms the first time and keeps that information in memory.
    pub fn held_backtrace(mut self, one_in: u32) -> Builder<D> {
        self.options.held_backtrace = Some(one_in);
        self
    }

    /// Sets how long a check-out may take before the pool logs it; `None` is never.
    ///
    /// 1 ms to one year; default `None`. The line names the call site; an [`Observer`] gets
    /// [`slow_checkout`](Observer::slow_checkout). Check-outs that time out are logged in any
    /// case.
    pub fn slow_checkout(mut self, limit: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.slow_checkout = Some(limit.into());
        self
    }

    /// Sets how long a statement may take before the pool logs it; `None` is never.
    ///
    /// 1 ms to one year; default `None`. The line names the call site of the check-out, never
    /// the statement's text; an [`Observer`] gets [`slow_statement`](Observer::slow_statement),
    /// on the thread that ran the statement.
    ///
    /// Over PostgreSQL's TCP and TLS connections the pool sees every statement. Elsewhere the
    /// driver shows nothing of them: the pool's own queries are timed, but what a guard or a
    /// [`transaction`](crate::Pool::transaction) runs is not.
    pub fn slow_statement(mut self, limit: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.slow_statement = Some(limit.into());
        self
    }
}
