//! A session: how a caller used it, the state in which it was left, and the reset's result.

use crate::sys::catch_panic::drop_catching;
use std::fmt;

/// A driver's connection, with what the driver stores beside it.
///
/// Every connection is a session by itself, and so is a pair of a connection and anything
/// else: implement it only for a type of your own.
pub trait Session<C>: Send + 'static {
    /// Returns the connection.
    fn connection(&self) -> &C;

    /// Returns the connection, to use it.
    fn connection_mut(&mut self) -> &mut C;

    /// Takes the connection out, for a caller that detaches it; the rest is dropped. Must not
    /// panic.
    fn into_connection(self) -> C;
}

impl<C: Send + 'static> Session<C> for C {
    #[inline]
    fn connection(&self) -> &C {
        self
    }

    #[inline]
    fn connection_mut(&mut self) -> &mut C {
        self
    }

    fn into_connection(self) -> C {
        self
    }
}

impl<C: Send + 'static, S: Send + 'static> Session<C> for (C, S) {
    #[inline]
    fn connection(&self) -> &C {
        &self.0
    }

    #[inline]
    fn connection_mut(&mut self) -> &mut C {
        &mut self.0
    }

    fn into_connection(self) -> C {
        let (connection, rest) = self;
        let _ = drop_catching(rest);
        connection
    }
}

/// How a caller used a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Usage {
    /// It was never borrowed mutably: no statement can have run on it.
    Unused,
    /// Only the pool's own queries used it.
    PoolQueries,
    /// It was borrowed mutably: anything may have been done with it.
    Raw,
}

/// The session state that a caller left on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// Clean: it can be handed out.
    Clean,
    /// A reset is needed.
    Dirty,
    /// A reply is outstanding or unread: a reset is not possible, the connection is
    /// closed.
    OutOfSync,
    /// The driver knows that the connection is unusable: it is closed.
    Broken,
}

/// The result of a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResetOutcome {
    /// An open transaction was rolled back.
    pub rolled_back: bool,
    /// The session is as if newly opened: its prepared state is gone, and the pool's
    /// `init` hook runs once more.
    pub cleared: bool,
}

impl ResetOutcome {
    /// Sets whether an open transaction was rolled back. Default: `false`.
    #[must_use]
    pub const fn with_rolled_back(mut self, rolled_back: bool) -> ResetOutcome {
        self.rolled_back = rolled_back;
        self
    }

    /// Sets whether the session is as if newly opened. Default: `false`.
    #[must_use]
    pub const fn with_cleared(mut self, cleared: bool) -> ResetOutcome {
        self.cleared = cleared;
        self
    }
}

/// The error of a reset of a session whose slot of a fleet another session has.
#[derive(Clone, Copy, Debug)]
pub struct SlotLost;

impl fmt::Display for SlotLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session has lost its slot of the fleet")
    }
}

impl std::error::Error for SlotLost {}
