//! The contract between the pool and a blocking database driver.

mod attempt;
mod cancel;
mod gauge;

pub(crate) use attempt::Terms;
pub use attempt::{Attempt, Expired};
pub use cancel::{Cancelled, Canceller, Request};
pub use gauge::Gauge;

use crate::config::Knobs;
use crate::error::{BoxError, ConnectError};
use crate::limits::ServerLimits;
use crate::observe::{Protection, Words};
use crate::reset::{Cleaned, Handling, Leftovers, Reset};
use std::sync::Arc;
use std::time::Instant;

/// A blocking database driver that a pool can open connections with.
///
/// The crate brings [`Postgres`](crate::Postgres), [`MySql`](crate::MySql) and
/// [`Sqlite`](crate::Sqlite), and [`Foreign`](crate::Foreign) for every
/// `r2d2::ManageConnection`. Implement it for another blocking client.
///
/// # Laws
///
/// - `connect` is called on a thread of its own, without a lock. It must end by
///   [`Attempt::deadline`]: by its own means, or because it told the attempt its
///   socket with [`Attempt::watch`], which is shut down at the deadline. One that
///   does neither keeps its permit until it ends; callers still return in time.
/// - `ping` is called on the thread of a caller, without a lock, and must end by
///   its deadline: by its own means if [`ping_is_bounded`](Driver::ping_is_bounded)
///   says so, else because the socket that [`link`](Driver::link) names is shut
///   down. With neither, it is called on a helper thread, which may be left behind.
/// - `is_broken` and `link` must not block.
/// - No method may be called back into the pool that calls it.
/// - A panic in any method costs that one connection and nothing else.
///
/// # Examples
///
/// ```
/// use poolwarden::{Attempt, BoxError, ConnectError, Driver, Link, Pool};
/// use std::time::Instant;
///
/// /// A client without a server: each connection is a number.
/// struct Numbers;
///
/// impl Driver for Numbers {
///     type Connection = u32;
///     type Side = ();
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
///     fn link<'a>(&self, _: &'a u32, _: &'a ()) -> Link<'a> {
///         Link::InProcess
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

    /// What the driver keeps beside each connection; `()` if nothing.
    type Side: Send + 'static;

    /// Names the server for people, without a secret: `postgres 127.0.0.1:5432/app`.
    ///
    /// The default name of a pool.
    fn label(&self) -> String;

    /// Names the knobs that the driver's own configuration brought along: they are
    /// the defaults of its pools and managers.
    ///
    /// They must have passed [`Knobs::check`]. Default: none.
    fn knobs(&self) -> Option<&Knobs> {
        None
    }

    /// Opens one connection, to the end of authentication.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`] whose class decides whether a caller waits or is told.
    fn connect(&self, attempt: &Attempt) -> Result<(Self::Connection, Self::Side), ConnectError>;

    /// Asks the server for a sign of life, one round trip, by the deadline.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn ping(
        &self,
        connection: &mut Self::Connection,
        side: &mut Self::Side,
        deadline: Instant,
    ) -> Result<(), BoxError>;

    /// Asks the server whether it takes writes, one round trip, which counts as a
    /// ping and has a ping's deadline. Default: a ping; whatever answers takes them.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn is_writable(
        &self,
        connection: &mut Self::Connection,
        side: &mut Self::Side,
        deadline: Instant,
    ) -> Result<bool, BoxError> {
        self.ping(connection, side, deadline).map(|()| true)
    }

    /// Says how the connection can be looked at without a round trip.
    ///
    /// Default: not at all, so that every check-out pings.
    fn link<'a>(&self, connection: &'a Self::Connection, side: &'a Self::Side) -> Link<'a> {
        let _ = (connection, side);
        Link::Hidden
    }

    /// Tells at check-in, without I/O, whether the driver knows that the
    /// connection is unusable. Default: it does not know.
    fn is_broken(&self, connection: &mut Self::Connection, side: &mut Self::Side) -> bool {
        let _ = (connection, side);
        false
    }

    /// Makes the drop that follows wait for no answer; tells, without I/O, whether
    /// one is owed.
    ///
    /// Called once, before the connection is dropped. If one is owed, the socket that
    /// [`link`](Driver::link) names is shut down first. Default: none is owed.
    fn give_up(&self, connection: &mut Self::Connection, side: &mut Self::Side) -> bool {
        let _ = (connection, side);
        false
    }

    /// Tells at check-in, without I/O, what the borrower has left behind.
    ///
    /// Default: nothing.
    fn leftovers(
        &self,
        connection: &mut Self::Connection,
        side: &mut Self::Side,
        handling: Handling,
        reset: Reset,
    ) -> Leftovers {
        let _ = (connection, side, handling, reset);
        Leftovers::None
    }

    /// Cleans what the borrower has left behind; one round trip if possible.
    ///
    /// Called at check-in after [`Leftovers::Some`], without a lock. At the deadline
    /// the socket that [`link`](Driver::link) names is shut down.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn reset(
        &self,
        connection: &mut Self::Connection,
        side: &mut Self::Side,
        handling: Handling,
        reset: Reset,
    ) -> Result<Cleaned, BoxError> {
        let _ = (connection, side, handling, reset);
        Ok(Cleaned::default())
    }

    /// Reads the server's parting words from bytes found in front of the end.
    ///
    /// The bytes may be cut off, and may be anything. Default: none.
    fn read_words(&self, bytes: &[u8]) -> Option<Words> {
        let _ = bytes;
        None
    }

    /// Returns what the server said as it ended the session, if the driver has heard
    /// it, without I/O. Default: nothing.
    fn parting_words(&self, side: &Self::Side) -> Option<Words> {
        let _ = side;
        None
    }

    /// Names the session as the server does, for whoever reads its log. Default: no
    /// name.
    fn server_process(&self, connection: &Self::Connection, side: &Self::Side) -> Option<u64> {
        let _ = (connection, side);
        None
    }

    /// Tells how far the work on a connection has come, without I/O. Default: it
    /// cannot be told.
    fn progress(&self, side: &Self::Side) -> Option<Progress> {
        let _ = side;
        None
    }

    /// Reads the server's words from an error that a ping returned. Default: none.
    fn words_of(&self, error: &BoxError) -> Option<Words> {
        let _ = error;
        None
    }

    /// Reads the server's parting words over a connection that the other side has
    /// ended, where the bytes in front of the end are not readable as they lie.
    ///
    /// Must not block and must not send. Default: none.
    fn last_words(
        &self,
        connection: &mut Self::Connection,
        side: &mut Self::Side,
    ) -> Option<Words> {
        let _ = (connection, side);
        None
    }

    /// Tells how a connection that was just opened is protected on its way to the
    /// server, without I/O. Default: it does not know.
    fn protection(&self, connection: &Self::Connection, side: &Self::Side) -> Option<Protection> {
        let _ = (connection, side);
        None
    }

    /// Decides about bytes that lie on an idle connection which is still open.
    ///
    /// Default: ask the server by a ping.
    fn unsolicited(&self, side: &Self::Side, bytes: &[u8]) -> Unsolicited {
        let _ = (side, bytes);
        Unsolicited::Ping
    }

    /// Tells whether `ping` ends by its deadline without help. Default: no.
    fn ping_is_bounded(&self) -> bool {
        false
    }

    /// Tells whether this thread may block and do the driver's I/O.
    ///
    /// Asked before a caller would wait or ping, never for a healthy idle
    /// connection. Default: yes.
    fn may_block_here(&self) -> bool {
        true
    }

    /// Reads the server's limits over this connection, by the deadline.
    ///
    /// What cannot be known is `None` and no error. Default: nothing is known.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded, the limits stay as they were.
    fn server_limits(
        &self,
        connection: &mut Self::Connection,
        side: &mut Self::Side,
        deadline: Instant,
    ) -> Result<Option<ServerLimits>, BoxError> {
        let _ = (connection, side, deadline);
        Ok(None)
    }

    /// Makes what stops the statement that runs on a connection. Must not block.
    /// Default: nothing can.
    fn canceller(&self, connection: &Self::Connection, side: &Self::Side) -> Option<Canceller> {
        let _ = (connection, side);
        None
    }

    /// Takes who wants to know of every statement sent and answered on this connection,
    /// from now on; tells whether it will be told. Must not block.
    ///
    /// Called once for a connection at most. Default: no, and a `statement_timeout`
    /// bounds what the pool itself does with the connection only.
    fn gauge(
        &self,
        connection: &Self::Connection,
        side: &Self::Side,
        gauge: Arc<dyn Gauge>,
    ) -> bool {
        let _ = (connection, side, gauge);
        false
    }

    /// Tells whether a cancel takes a session of the server, as a connection does.
    ///
    /// Then each takes a permit of the cap, and with a `statement_timeout` one is
    /// kept for them. Default: no.
    fn cancelling_takes_a_session(&self) -> bool {
        false
    }
}

/// How far the work on one connection has come, as totals since it was opened; two of
/// them tell what was done in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Requests to do something that were sent, whatever came of them.
    pub sent: u64,
    /// How often something may have been committed.
    pub committed: u64,
}

/// How a connection can be looked at without a round trip.
#[derive(Debug)]
#[non_exhaustive]
pub enum Link<'a> {
    /// A socket that can be peeked at, and shut down to end what blocks on it.
    Socket(std::os::fd::BorrowedFd<'a>),
    /// Nothing that can die by itself: the database is in this process.
    InProcess,
    /// There is a connection, but it cannot be seen: it is pinged instead.
    Hidden,
}

/// What to do about bytes that arrived on an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsolicited {
    /// They are harmless: hand the connection out.
    Keep,
    /// They must not be there, or could be taken for another's answer: discard.
    Discard,
    /// It cannot be told: ask the server.
    Ping,
}
