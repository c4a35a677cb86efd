//! One pool for each tenant, created at its first use and removed when it is not used.

use crate::connection::SharedPermits;
use crate::driver::Driver;
use crate::error::{BoxError, Error, ErrorKind, Levels};
use crate::observe::Snapshot;
use crate::pool::{Builder, Pool, PooledConnection};
use crate::sys::clock;
use crate::sys::housekeeper::{self, Maintain};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a tenant's pool stays without use, unless
/// [`with_idle_timeout`](Tenants::with_idle_timeout) says otherwise.
const DEFAULT_IDLE: Duration = Duration::from_secs(10 * 60);

/// The shortest and the longest time between two looks for pools without use.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// Pools by key, for programs whose users each have a database or credentials of their own:
/// one pool per tenant, all under one cap.
///
/// A tenant's pool is created at its first use, by a function that the program gives, and is
/// removed with its memory when it has not been used for a while. There is no thread per
/// tenant. The permits are divided as [`SharedPermits`] says: a tenant whose callers wait takes
/// over the permit of the connection that has been idle longest.
///
/// Cheap to clone; all clones are the same tenants. When the last clone is dropped, the pools
/// are closed as soon as nobody else has a handle of them. Tenants' pools are not among those
/// that [`observe`](crate::observe) reports for the whole process, so that thousands of them
/// make no series each: use [`levels`](Tenants::levels) and [`snapshots`](Tenants::snapshots).
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{Pool, SharedPermits, Sqlite, Tenants};
///
/// # let folder = std::env::temp_dir();
/// # let file = move |tenant: &str| folder.join(format!("poolwarden-doc-{tenant}.db"));
/// let permits = SharedPermits::new(40)?;
/// let tenants = Tenants::new(&permits, move |tenant: &String| {
///     Ok((Pool::builder().name(tenant).max_size(4), Sqlite::file(file(tenant))))
/// });
/// let one: i64 = tenants.get("orders")?.query_row("select 1", [], |row| row.get(0))?;
/// tenants.pool("stock")?.execute_batch("create table if not exists t (n integer)")?;
/// assert_eq!((one, tenants.len()), (1, 2));
/// # for tenant in ["orders", "stock"] {
/// #     let _ = std::fs::remove_file(std::env::temp_dir().join(format!("poolwarden-doc-{tenant}.db")));
/// # }
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tenants<K, D: Driver> {
    inner: Arc<Inner<K, D>>,
}

/// Creates the driver of a tenant, and a builder with the options of its pool.
type Make<K, D> = dyn Fn(&K) -> Result<(Builder<D>, D), BoxError> + Send + Sync;

struct Inner<K, D: Driver> {
    permits: SharedPermits,
    make: Box<Make<K, D>>,
    /// Law: nothing is built, closed or dropped under this lock, but for keys and handles.
    state: Mutex<State<K, D>>,
}

struct State<K, D: Driver> {
    tenants: HashMap<K, Tenant<D>>,
    idle_timeout: Duration,
    is_closed: bool,
}

struct Tenant<D: Driver> {
    pool: Pool<D>,
    used: Instant,
}

impl<K, D: Driver> Clone for Tenants<K, D> {
    fn clone(&self) -> Tenants<K, D> {
        Tenants { inner: Arc::clone(&self.inner) }
    }
}

impl<K, D> Tenants<K, D>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    D: Driver,
{
    /// Creates pools by key that share these permits.
    ///
    /// `make` is called at a tenant's first use, and again after its pool was removed, without
    /// a lock: it returns the options of the pool, and the driver with the tenant's server and
    /// credentials. Two threads may call it for one key at the same time; one of the two
    /// results is dropped.
    pub fn new(
        permits: &SharedPermits,
        make: impl Fn(&K) -> Result<(Builder<D>, D), BoxError> + Send + Sync + 'static,
    ) -> Tenants<K, D> {
        let state = State { tenants: HashMap::new(), idle_timeout: DEFAULT_IDLE, is_closed: false };
        let (permits, make) = (permits.clone(), Box::new(make));
        Tenants { inner: Arc::new(Inner { permits, make, state: Mutex::new(state) }) }
    }

    /// Sets after how long without use a tenant's pool is removed.
    ///
    /// 1 ms or more; default 10 minutes. Its connections are closed then, and its counters are
    /// lost. A pool with a connection in use, or with a caller that waits, stays.
    #[must_use]
    pub fn with_idle_timeout(self, timeout: Duration) -> Tenants<K, D> {
        self.inner.state.lock().idle_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Checks out a connection of a tenant, waiting for at most `checkout_timeout` of its pool.
    ///
    /// # Blocking
    ///
    /// As [`Pool::get`].
    ///
    /// # Errors
    ///
    /// As [`pool`](Tenants::pool) and [`Pool::get`].
    ///
    /// # Panics
    ///
    /// If the function that was given to [`new`](Tenants::new) does.
    #[track_caller]
    pub fn get<Q>(&self, key: &Q) -> Result<PooledConnection<D>, Error>
    where
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        K: std::borrow::Borrow<Q>,
    {
        self.pool(key)?.get()
    }

    /// Returns the pool of a tenant, for its queries; creates it at its first use.
    ///
    /// The handle is for the moment: a pool whose handle is kept stays open after it was
    /// removed here.
    ///
    /// # Blocking
    ///
    /// Does not block, unless the function that was given to [`new`](Tenants::new) does.
    ///
    /// # Errors
    ///
    /// - The error of the function that was given to [`new`](Tenants::new), if that is one of
    ///   this crate.
    /// - [`Config`](crate::ErrorKind::Config): that function returned another error, or the
    ///   options contradict each other.
    /// - [`Closed`](crate::ErrorKind::Closed): the tenants were closed.
    ///
    /// # Panics
    ///
    /// If that function does.
    pub fn pool<Q>(&self, key: &Q) -> Result<Pool<D>, Error>
    where
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        K: std::borrow::Borrow<Q>,
    {
        {
            let mut state = self.inner.state.lock();
            if state.is_closed {
                return Err(closed());
            }
            if let Some(tenant) = state.tenants.get_mut(key) {
                tenant.used = Instant::now();
                return Ok(tenant.pool.clone());
            }
        }
        self.create(key.to_owned())
    }

    fn create(&self, key: K) -> Result<Pool<D>, Error> {
        let (builder, driver) = (self.inner.make)(&key).map_err(not_made)?;
        let made = builder.permits(&self.inner.permits).build_unlisted(driver)?;
        let (pool, surplus) = {
            let mut state = self.inner.state.lock();
            if state.is_closed {
                drop(state);
                drop(made);
                return Err(closed());
            }
            let used = Instant::now();
            match state.tenants.get(&key) {
                Some(tenant) => (tenant.pool.clone(), Some(made)),
                None => {
                    state.tenants.insert(key, Tenant { pool: made.clone(), used });
                    (made, None)
                }
            }
        };
        drop(surplus);
        housekeeper::call_by(&self.inner, self.inner.next_look(Instant::now()));
        Ok(pool)
    }

    /// Returns how many tenants have a pool at the moment.
    pub fn len(&self) -> usize {
        self.inner.state.lock().tenants.len()
    }

    /// Returns `true` if no tenant has a pool at the moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the permits that the pools share.
    pub fn permits(&self) -> &SharedPermits {
        &self.inner.permits
    }

    /// Returns the snapshot of each tenant's pool, in no order.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn snapshots(&self) -> Vec<(K, Snapshot)> {
        let pools = self.inner.pools();
        pools.into_iter().map(|(key, pool)| (key, pool.snapshot())).collect()
    }

    /// Returns the sum of the levels of all tenants; the maximum is the limit of the permits.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn levels(&self) -> Levels {
        let max_size = self.inner.permits.limit();
        let zero = Levels { max_size, ..Levels::default() };
        let levels = self.inner.pools().into_iter().map(|(_, pool)| pool.snapshot().levels);
        levels.fold(zero, |sum, one| Levels {
            max_size,
            open: sum.open + one.open,
            in_use: sum.in_use + one.in_use,
            idle: sum.idle + one.idle,
            pending: sum.pending + one.pending,
            closing: sum.closing + one.closing,
            waiting: sum.waiting + one.waiting,
        })
    }

    /// Removes a tenant's pool, if it has one: to use new credentials, or because the tenant is
    /// gone. Idle connections are closed immediately, those in use when they are checked in.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn remove<Q>(&self, key: &Q)
    where
        Q: Hash + Eq + ?Sized,
        K: std::borrow::Borrow<Q>,
    {
        let removed = self.inner.state.lock().tenants.remove(key);
        drop(removed);
    }

    /// Closes the pools of all tenants and waits until they are empty; every check-out fails
    /// from this call on.
    ///
    /// # Blocking
    ///
    /// As [`Pool::close`], for at most `timeout` in all.
    pub fn close(&self, timeout: Duration) {
        let until = clock::after(Instant::now(), timeout);
        self.inner.state.lock().is_closed = true;
        let pools = self.inner.pools();
        for (_, pool) in &pools {
            pool.close(Duration::ZERO);
        }
        for (_, pool) in &pools {
            pool.close(clock::left(until, Instant::now()));
        }
        let removed = std::mem::take(&mut self.inner.state.lock().tenants);
        drop(removed);
    }
}

impl<K, D: Driver> fmt::Debug for Tenants<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants = self.inner.state.lock().tenants.len();
        let permits = &self.inner.permits;
        f.debug_struct("Tenants").field("tenants", &tenants).field("permits", permits).finish()
    }
}

impl<K: Hash + Eq + Clone, D: Driver> Inner<K, D> {
    fn pools(&self) -> Vec<(K, Pool<D>)> {
        let state = self.state.lock();
        state.tenants.iter().map(|(key, tenant)| (key.clone(), tenant.pool.clone())).collect()
    }

    fn next_look(&self, now: Instant) -> Instant {
        let idle_timeout = self.state.lock().idle_timeout;
        now + (idle_timeout / 4).clamp(LOOK_EVERY.0, LOOK_EVERY.1)
    }

    /// Removes the pools that have not been used for long enough.
    fn remove_unused(&self, now: Instant) {
        let due: Vec<(K, Pool<D>)> = {
            let state = self.state.lock();
            let idle = state.idle_timeout;
            let is_due = |tenant: &Tenant<D>| now.saturating_duration_since(tenant.used) >= idle;
            let due = state.tenants.iter().filter(|(_, tenant)| is_due(tenant));
            due.map(|(key, tenant)| (key.clone(), tenant.pool.clone())).collect()
        };
        for (key, pool) in due {
            let levels = pool.snapshot().levels;
            let removed = {
                let mut state = self.state.lock();
                let idle = state.idle_timeout;
                let unused = state
                    .tenants
                    .get(&key)
                    .is_some_and(|tenant| now.saturating_duration_since(tenant.used) >= idle);
                let is_quiet = levels.in_use == 0 && levels.waiting == 0;
                if unused && is_quiet { state.tenants.remove(&key) } else { None }
            };
            drop((removed, pool));
        }
    }
}

impl<K, D> Maintain for Inner<K, D>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    D: Driver,
{
    fn maintain(self: Arc<Self>, now: Instant) -> Option<Instant> {
        self.remove_unused(now);
        let is_empty = self.state.lock().tenants.is_empty();
        (!is_empty).then(|| self.next_look(now))
    }

    fn count_left_behind(&self) {}
}

/// Returns the error of a tenant whose pool could not be made.
fn not_made(cause: BoxError) -> Error {
    match cause.downcast::<Error>() {
        Ok(error) => *error,
        Err(cause) => Error::config(format!("the driver of a tenant could not be made: {cause}")),
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the tenants were closed")
}
