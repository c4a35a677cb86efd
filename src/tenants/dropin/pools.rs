//! The pools of the process, one for each distinct configuration of a database's driver, and
//! the options and the permits that they are built with.

use crate::config::PoolOptions;
use crate::connection::SharedPermits;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind};
use crate::observe::{ConnectionInfo, Snapshot};
use crate::pool::{Pool, PooledConnection};
use crate::sys::clock;
use crate::sys::process::{self, DEPTH, PerProcess};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// With more pools than this, those without a connection are dropped before another is built:
/// a program may log in as each of its users.
const MANY: usize = 256;

/// How many connections all pools have together, unless it is set.
const DEFAULT_TOTAL: u32 = 20;

/// How the pools are built.
#[derive(Default)]
struct Settings {
    options: PoolOptions,
    permits: Option<SharedPermits>,
    is_closed: bool,
}

static SETTINGS: PerProcess<Mutex<Option<Settings>>> =
    PerProcess::new([const { Mutex::new(None) }; DEPTH]);

/// Sets the options and the permits of the pools that are built from now on.
pub(super) fn configure(options: &PoolOptions, permits: &SharedPermits) {
    let mut settings = SETTINGS.get().lock();
    let settings = settings.get_or_insert_default();
    settings.options.clone_from(options);
    settings.permits = Some(permits.clone());
}

/// Refuses further connections.
pub(super) fn close() {
    SETTINGS.get().lock().get_or_insert_default().is_closed = true;
}

/// The pools of one driver, by their configurations: those of this process.
pub(super) struct Pools<K, D: Driver>(PerProcess<Mutex<Known<K, D>>>);

type Known<K, D> = Vec<(K, Pool<D>)>;

/// What callers hold, each with the name of its pool.
pub(super) type Held = Vec<(String, ConnectionInfo)>;

/// The pools of any driver, for the registry.
pub(super) trait Group: Sync {
    fn report(&self) -> (Vec<Snapshot>, Held);
    /// Closes all pools and waits until the deadline; reports what is left.
    fn close_until(&self, deadline: Instant) -> (Vec<Snapshot>, Held);
}

impl<K: PartialEq + Send, D: Driver> Pools<K, D> {
    pub(super) const fn new() -> Pools<K, D> {
        Pools(PerProcess::new([const { Mutex::new(Vec::new()) }; DEPTH]))
    }

    /// Checks out a connection of the pool for this configuration, which is built if there is
    /// none.
    #[track_caller]
    pub(super) fn check_out(
        &self,
        key: K,
        driver: impl FnOnce(&K) -> Result<D, Error>,
    ) -> Result<PooledConnection<D>, Error> {
        // Before a lock is taken that a child could inherit.
        process::watch_forks();
        let known = find(&self.0.get().lock(), &key);
        let pool = match known {
            Some(pool) => pool,
            None => self.build(key, driver)?,
        };
        pool.get()
    }

    /// Builds a pool; returns the one that another thread may have built meanwhile.
    fn build(&self, key: K, driver: impl FnOnce(&K) -> Result<D, Error>) -> Result<Pool<D>, Error> {
        let (options, permits) = options()?;
        let builder = Pool::builder().options(&options).permits(&permits);
        let built = builder.build_lazy(driver(&key)?)?;
        let mut pools = self.0.get().lock();
        if let Some(pool) = find(&pools, &key) {
            return Ok(pool);
        }
        let unused = match pools.len() {
            many if many >= MANY => pools.extract_if(.., |(_, pool)| is_unused(pool)).collect(),
            _ => Vec::new(),
        };
        pools.push((key, built.clone()));
        drop(pools);
        // They are closed without the lock.
        drop(unused);
        // The registry may have been closed since.
        self::options().map(|_| built)
    }

    fn all(&self) -> Vec<Pool<D>> {
        self.0.get().lock().iter().map(|(_, pool)| pool.clone()).collect()
    }
}

/// Returns the options of a new pool, and the permits that it shares.
fn options() -> Result<(PoolOptions, SharedPermits), Error> {
    let mut settings = SETTINGS.get().lock();
    let settings = settings.get_or_insert_default();
    if settings.is_closed {
        return Err(Error::new(ErrorKind::Closed, "the registry of drop-in connections is closed"));
    }
    let permits = match &settings.permits {
        Some(permits) => permits.clone(),
        None => settings.permits.insert(SharedPermits::new(DEFAULT_TOTAL)?).clone(),
    };
    Ok((settings.options.clone(), permits))
}

fn find<K: PartialEq, D: Driver>(pools: &[(K, Pool<D>)], key: &K) -> Option<Pool<D>> {
    pools.iter().find(|(known, _)| known == key).map(|(_, pool)| pool.clone())
}

/// Returns `true` if a pool has no connection and no caller waits for one.
fn is_unused<D: Driver>(pool: &Pool<D>) -> bool {
    let levels = pool.snapshot().levels;
    levels.open + levels.pending + levels.closing + levels.waiting == 0
}

fn report<D: Driver>(pools: &[Pool<D>]) -> (Vec<Snapshot>, Held) {
    let held_of = |pool: &Pool<D>| {
        let name = pool.name().to_owned();
        let held = pool.connections().into_iter().filter(|info| info.held_for().is_some());
        held.map(|info| (name.clone(), info)).collect::<Vec<_>>()
    };
    (pools.iter().map(Pool::snapshot).collect(), pools.iter().flat_map(held_of).collect())
}

impl<K: PartialEq + Send, D: Driver> Group for Pools<K, D> {
    fn report(&self) -> (Vec<Snapshot>, Held) {
        report(&self.all())
    }

    fn close_until(&self, deadline: Instant) -> (Vec<Snapshot>, Held) {
        let pools: Vec<Pool<D>> = self.0.get().lock().drain(..).map(|(_, pool)| pool).collect();
        // All begin to close before the first is waited for.
        for pool in &pools {
            pool.close(Duration::ZERO);
        }
        for pool in &pools {
            pool.close(clock::left(deadline, Instant::now()));
        }
        report(&pools)
    }
}
