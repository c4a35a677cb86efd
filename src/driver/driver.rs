//! The contract between the pool and a blocking database driver.

use super::attempt::Attempt;
use super::cancel::Canceller;
use super::progress::Progress;
use super::session::{ResetOutcome, SessionState, Usage};
use super::socket_access::{SocketAccess, Unsolicited};
use super::statement_observer::StatementObserver;
use crate::config::{PoolOptions, Reset, ServerLimits, SessionDefaults};
use crate::error::{BoxError, ConnectError};
use crate::observe::{Protection, ServerMessage};
use std::sync::Arc;
use std::time::Instant;

/// A blocking database driver that a pool can open connections with.
///
/// The crate provides [`Postgres`](crate::Postgres), [`MySql`](crate::MySql) and
/// [`Sqlite`](crate::Sqlite), and [`Foreign`](crate::Foreign) for every
/// `r2d2::ManageConnection`. Implement it for another blocking client.
///
/// # Contract
///
/// - `connect` is called on a thread of its own, without a lock. It must end by
///   [`Attempt::deadline`]: by its own means, or by passing its socket to
///   [`Attempt::watch`], which shuts it down at the deadline. A `connect` that does
///   neither keeps its permit until it returns; callers still return in time.
/// - `ping` is called on the thread of a caller, without a lock, and must end by
///   its deadline: by its own means if [`ping_is_bounded`](Driver::ping_is_bounded)
///   returns `true`, else because the pool shuts down the socket from
///   [`socket_access`](Driver::socket_access). With neither, it is called on a helper
///   thread, which is left behind at the deadline.
/// - `is_broken` and `socket_access` must not block.
/// - No method may call back into the pool that calls it.
/// - A panic in any method costs that one connection and nothing else.
///
/// # Examples
///
/// ```
/// use poolwarden::{BoxError, ConnectError, Pool};
/// use poolwarden::driver::{Attempt, Driver, SocketAccess};
/// use std::time::Instant;
///
/// /// A client without a server: each connection is a number.
/// struct Numbers;
///
/// impl Driver for Numbers {
///     type Connection = u32;
///     type State = ();
///
///     fn label(&self) -> String {
///         "numbers".into()
///     }
///
///     fn connect(&self, _: &Attempt) -> Result<(u32, ()), ConnectError> {
///         Ok((7, ()))
///     }
///
///     fn ping(&self, _: &mut u32, _: &mut (), _: Instant) -> Result<(), BoxError> {
///         Ok(())
///     }
///
///     fn socket_access<'a>(&self, _: &'a u32, _: &'a ()) -> SocketAccess<'a> {
///         SocketAccess::InProcess
///     }
/// }
///
/// let pool = Pool::builder().max_size(2).build(Numbers)?;
/// assert_eq!(*pool.get()?, 7);
/// # Ok::<(), poolwarden::Error>(())
/// ```
pub trait Driver: Send + Sync + 'static {
    /// What a guard derefs to: the driver's own connection type.
    type Connection: Send + 'static;

    /// What the driver stores with each connection; `()` if nothing.
    type State: Send + 'static;

    /// Returns the server's name for logs and errors, without a secret:
    /// `postgres 127.0.0.1:5432/app`.
    ///
    /// It is the default name of a pool.
    fn label(&self) -> String;

    /// Returns the pool options from the driver's own configuration: they are the
    /// defaults of its pools and managers.
    ///
    /// They must have passed [`PoolOptions::check`]. Default: none.
    fn options(&self) -> Option<&PoolOptions> {
        None
    }

    /// Opens one connection, authentication included.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`] whose class decides whether callers wait or fail fast.
    fn connect(&self, attempt: &Attempt) -> Result<(Self::Connection, Self::State), ConnectError>;

    /// Pings the server, one round trip, by the deadline.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn ping(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
        deadline: Instant,
    ) -> Result<(), BoxError>;

    /// Returns `true` if the server is writable: one round trip, which counts as a ping
    /// and has a ping's deadline. Default: a ping; a server that answers is writable.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn is_writable(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
        deadline: Instant,
    ) -> Result<bool, BoxError> {
        self.ping(connection, state, deadline).map(|()| true)
    }

    /// Returns `true` if the server is a standby: one round trip, which counts as a ping
    /// and has a ping's deadline. Default: a ping; a server that answers is one.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn is_standby(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
        deadline: Instant,
    ) -> Result<bool, BoxError> {
        self.ping(connection, state, deadline).map(|()| true)
    }

    /// Returns how the connection can be checked without a round trip.
    ///
    /// Default: it cannot, so that every check-out pings.
    fn socket_access<'a>(
        &self,
        connection: &'a Self::Connection,
        state: &'a Self::State,
    ) -> SocketAccess<'a> {
        let _ = (connection, state);
        SocketAccess::Unavailable
    }

    /// Returns `true` at check-in, without I/O, if the driver knows that the connection
    /// is unusable. Default: it does not know.
    fn is_broken(&self, connection: &mut Self::Connection, state: &mut Self::State) -> bool {
        let _ = (connection, state);
        false
    }

    /// Prepares for an immediate drop; returns `true` if a reply is still outstanding.
    /// No I/O.
    ///
    /// Called once, before the connection is dropped. If a reply is outstanding, the pool
    /// first shuts down the socket from [`socket_access`](Driver::socket_access).
    /// Default: none is outstanding.
    fn give_up(&self, connection: &mut Self::Connection, state: &mut Self::State) -> bool {
        let _ = (connection, state);
        false
    }

    /// Records that the session is as a borrower is to find it: it is new or was reset, and
    /// the pool's `init` hook has run. No I/O.
    ///
    /// What changes from then on is what [`session_state`](Driver::session_state) reports.
    /// Default: nothing is recorded.
    fn mark_clean(&self, connection: &mut Self::Connection, state: &mut Self::State) {
        let _ = (connection, state);
    }

    /// Returns, at check-in and without I/O, the session state that the caller left.
    ///
    /// Default: clean.
    fn session_state(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
        usage: Usage,
        reset: Reset,
    ) -> SessionState {
        let _ = (connection, state, usage, reset);
        SessionState::Clean
    }

    /// Resets the session state that the caller left; one round trip if possible.
    ///
    /// Called at check-in after [`SessionState::Dirty`], without a lock. At the deadline
    /// the socket that [`socket_access`](Driver::socket_access) names is shut down.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded; [`SlotLost`](crate::driver::SlotLost) if it has
    /// no slot of its fleet any more.
    fn reset(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
        usage: Usage,
        reset: Reset,
    ) -> Result<ResetOutcome, BoxError> {
        let _ = (connection, state, usage, reset);
        Ok(ResetOutcome::default())
    }

    /// Returns `true` if [`connect`](Driver::connect) takes a slot of
    /// [`Attempt::fleet_cap`] for each connection and a reset keeps it. Default: `false`, and
    /// a pool with the option `fleet_cap` is refused.
    fn supports_fleet_cap(&self) -> bool {
        false
    }

    /// Returns `true` if another session waits for a slot of the fleet in which this one has
    /// one; one round trip.
    ///
    /// Called at check-in, from time to time, in a pool with a `fleet_cap`, without a lock and
    /// bounded like [`reset`](Driver::reset). Default: none waits.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn slot_is_wanted(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
    ) -> Result<bool, BoxError> {
        let _ = (connection, state);
        Ok(false)
    }

    /// Returns the name of a session default that is set and that this database does not
    /// have. Default: it has none.
    fn missing_session_default(&self, defaults: &SessionDefaults) -> Option<&'static str> {
        defaults.names().next()
    }

    /// Sets the defaults of a new session, and of one that a reset has cleared; one round
    /// trip if possible.
    ///
    /// Called only if one is set and none is missing, on a thread that may block, before
    /// the `init` hook and within its deadline.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn set_session_defaults(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
        defaults: &SessionDefaults,
    ) -> Result<(), BoxError> {
        let _ = (connection, state, defaults);
        Ok(())
    }

    /// Reads the server's final message from the bytes in front of the stream's end.
    ///
    /// The bytes may be truncated and may be anything. Default: none.
    fn read_message(&self, bytes: &[u8]) -> Option<ServerMessage> {
        let _ = bytes;
        None
    }

    /// Returns the server's final message, if the driver has received it, without I/O.
    /// Default: none.
    fn final_message(&self, state: &Self::State) -> Option<ServerMessage> {
        let _ = state;
        None
    }

    /// Returns the server's number for the session, to find it in the server's log.
    /// Default: none.
    fn server_process(&self, connection: &Self::Connection, state: &Self::State) -> Option<u64> {
        let _ = (connection, state);
        None
    }

    /// Returns how much was sent and committed on a connection, without I/O. Default:
    /// unknown.
    fn progress(&self, state: &Self::State) -> Option<Progress> {
        let _ = state;
        None
    }

    /// Returns whether a transaction is open, without I/O. Default: unknown.
    fn is_in_transaction(
        &self,
        connection: &Self::Connection,
        state: &Self::State,
    ) -> Option<bool> {
        let _ = (connection, state);
        None
    }

    /// Extracts the server's message from an error that a ping returned. Default: none.
    fn message_of(&self, error: &BoxError) -> Option<ServerMessage> {
        let _ = error;
        None
    }

    /// Reads the server's final message from a connection that the peer has closed, where
    /// the pending bytes are not readable as they are (TLS).
    ///
    /// Must not block and must not send. Default: none.
    fn read_final_message(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
    ) -> Option<ServerMessage> {
        let _ = (connection, state);
        None
    }

    /// Returns how the traffic of a new connection is protected, without I/O. Default:
    /// unknown.
    fn protection(&self, connection: &Self::Connection, state: &Self::State) -> Option<Protection> {
        let _ = (connection, state);
        None
    }

    /// Decides about bytes that arrived on an idle connection which is still open.
    ///
    /// Default: ping the server.
    fn unsolicited(&self, state: &Self::State, bytes: &[u8]) -> Unsolicited {
        let _ = (state, bytes);
        Unsolicited::Ping
    }

    /// Returns `true` if `ping` ends by its deadline by its own means. Default: `false`.
    fn ping_is_bounded(&self) -> bool {
        false
    }

    /// Returns `true` if the driver can do blocking I/O on this thread.
    ///
    /// Called before a caller would wait or ping, and never for a healthy idle connection.
    /// The pool itself refuses to block a thread that drives an async runtime, unless
    /// `allow_async_threads` is set. Default: `true`.
    fn may_block_here(&self) -> bool {
        true
    }

    /// Returns `true` if a connection can be used on this thread; otherwise none is handed
    /// out there.
    ///
    /// Called at every check-out, so it must cost next to nothing. Default: `true`.
    fn is_usable_here(&self) -> bool {
        true
    }

    /// Reads the server's limits over this connection, by the deadline.
    ///
    /// A limit that is not available is `None`, and not an error. Default: none is known.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded, the limits stay as they were.
    fn server_limits(
        &self,
        connection: &mut Self::Connection,
        state: &mut Self::State,
        deadline: Instant,
    ) -> Result<Option<ServerLimits>, BoxError> {
        let _ = (connection, state, deadline);
        Ok(None)
    }

    /// Returns a handle that cancels the running statement. Must not block. Default:
    /// none.
    fn canceller(&self, connection: &Self::Connection, state: &Self::State) -> Option<Canceller> {
        let _ = (connection, state);
        None
    }

    /// Registers an observer of every statement on this connection; returns `true` if the
    /// driver will call it. Must not block.
    ///
    /// Called at most once for a connection. Default: `false`, and a `statement_timeout`
    /// bounds only what the pool itself does with the connection.
    fn observe_statements(
        &self,
        connection: &Self::Connection,
        state: &Self::State,
        observer: Arc<dyn StatementObserver>,
    ) -> bool {
        let _ = (connection, state, observer);
        false
    }

    /// Returns `true` if a cancel request needs a session of the server, as a connection
    /// does.
    ///
    /// Then each request takes a permit, and with a `statement_timeout` one permit is
    /// reserved for requests. Default: `false`.
    fn cancelling_takes_a_session(&self) -> bool {
        false
    }
}
