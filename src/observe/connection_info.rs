//! One open connection as a report shows it.

use crate::sys::human_duration::HumanDuration;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// An open connection of a pool, at one moment.
///
/// From [`Pool::connections`](crate::Pool::connections).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The connection's number, unique in this process.
    pub id: u64,
    /// How long ago the pool began to open it.
    pub age: Duration,
    /// How long until its lifetime is over; `None` without a `max_lifetime`. Zero if it is
    /// over: a connection in use is then closed at its check-in.
    pub retires_in: Option<Duration>,
    /// The server's number of the session, as its own list of sessions and its log have it;
    /// `None` if the driver does not know it.
    pub server_process: Option<u64>,
    /// How often it was checked out.
    pub checkouts: u64,
    /// How often the pool has peeked at its socket.
    pub peeks: u64,
    /// How often the pool has pinged the server over it.
    pub pings: u64,
    /// How often its session was reset.
    pub resets: u64,
    /// The calls that led to its check-out, the innermost first, for
    /// [`Observer::held_too_long`](crate::Observer::held_too_long) where
    /// [`held_backtrace`](crate::Builder::held_backtrace) has recorded them; else `None`.
    pub calls: Option<String>,
    /// What it is doing.
    pub status: ConnectionStatus,
}

/// What an open connection is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// No caller has it.
    Idle {
        /// For how long it has been idle; `None` while the pool checks it.
        since: Option<Duration>,
    },
    /// A caller has it checked out.
    InUse {
        /// For how long.
        since: Duration,
        /// Where it was checked out.
        site: Option<&'static Location<'static>>,
        /// The thread that checked it out.
        thread: HolderThread,
    },
}

/// The thread that checked a connection out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HolderThread {
    /// It has not ended.
    Running {
        /// The thread's name, if it has one.
        name: Option<String>,
    },
    /// It has ended: the guard was moved to another thread, or forgotten.
    Ended,
}

impl ConnectionInfo {
    /// Returns for how long a caller has had it; `None` if no caller has it.
    pub fn held_for(&self) -> Option<Duration> {
        match self.status {
            ConnectionStatus::InUse { since, .. } => Some(since),
            ConnectionStatus::Idle { .. } => None,
        }
    }
}

impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}: {}, age {}", self.id, self.status, HumanDuration(self.age))?;
        match self.retires_in {
            Some(Duration::ZERO) => f.write_str(", past its lifetime"),
            Some(left) => write!(f, ", retires in {}", HumanDuration(left)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConnectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionStatus::Idle { since: Some(since) } => {
                write!(f, "idle for {}", HumanDuration(*since))
            }
            ConnectionStatus::Idle { since: None } => f.write_str("being checked"),
            ConnectionStatus::InUse { since, site, thread } => {
                write!(f, "in use for {}", HumanDuration(*since))?;
                if let Some(site) = site {
                    write!(f, " from {}:{}", site.file(), site.line())?;
                }
                write!(f, " by {thread}")
            }
        }
    }
}

impl fmt::Display for HolderThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HolderThread::Running { name: Some(name) } => write!(f, "thread {name:?}"),
            HolderThread::Running { name: None } => f.write_str("an unnamed thread"),
            HolderThread::Ended => f.write_str("a thread that has ended"),
        }
    }
}
