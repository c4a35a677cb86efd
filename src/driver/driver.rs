//! The contract between the pool and a blocking database driver.

use super::attempt::Attempt;
use super::capabilities::{
    AskRole, CancelStatement, DescribeSession, HoldSlot, ObserveStatements, ReadLimits,
    ReadMessages, ResetSession, SetDefaults,
};
use super::session::{Session, SessionState, Usage};
use super::socket_access::SocketAccess;
use crate::config::{PoolOptions, Reset};
use crate::error::{BoxError, ConnectError};
use std::time::Instant;

/// A blocking database driver that a pool can open connections with.
///
/// The crate provides [`Postgres`](crate::Postgres), [`MySql`](crate::MySql) and
/// [`Sqlite`](crate::Sqlite), and [`Foreign`](crate::Foreign) for every
/// `r2d2::ManageConnection`. Implement it for another blocking client.
///
/// Three methods are enough: `label`, `connect` and `ping`. With `socket_access` a check-out
/// needs no ping, with `session_state` a broken connection is closed at check-in. What else a
/// driver may do for its pools are traits of their own, which it hands out:
///
/// | method | trait | what pools get |
/// | --- | --- | --- |
/// | [`reset`](Driver::reset) | [`ResetSession`] | sessions that are cleaned at check-in |
/// | [`cancel`](Driver::cancel) | [`CancelStatement`] | cancel handles, `statement_timeout` |
/// | [`statements`](Driver::statements) | [`ObserveStatements`] | `statement_timeout` for every statement |
/// | [`messages`](Driver::messages) | [`ReadMessages`] | the server's own reason why a connection ended |
/// | [`limits`](Driver::limits) | [`ReadLimits`] | sizes and lifetimes below the server's limits |
/// | [`roles`](Driver::roles) | [`AskRole`] | [`Role`](crate::Role) |
/// | [`defaults`](Driver::defaults) | [`SetDefaults`] | `isolation`, `read_only`, `schema`, `time_zone` |
/// | [`slots`](Driver::slots) | [`HoldSlot`] | `fleet_cap` |
/// | [`facts`](Driver::facts) | [`DescribeSession`] | the server's number in errors, encryption, exact outcomes |
///
/// # Contract
///
/// - `connect` is called on a thread of its own, without a lock. It must end by
///   [`Attempt::deadline`]: by its own means, or by passing its socket to
///   [`Attempt::watch`], which shuts it down at the deadline. A `connect` that does
///   neither keeps its permit until it returns; callers still return in time.
/// - `ping` is called on the thread of a caller, without a lock, and must end by
///   its deadline: by its own means if [`PING_IS_BOUNDED`](Driver::PING_IS_BOUNDED)
///   is `true`, else because the pool shuts down the socket from
///   [`socket_access`](Driver::socket_access). With neither, it is called on a helper
///   thread, which is left behind at the deadline.
/// - `session_state` and `socket_access` must not block.
/// - No method may call back into the pool that calls it.
/// - A panic in any method costs that one connection and nothing else.
///
/// # Examples
///
/// ```
/// use poolwarden::driver::{Attempt, Driver, SocketAccess};
/// use poolwarden::{BoxError, ConnectError, FaultClass, Pool};
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::os::fd::AsFd;
/// use std::time::Instant;
///
/// /// A client of a server that answers each byte with the same byte.
/// struct Echo(std::net::SocketAddr);
///
/// impl Driver for Echo {
///     type Connection = TcpStream;
///     type Session = TcpStream;
///
///     fn label(&self) -> String {
///         format!("echo {}", self.0)
///     }
///
///     fn connect(&self, attempt: &Attempt) -> Result<TcpStream, ConnectError> {
///         let refused = |error| ConnectError::new(FaultClass::Refused, self.label()).with_source(error);
///         TcpStream::connect_timeout(&self.0, attempt.remaining()).map_err(refused)
///     }
///
///     fn ping(&self, stream: &mut TcpStream, _: Instant) -> Result<(), BoxError> {
///         stream.write_all(b"?")?;
///         Ok(stream.read_exact(&mut [0])?)
///     }
///
///     fn socket_access<'a>(&self, stream: &'a TcpStream) -> SocketAccess<'a> {
///         SocketAccess::Socket(stream.as_fd())
///     }
/// }
///
/// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let address = server.local_addr()?;
/// # std::thread::spawn(move || {
/// #     for mut stream in server.incoming().flatten() {
/// #         let mut copy = stream.try_clone().expect("a descriptor");
/// #         std::thread::spawn(move || std::io::copy(&mut copy, &mut stream));
/// #     }
/// # });
/// let pool = Pool::builder().max_size(2).build(Echo(address))?;
/// let mut stream = pool.get()?;
/// stream.write_all(b"hello")?;
/// let mut answer = [0; 5];
/// stream.read_exact(&mut answer)?;
/// assert_eq!(&answer, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Driver: Send + Sync + 'static {
    /// What a guard derefs to: the driver's own connection type.
    type Connection: Send + 'static;

    /// A session: the connection, alone or with what the driver stores beside it.
    type Session: Session<Self::Connection>;

    /// `true` if `ping` ends by its deadline by its own means. Default: `false`.
    const PING_IS_BOUNDED: bool = false;

    /// Returns the server's name for logs and errors, without a secret:
    /// `postgres 127.0.0.1:5432/app`.
    ///
    /// It is the default name of a pool.
    fn label(&self) -> String;

    /// Opens one session, authentication included.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`] whose class decides whether callers wait or fail fast.
    fn connect(&self, attempt: &Attempt) -> Result<Self::Session, ConnectError>;

    /// Pings the server, one round trip, by the deadline.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn ping(&self, session: &mut Self::Session, deadline: Instant) -> Result<(), BoxError>;

    /// Returns how the connection can be checked without a round trip.
    ///
    /// Called at every check-out. Default: it cannot, so that every check-out pings.
    fn socket_access<'a>(&self, session: &'a Self::Session) -> SocketAccess<'a> {
        let _ = session;
        SocketAccess::Unavailable
    }

    /// Returns, without I/O, the state in which a caller left the session.
    ///
    /// Called at every check-in, and with [`Usage::Raw`] and [`Reset::None`] to find out whether
    /// the connection is broken. What was never borrowed mutably ([`Usage::Unused`]) is as it was
    /// at the last check-out, unless the driver changes sessions by shared references. Default:
    /// clean.
    fn session_state(
        &self,
        session: &mut Self::Session,
        usage: Usage,
        reset: Reset,
    ) -> SessionState {
        let _ = (session, usage, reset);
        SessionState::Clean
    }

    /// Returns `true` if a connection can be used on this thread; otherwise none is handed
    /// out there.
    ///
    /// Called at every check-out, so it must cost next to nothing. Default: `true`.
    fn is_usable_here(&self) -> bool {
        true
    }

    /// Returns `true` if the driver can do blocking I/O on this thread.
    ///
    /// Called before a caller would wait or ping, and never for a healthy idle connection.
    /// The pool itself refuses to block a thread that drives an async runtime, unless
    /// `allow_async_threads` is set. Default: where a connection can be used.
    fn may_block_here(&self) -> bool {
        self.is_usable_here()
    }

    /// Returns the pool options from the driver's own configuration: they are the
    /// defaults of its pools and managers.
    ///
    /// They must have passed [`PoolOptions::check`]. Default: none.
    fn options(&self) -> Option<&PoolOptions> {
        None
    }

    /// Returns what resets sessions. Default: `None`; a session left
    /// [`Dirty`](SessionState::Dirty) is closed.
    fn reset(&self) -> Option<&dyn ResetSession<Self::Session>> {
        None
    }

    /// Returns what cancels statements. Default: `None`.
    fn cancel(&self) -> Option<&dyn CancelStatement<Self::Session>> {
        None
    }

    /// Returns what reports statements. Default: `None`.
    fn statements(&self) -> Option<&dyn ObserveStatements<Self::Session>> {
        None
    }

    /// Returns what reads the server's messages. Default: `None`.
    fn messages(&self) -> Option<&dyn ReadMessages<Self::Session>> {
        None
    }

    /// Returns what reads the server's limits. Default: `None`.
    fn limits(&self) -> Option<&dyn ReadLimits<Self::Session>> {
        None
    }

    /// Returns what asks for a server's role. Default: `None`.
    fn roles(&self) -> Option<&dyn AskRole<Self::Session>> {
        None
    }

    /// Returns what sets the defaults of sessions. Default: `None`.
    fn defaults(&self) -> Option<&dyn SetDefaults<Self::Session>> {
        None
    }

    /// Returns what asks for the slots of a fleet, if [`connect`](Driver::connect) takes one of
    /// [`Attempt::fleet_cap`] for each session and a reset keeps it. Default: `None`; a pool
    /// with the option `fleet_cap` is refused.
    fn slots(&self) -> Option<&dyn HoldSlot<Self::Session>> {
        None
    }

    /// Returns what describes sessions. Default: `None`.
    fn facts(&self) -> Option<&dyn DescribeSession<Self::Session>> {
        None
    }
}
