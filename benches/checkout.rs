//! The cost of check-out plus check-in of a healthy idle connection, beside the
//! peers in the same run.
//!
//! `cargo bench --features postgres,mysql --bench checkout` prints a line each:
//! name, threads, median nanoseconds, and its time divided by ours.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use bench_support::Contender;

/// Connections in every pool of the comparison.
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
fn compare(contenders: &[Contender<'_>]) {
    for threads in [1, 8, 64] {
        let figures = bench_support::measure(contenders, threads);
        bench_support::print(contenders, threads, &figures);
    }
}

/// Opens all connections of a pool, so that none is opened while it is measured.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn fill<T>(get: impl Fn() -> T) {
    drop((0..POOL_SIZE).map(|_| get()).collect::<Vec<T>>());
}

/// A manager that does nothing: what r2d2 itself costs.
#[cfg(any(feature = "postgres", feature = "mysql"))]
struct Nothing;

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl r2d2::ManageConnection for Nothing {
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
    let pool = builder.build(manager).expect("the server is there");
    fill(|| pool.get().expect("a connection"));
    pool
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn our_pool<D: poolwarden::Driver>(
    driver: D,
    validation: poolwarden::Validation,
) -> poolwarden::Pool<D> {
    let builder = poolwarden::Pool::builder().max_size(POOL_SIZE).validation(validation);
    let pool = builder.build(driver).expect("the server is there");
    fill(|| pool.get().expect("a connection"));
    pool
}

/// One look at a quiet socket, with nothing around it.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn raw_peek() -> impl Fn() + Sync {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback binds");
    let address = listener.local_addr().expect("an address");
    let near = std::net::TcpStream::connect(address).expect("loopback connects");
    let far = listener.accept().expect("loopback accepts");
    move || {
        let _keep_open = &far;
        bench_support::peek(&near);
    }
}

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
        let ours_off = our_pool(driver(), Validation::Off);
        let manager =
            || PostgresConnectionManager::new(url.parse().expect("a configuration"), NoTls);
        let checked = r2d2_pool(manager(), true);
        let unchecked = r2d2_pool(manager(), false);
        let nothing = r2d2_pool(Nothing, true);
        compare(&[
            Contender::new("ours", || drop(ours.get().expect("a connection"))),
            Contender::new("ours_off", || drop(ours_off.get().expect("a connection"))),
            Contender::new("r2d2_postgres", || drop(checked.get().expect("a connection"))),
            Contender::new("r2d2_postgres_nocheck", || {
                drop(unchecked.get().expect("a connection"))
            }),
            Contender::new("r2d2_noop", || drop(nothing.get().expect("a connection"))),
            Contender::new("raw_peek", raw_peek()),
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
        let ours_off = our_pool(driver(), Validation::Off);
        let manager = || {
            let opts = Opts::from_url(&url).expect("a configuration");
            MySqlConnectionManager::new(OptsBuilder::from_opts(opts))
        };
        let checked = r2d2_pool(manager(), true);
        let unchecked = r2d2_pool(manager(), false);
        let nothing = r2d2_pool(Nothing, true);
        compare(&[
            Contender::new("ours_mariadb", || drop(ours.get().expect("a connection"))),
            Contender::new("ours_off_mariadb", || drop(ours_off.get().expect("a connection"))),
            Contender::new("r2d2_mysql_mariadb", || drop(checked.get().expect("a connection"))),
            Contender::new("r2d2_mysql_nocheck_mariadb", || {
                drop(unchecked.get().expect("a connection"))
            }),
            Contender::new("r2d2_noop_mariadb", || drop(nothing.get().expect("a connection"))),
            Contender::new("raw_peek_mariadb", raw_peek()),
        ]);
    }
}
