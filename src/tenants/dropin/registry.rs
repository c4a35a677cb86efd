//! The registry of the process: options, report and end of the pools behind drop-in
//! connections.

use super::pools::{self, Group, Held};
use crate::config::PoolOptions;
use crate::connection::SharedPermits;
use crate::error::Error;
use crate::observe::{ConnectionInfo, Snapshot};
use crate::sys::clock;
use std::cmp::Reverse;
use std::fmt;
use std::time::{Duration, Instant};

/// Returns the registry of the pools behind the process's drop-in connections.
pub fn registry() -> Registry {
    Registry { _private: () }
}

/// The pools behind the process's drop-in connections; from [`registry`].
///
/// There is one pool for each distinct configuration: text of the settings and TLS, options,
/// or path. Those that have no connection are dropped when there are more than 256.
///
/// In a child made by `fork` of a process that has such pools, the registry is empty, and every
/// connect fails with [`Forked`](crate::ErrorKind::Forked); see [`Pool`](crate::Pool#fork).
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    _private: (),
}

/// What the pools behind the process's drop-in connections are doing, at one moment; from
/// [`Registry::report`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The state of each pool.
    pub pools: Vec<Snapshot>,
    /// The connections that callers hold, each with the name of its pool, the longest held
    /// first: with the place where it was taken, and the thread.
    pub held: Vec<(String, ConnectionInfo)>,
}

/// The pools of each driver.
fn groups() -> Vec<&'static dyn Group> {
    vec![
        #[cfg(feature = "postgres")]
        &super::postgres::POOLS,
        #[cfg(feature = "mysql")]
        &super::mysql::POOLS,
        #[cfg(feature = "sqlite")]
        &super::sqlite::POOLS,
    ]
}

impl Registry {
    /// Sets the options of the pools that are built from now on, and the permits that they
    /// share: call it at the program's start.
    ///
    /// Default: the options' defaults, and permits for 20 connections in all pools together. An
    /// option that is set here takes precedence over one in a URL. Other pools of the program
    /// may share the permits.
    ///
    /// ```
    /// use poolwarden::{PoolOptions, SharedPermits, dropin};
    /// use std::time::Duration;
    ///
    /// let mut options = PoolOptions::default();
    /// options.max_size = Some(8);
    /// options.held_warning = Some(Some(Duration::from_secs(30)));
    /// dropin::registry().configure(&options, &SharedPermits::new(30)?)?;
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), naming the options and their values.
    pub fn configure(self, options: &PoolOptions, permits: &SharedPermits) -> Result<(), Error> {
        options.check()?;
        pools::configure(options, permits);
        Ok(())
    }

    /// Returns what the pools are doing, and who holds their connections.
    ///
    /// A connection that was not closed at the end of its request is in it, with the place
    /// where it was taken. The option [`held_warning`](crate::Builder::held_warning) logs it.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn report(self) -> Report {
        Report::of(groups().iter().map(|group| group.report()))
    }

    /// Closes all pools and waits until their connections are closed; returns what is left.
    ///
    /// From this call on every connect fails with [`Closed`](crate::ErrorKind::Closed).
    /// Connections that callers hold are closed when these drop them.
    ///
    /// # Blocking
    ///
    /// For at most `timeout`.
    pub fn close(self, timeout: Duration) -> Report {
        let deadline = clock::after(Instant::now(), timeout);
        pools::close();
        Report::of(groups().iter().map(|group| group.close_until(deadline)))
    }
}

impl Report {
    fn of(groups: impl Iterator<Item = (Vec<Snapshot>, Held)>) -> Report {
        let (mut pools, mut held) = (Vec::new(), Vec::new());
        for (more_pools, more_held) in groups {
            pools.extend(more_pools);
            held.extend(more_held);
        }
        held.sort_by_key(|(_, info)| Reverse(info.held_for()));
        Report { pools, held }
    }

    /// Returns how many connections are open in all pools.
    pub fn open(&self) -> u32 {
        self.pools.iter().map(|pool| pool.levels.open).sum()
    }
}

/// One line for each pool, and one for each connection that a caller holds.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pool in &self.pools {
            writeln!(f, "{pool}")?;
        }
        for (pool, info) in &self.held {
            writeln!(f, "pool {pool}: {info}")?;
        }
        Ok(())
    }
}
