//! One pool for each tenant, created at its first use and removed when it is not used.

use super::tenant_pools::TenantPools;
use crate::connection::SharedPermits;
use crate::driver::Driver;
use crate::error::{BoxError, Error, ErrorKind};
use crate::observe::{self, PoolReport, Reporting, Snapshot};
use crate::pool::{Builder, Pool, PooledConnection};
use crate::sys::housekeeper::{self, Maintain};
use crate::sys::one_line::one_line;
use crate::sys::{clock, process};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a tenant's pool stays without use, unless
/// [`with_idle_timeout`](Tenants::with_idle_timeout) says otherwise.
const DEFAULT_IDLE: Duration = Duration::from_secs(10 * 60);

/// The name of tenants, unless [`with_name`](Tenants::with_name) says otherwise.
const DEFAULT_NAME: &str = "tenants";

/// How many tenants have a series of their own, unless [`with_series`](Tenants::with_series)
/// says otherwise.
const DEFAULT_SERIES: usize = 20;

/// The time between two looks whether a pool that was removed has ended.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

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
/// are closed as soon as nobody else has a handle of them.
///
/// What [`observe`] reports for the whole process has the tenants as one pool, by
/// the name of [`with_name`](Tenants::with_name), and of each the busiest tenants: see
/// [`with_series`](Tenants::with_series). [`snapshot`](Tenants::snapshot) is their sum,
/// [`snapshots`](Tenants::snapshots) has each.
///
/// In a child made by `fork` nothing is created, reported or closed; see
/// [`Pool`](crate::Pool#fork).
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
    /// The process that created it: another must not use the locks.
    generation: usize,
    pools: TenantPools<D>,
    make: Box<Make<K, D>>,
    /// Law: nothing is built, closed or dropped under this lock, but for keys and handles.
    state: Mutex<State<K, D>>,
}

struct State<K, D: Driver> {
    name: String,
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
        let state = State {
            name: DEFAULT_NAME.to_owned(),
            tenants: HashMap::new(),
            idle_timeout: DEFAULT_IDLE,
            is_closed: false,
        };
        let inner = Arc::new(Inner {
            permits: permits.clone(),
            generation: process::generation(),
            pools: TenantPools::new(DEFAULT_SERIES),
            make: Box::new(make),
            state: Mutex::new(state),
        });
        observe::register(DEFAULT_NAME, &inner);
        Tenants { inner }
    }

    /// Sets the name of the tenants in metrics and on the status page: that of a pool that stands
    /// for all of theirs.
    ///
    /// Default: `tenants`, with a number behind it if it is taken. Call it before the first use,
    /// so that no series has another name.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Tenants<K, D> {
        let name = one_line(&name.into()).into_owned();
        if !self.inner.is_forked() {
            self.inner.state.lock().name.clone_from(&name);
            observe::register(&name, &self.inner);
        }
        self
    }

    /// Sets how many tenants have a series of their own in metrics and a row of their own on the
    /// status page: the busiest ones of the last minutes. All others are one series, `other`.
    ///
    /// Default 20; 0 for none. The label is the name of the tenant's pool, shortened to 64
    /// characters: tenants whose pools have one name share a series. What a tenant does is counted
    /// in the series that it has at that moment, so no counter ever falls, and the sum of all
    /// series is what all tenants did. See the guide's page
    /// [`tenants`](crate::guide::tenants).
    #[must_use]
    pub fn with_series(self, most: usize) -> Tenants<K, D> {
        if !self.inner.is_forked() {
            self.inner.pools.set_most_series(most);
        }
        self
    }

    /// Sets after how long without use a tenant's pool is removed.
    ///
    /// 1 ms or more; default 10 minutes. Its connections are closed then; what it did stays in the
    /// sum and in its series. A pool with a connection in use, or with a caller that waits, stays.
    #[must_use]
    pub fn with_idle_timeout(self, timeout: Duration) -> Tenants<K, D> {
        if !self.inner.is_forked() {
            self.inner.state.lock().idle_timeout = timeout.max(Duration::from_millis(1));
        }
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
    /// - [`Forked`](crate::ErrorKind::Forked): this process was forked from the one that created
    ///   the tenants.
    ///
    /// # Panics
    ///
    /// If that function does.
    pub fn pool<Q>(&self, key: &Q) -> Result<Pool<D>, Error>
    where
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        K: std::borrow::Borrow<Q>,
    {
        if self.inner.is_forked() {
            return Err(forked());
        }
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
        if surplus.is_none() {
            self.inner.pools.enter(&pool);
        }
        drop(surplus);
        housekeeper::call_by(&self.inner, self.inner.next_look(Instant::now()));
        Ok(pool)
    }

    /// Returns how many tenants have a pool at the moment.
    pub fn len(&self) -> usize {
        self.inner.len()
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

    /// Returns the sum of all tenants: their levels, and what they did since the start, those
    /// whose pools were removed as well. The maximum size is the limit of the permits.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn snapshot(&self) -> Snapshot {
        if self.inner.is_forked() {
            return Snapshot::empty(DEFAULT_NAME);
        }
        let name = self.inner.state.lock().name.clone();
        self.inner.pools.snapshot(&name, &self.inner.permits)
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
        if self.inner.is_forked() {
            return;
        }
        let removed = self.inner.state.lock().tenants.remove(key);
        if removed.is_some() {
            drop(removed);
            housekeeper::call_by(&self.inner, Instant::now() + SETTLE_EVERY);
        }
    }

    /// Closes the pools of all tenants and waits until they are empty; every check-out fails
    /// from this call on.
    ///
    /// # Blocking
    ///
    /// As [`Pool::close`], for at most `timeout` in all.
    pub fn close(&self, timeout: Duration) {
        if self.inner.is_forked() {
            return;
        }
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
        drop((removed, pools));
        housekeeper::call_by(&self.inner, Instant::now() + SETTLE_EVERY);
    }
}

impl<K, D: Driver> fmt::Debug for Tenants<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tenants, permits) = (self.inner.len(), &self.inner.permits);
        f.debug_struct("Tenants").field("tenants", &tenants).field("permits", permits).finish()
    }
}

impl<K, D: Driver> Inner<K, D> {
    /// Returns `true` in another process than the one that created it: locks may be locked there
    /// for ever.
    fn is_forked(&self) -> bool {
        self.generation != process::generation()
    }

    fn len(&self) -> usize {
        if self.is_forked() { 0 } else { self.state.lock().tenants.len() }
    }
}

impl<K: Hash + Eq + Clone, D: Driver> Inner<K, D> {
    fn pools(&self) -> Vec<(K, Pool<D>)> {
        if self.is_forked() {
            return Vec::new();
        }
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
        let (left, tenants) = (self.pools.settle(), self.len());
        if left > tenants {
            return Some(self.next_look(now).min(now + SETTLE_EVERY));
        }
        (tenants > 0).then(|| self.next_look(now))
    }

    fn count_left_behind(&self) {}
}

impl<K: Send, D: Driver> Reporting for Inner<K, D> {
    fn report(&self) -> Option<PoolReport> {
        if self.is_forked() {
            return None;
        }
        let (name, tenants) = {
            let state = self.state.lock();
            (state.name.clone(), state.tenants.len())
        };
        Some(self.pools.report(&name, tenants, &self.permits, Instant::now()))
    }
}

/// Returns the error of a tenant whose pool could not be made.
fn not_made(cause: BoxError) -> Error {
    match cause.downcast::<Error>() {
        Ok(error) => *error,
        Err(cause) => Error::config(format!("the driver of a tenant could not be made: {cause}")),
    }
}

fn forked() -> Error {
    let text = "tenants: this process was forked from the one that created them, and no pool works \
                here: use them in the parent process, or start a program by exec";
    Error::new(ErrorKind::Forked, text)
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the tenants were closed")
}
