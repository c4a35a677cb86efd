//! A driver over any r2d2 manager.

use super::foreign_socket::SocketSearch;
use crate::config::Reset;
use crate::driver::{
    Attempt, Driver, ResetOutcome, ResetSession, SessionState, SocketAccess, Usage,
};
use crate::error::{BoxError, ConnectError, Phase};
use crate::sys::sockets::Descriptor;
use r2d2::ManageConnection;
use std::fmt;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

/// A [`Driver`] over any `r2d2::ManageConnection`: diesel's, memcache's, LDAP's.
///
/// r2d2's traits show nothing of a connection's socket. Unless the pool is told where to
/// find it ([`with_tcp_port`](Foreign::with_tcp_port),
/// [`with_unix_socket`](Foreign::with_unix_socket)) or that there is none
/// ([`in_process`](Foreign::in_process)), it validates with the manager's own `is_valid` at
/// every check-out, on a helper thread, so that one that hangs costs no more than
/// `ping_timeout`.
///
/// A connect that hangs cannot be aborted, except over a unix socket: the permit stays
/// taken until the manager returns. Set the driver's own connect timeout where it has one.
///
/// What a borrower leaves behind is unknown to r2d2: see
/// [`with_reset`](Foreign::with_reset).
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use poolwarden::{Foreign, Manager, Pool, Sqlite};
/// let manager = Manager::new(Sqlite::memory()); // any r2d2 manager
/// let driver = Foreign::new(manager).in_process().with_label("cache");
/// let pool = Pool::builder().build(driver)?;
/// let two: i64 = pool.get()?.query_row("select 2", [], |row| row.get(0))?;
/// assert_eq!((two, pool.name()), (2, "cache"));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Foreign<M: ManageConnection> {
    manager: M,
    label: Option<String>,
    search: SocketSearch,
    reset: Option<Box<ResetFn<M::Connection>>>,
}

type ResetFn<C> = dyn Fn(&mut C) -> Result<ResetOutcome, BoxError> + Send + Sync;

impl<M: ManageConnection> Foreign<M> {
    /// Creates a driver from a manager.
    pub fn new(manager: M) -> Foreign<M> {
        Foreign { manager, label: None, search: SocketSearch::None, reset: None }
    }

    /// Sets the server's name for logs and errors, and the default name of its pools.
    ///
    /// It must not contain a secret. Default: `r2d2` and the name of the manager's type.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Foreign<M> {
        self.label = Some(label.into());
        self
    }

    /// Declares that the database is in this process, as SQLite is: there is no connection
    /// that could be lost.
    ///
    /// A check-out then costs no ping and no helper thread, unless
    /// [`Validation::AlwaysPing`](crate::Validation::AlwaysPing) is set. A connection whose
    /// manager reports it as broken is still closed at check-in. Default: off.
    #[must_use]
    pub fn in_process(mut self) -> Foreign<M> {
        self.search = SocketSearch::InProcess;
        self
    }

    /// Sets the server's TCP port, by which each new connection's socket is found: it is
    /// peeked at when it is checked out, instead of pinged.
    ///
    /// The port is the one that this process connects to: a proxy's, if there is one. The
    /// socket is identified by the replies to pings, usually two, that the pool makes when a
    /// connection was opened; they end with the deadline of the connect. If other code of
    /// this process connects to the same port at the same moment and the sockets cannot be
    /// told apart, or the system does not count received bytes (Linux does), that
    /// connection is pinged at every check-out. Default: none.
    #[must_use]
    pub fn with_tcp_port(mut self, port: u16) -> Foreign<M> {
        self.search = SocketSearch::Tcp(port);
        self
    }

    /// Sets the path of the server's unix socket, by which each new connection's socket is
    /// found: it is peeked at when it is checked out, instead of pinged.
    ///
    /// PostgreSQL's is named by its port: `/var/run/postgresql/.s.PGSQL.5432`. Dials take
    /// turns, each until its socket is found. If other code of this process connects
    /// to the same socket at the same moment, pings tell the sockets apart (on Linux), up to
    /// four when the connection was opened; if they cannot, that connection is pinged at every check-out.
    /// Only for managers that open exactly one connection to that socket. Default: none.
    #[must_use]
    pub fn with_unix_socket(mut self, path: impl Into<PathBuf>) -> Foreign<M> {
        self.search = SocketSearch::Unix(path.into());
        self
    }

    /// Sets what resets a session when its connection is checked in after it was borrowed
    /// mutably; a rollback, for example.
    ///
    /// It may take `ping_timeout`. If the pool has no access to the socket it runs on another
    /// thread, which holds the connection until it returns. If it returns an error, the
    /// connection is closed. It is not called with [`Reset::None`]. Default: no reset.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// # use poolwarden::{Foreign, Manager, Pool, Sqlite};
    /// # use poolwarden::driver::ResetOutcome;
    /// # let manager = Manager::new(Sqlite::memory());
    /// let driver = Foreign::new(manager).in_process().with_reset(|connection| {
    ///     let rolled_back = !connection.is_autocommit();
    ///     if rolled_back {
    ///         connection.execute_batch("rollback")?;
    ///     }
    ///     Ok(ResetOutcome::default().with_rolled_back(rolled_back))
    /// });
    /// # Pool::builder().build(driver)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_reset(
        mut self,
        reset: impl Fn(&mut M::Connection) -> Result<ResetOutcome, BoxError> + Send + Sync + 'static,
    ) -> Foreign<M> {
        self.reset = Some(Box::new(reset));
        self
    }

    /// Returns the manager.
    pub fn manager(&self) -> &M {
        &self.manager
    }
}

impl<M: ManageConnection> fmt::Debug for Foreign<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the manager's Debug: some print passwords.
        f.debug_struct("Foreign").field("label", &self.label).finish_non_exhaustive()
    }
}

impl<M> Driver for Foreign<M>
where
    M: ManageConnection,
    M::Error: Send + Sync,
{
    type Connection = M::Connection;
    /// The connection, and its socket if that was found.
    type Session = (M::Connection, Option<Descriptor>);

    fn label(&self) -> String {
        if let Some(label) = &self.label {
            return label.clone();
        }
        let name = std::any::type_name::<M>();
        // Without the module paths, which help no reader of a log.
        let short = name.split('<').next().and_then(|name| name.rsplit("::").next());
        format!("r2d2 {}", short.unwrap_or(name))
    }

    fn connect(&self, attempt: &Attempt) -> Result<Self::Session, ConnectError> {
        attempt.enter(Phase::Connecting);
        let failure = |fault, source| ConnectError::new(fault, self.label()).with_source(source);
        self.search.connect(&self.manager, attempt).map_err(|error| error.into_connect(failure))
    }

    fn ping(&self, (connection, _): &mut Self::Session, _: Instant) -> Result<(), BoxError> {
        self.manager.is_valid(connection).map_err(Into::into)
    }

    fn socket_access<'a>(&self, (_, socket): &'a Self::Session) -> SocketAccess<'a> {
        match socket {
            Some(socket) => SocketAccess::Socket(socket.as_fd()),
            None if self.search == SocketSearch::InProcess => SocketAccess::InProcess,
            None => SocketAccess::Unavailable,
        }
    }

    fn session_state(
        &self,
        (connection, _): &mut Self::Session,
        usage: Usage,
        reset: Reset,
    ) -> SessionState {
        let is_left_alone = self.reset.is_none() || reset == Reset::None;
        if self.manager.has_broken(connection) {
            SessionState::Broken
        } else if is_left_alone || usage == Usage::Unused {
            SessionState::Clean
        } else {
            SessionState::Dirty
        }
    }

    fn reset(&self) -> Option<&dyn ResetSession<Self::Session>> {
        self.reset.is_some().then_some(self as &dyn ResetSession<Self::Session>)
    }
}

impl<M> ResetSession<(M::Connection, Option<Descriptor>)> for Foreign<M>
where
    M: ManageConnection,
    M::Error: Send + Sync,
{
    fn reset_session(
        &self,
        (connection, _): &mut (M::Connection, Option<Descriptor>),
        _: Usage,
        _: Reset,
    ) -> Result<ResetOutcome, BoxError> {
        self.reset.as_ref().map_or(Ok(ResetOutcome::default()), |reset| reset(connection))
    }
}
