//! The cost of check-out plus check-in of a healthy idle connection, compared with other
//! pools in the same run.
//!
//! `cargo bench --features postgres,mysql --bench checkout` prints one line per
//! candidate and number of threads: name, threads, median nanoseconds, and the ratio of
//! that time to ours.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use bench_support::Candidate;

#[cfg(feature = "postgres")]
mod call_sites;

/// The size of every pool in the comparison.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const POOL_SIZE: u32 = 10;

fn main() {
    println!("# name threads median_ns ratio_to_ours");
    #[cfg(feature = "postgres")]
    on_postgres::run();
    #[cfg(feature = "mysql")]
    on_mysql::run();
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn compare(candidates: &[Candidate<'_>]) {
    for threads in [1, 8, 64] {
        let figures = bench_support::measure(candidates, threads);
        bench_support::print(candidates, threads, &figures);
    }
}

/// Opens all connections of a pool, so that none is opened during the measurement.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn fill<T>(get: impl Fn() -> T) {
    drop((0..POOL_SIZE).map(|_| get()).collect::<Vec<T>>());
}

/// Check-outs on a thread for blocking work of a tokio runtime, where a pool must find out
/// whether it may block.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn in_spawn_blocking<D: poolwarden::driver::Driver>(
    name: &'static str,
    pool: &poolwarden::Pool<D>,
) -> Candidate<'static> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    let (runtime, pool) = (runtime.expect("a runtime"), pool.clone());
    let cycle = move |times| {
        let pool = pool.clone();
        let work = move || (0..times).for_each(|_| drop(pool.get().expect("a connection")));
        let task = runtime.spawn_blocking(work);
        runtime.block_on(task).expect("no panic");
    };
    Candidate { name, cycle: Box::new(cycle) }
}

/// A manager that does nothing: measures the cost of r2d2 itself.
#[cfg(any(feature = "postgres", feature = "mysql"))]
struct NoopManager;

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl r2d2::ManageConnection for NoopManager {
    type Connection = ();
    type Error = std::fmt::Error;

    fn connect(&self) -> Result<(), std::fmt::Error> {
        Ok(())
    }

    fn is_valid(&self, (): &mut ()) -> Result<(), std::fmt::Error> {
        Ok(())
    }

    fn has_broken(&self, (): &mut ()) -> bool {
        false
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn r2d2_pool<M: r2d2::ManageConnection>(manager: M, check: bool) -> r2d2::Pool<M> {
    let builder = r2d2::Pool::builder().max_size(POOL_SIZE).test_on_check_out(check);
    let pool = builder.build(manager).expect("the server accepts connections");
    fill(|| pool.get().expect("a connection"));
    pool
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn our_pool<D: poolwarden::driver::Driver>(
    driver: D,
    validation: poolwarden::Validation,
) -> poolwarden::Pool<D> {
    let builder = poolwarden::Pool::builder().max_size(POOL_SIZE).validation(validation);
    let pool = builder.build(driver).expect("the server accepts connections");
    fill(|| pool.get().expect("a connection"));
    pool
}

/// Returns a pool that shares its permits, and the others that do, which have no connection.
#[cfg(feature = "postgres")]
fn sharing_pools<D: poolwarden::driver::Driver>(
    pools: usize,
    driver: impl Fn() -> D,
) -> Vec<poolwarden::Pool<D>> {
    let permits = poolwarden::SharedPermits::new(POOL_SIZE).expect("one or more");
    let builder = || poolwarden::Pool::builder().max_size(POOL_SIZE).permits(&permits);
    let build = |_| builder().build_lazy(driver()).expect("the options agree");
    let pools: Vec<_> = (0..pools).map(build).collect();
    fill(|| pools[0].get().expect("a connection"));
    pools
}

/// Returns both ends of a connection on which nothing arrives.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn quiet_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener =
        std::net::TcpListener::bind("127.0.0.1:0").expect("binding to loopback succeeds");
    let address = listener.local_addr().expect("an address");
    let client = std::net::TcpStream::connect(address).expect("connecting to loopback succeeds");
    (client, listener.accept().expect("accepting on loopback succeeds").0)
}

/// Returns a closure that peeks at a socket without pending data, and does nothing else.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn raw_peek() -> impl Fn() + Sync {
    let (client, server) = quiet_pair();
    move || {
        let _keep_open = &server;
        bench_support::peek(&client);
    }
}

/// The least that a pool can do which peeks: takes a socket out of an array by one exchange,
/// peeks at it and puts it back. Each thread begins at a place of its own.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn floor() -> impl Fn() + Sync {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let size = POOL_SIZE as usize;
    let pairs: Vec<_> = (0..size).map(|_| quiet_pair()).collect();
    let taken: Vec<_> = (0..size).map(|_| CachePadded(AtomicBool::new(false))).collect();
    move || {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        std::thread_local! {
            static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        let first = PLACE.with(|place| *place);
        for place in (first..).map(|place| place % size) {
            if !taken[place].0.swap(true, Ordering::Acquire) {
                bench_support::peek(&pairs[place].0);
                return taken[place].0.store(false, Ordering::Release);
            }
        }
    }
}

/// A value that shares no cache line with another.
#[cfg(any(feature = "postgres", feature = "mysql"))]
#[repr(align(128))]
struct CachePadded<T>(T);

#[cfg(feature = "postgres")]
mod on_postgres {
    use super::*;
    use poolwarden::{Postgres, Validation};
    use r2d2_postgres::PostgresConnectionManager;
    use r2d2_postgres::postgres::NoTls;

    pub(super) fn run() {
        let server = support::postgres::Server::start();
        let url = server.url("postgres", "postgres");
        let driver = || Postgres::new(&url).expect("a driver");
        let ours = our_pool(driver(), Validation::Peek);
        let ours_exact_times = our_pool(driver(), Validation::Peek);
        // Whoever reads the times in use has exact ones from then on.
        let _ = ours_exact_times.snapshot();
        let ours_watch = our_pool(driver(), Validation::Watch);
        let ours_off = our_pool(driver(), Validation::Off);
        let manager =
            || PostgresConnectionManager::new(url.parse().expect("a configuration"), NoTls);
        let checked = r2d2_pool(manager(), true);
        let unchecked = r2d2_pool(manager(), false);
        let noop = r2d2_pool(NoopManager, true);
        let sharing = [1, 10, 1_000].map(|pools| sharing_pools(pools, driver));
        compare(&[
            Candidate::new("ours", || drop(ours.get().expect("a connection"))),
            Candidate::new("ours_exact_times", || drop(ours_exact_times.get().expect("one"))),
            Candidate::new("ours_1001_sites", call_sites::from_many(&ours)),
            in_spawn_blocking("ours_in_spawn_blocking", &ours),
            Candidate::new("ours_shared_by_1", || drop(sharing[0][0].get().expect("one"))),
            Candidate::new("ours_shared_by_10", || drop(sharing[1][0].get().expect("one"))),
            Candidate::new("ours_shared_by_1000", || drop(sharing[2][0].get().expect("one"))),
            Candidate::new("ours_watch", || drop(ours_watch.get().expect("a connection"))),
            Candidate::new("ours_off", || drop(ours_off.get().expect("a connection"))),
            Candidate::new("r2d2_postgres", || drop(checked.get().expect("a connection"))),
            Candidate::new("r2d2_postgres_nocheck", || {
                drop(unchecked.get().expect("a connection"))
            }),
            Candidate::new("r2d2_noop", || drop(noop.get().expect("a connection"))),
            Candidate::new("floor", floor()),
            Candidate::new("raw_peek", raw_peek()),
        ]);
    }
}

#[cfg(feature = "mysql")]
mod on_mysql {
    use super::*;
    use poolwarden::{MySql, Validation};
    use r2d2_mysql::MySqlConnectionManager;
    use r2d2_mysql::mysql::{Opts, OptsBuilder};

    pub(super) fn run() {
        let server = support::mariadb::Server::start();
        let database = server.fresh_database();
        let url = database.url();
        let driver = || MySql::new(&url).expect("a driver");
        let ours = our_pool(driver(), Validation::Peek);
        let ours_watch = our_pool(driver(), Validation::Watch);
        let ours_off = our_pool(driver(), Validation::Off);
        let manager = || {
            let opts = Opts::from_url(&url).expect("a configuration");
            MySqlConnectionManager::new(OptsBuilder::from_opts(opts))
        };
        let checked = r2d2_pool(manager(), true);
        let unchecked = r2d2_pool(manager(), false);
        let noop = r2d2_pool(NoopManager, true);
        compare(&[
            Candidate::new("ours_mariadb", || drop(ours.get().expect("a connection"))),
            in_spawn_blocking("ours_in_spawn_blocking_mariadb", &ours),
            Candidate::new("ours_watch_mariadb", || drop(ours_watch.get().expect("a connection"))),
            Candidate::new("ours_off_mariadb", || drop(ours_off.get().expect("a connection"))),
            Candidate::new("r2d2_mysql_mariadb", || drop(checked.get().expect("a connection"))),
            Candidate::new("r2d2_mysql_nocheck_mariadb", || {
                drop(unchecked.get().expect("a connection"))
            }),
            Candidate::new("r2d2_noop_mariadb", || drop(noop.get().expect("a connection"))),
            Candidate::new("floor_mariadb", floor()),
            Candidate::new("raw_peek_mariadb", raw_peek()),
        ]);
    }
}
