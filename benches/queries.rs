//! What a query through the pool costs, beside the peers in the same run.
//!
//! `cargo bench --features postgres,mysql --bench queries` prints a line each:
//! name, threads, median nanoseconds, and its time divided by ours. Time is wall
//! time over the operations of all threads.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use bench_support::Contender;

/// Connections in every pool: as many as threads, so that nobody waits.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const POOL_SIZE: u32 = 8;

fn main() {
    println!("# name threads median_ns ratio_to_ours");
    #[cfg(feature = "postgres")]
    on_postgres::run();
    #[cfg(feature = "mysql")]
    on_mysql::run();
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn compare(contenders: &[Contender<'_>]) {
    for threads in [1, POOL_SIZE] {
        let figures = bench_support::measure(contenders, threads);
        bench_support::print(contenders, threads, &figures);
    }
}

/// Opens all connections of a pool, so that none is opened while it is measured.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn fill<T>(get: impl Fn() -> T) {
    drop((0..POOL_SIZE).map(|_| get()).collect::<Vec<T>>());
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn our_pool<D: poolwarden::Driver>(driver: D) -> poolwarden::Pool<D> {
    let builder = poolwarden::Pool::builder().max_size(POOL_SIZE);
    let pool = builder.build(driver).expect("the server is there");
    fill(|| pool.get().expect("a connection"));
    pool
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use super::*;
    use poolwarden::Postgres;
    use r2d2_postgres::PostgresConnectionManager;
    use r2d2_postgres::postgres::{Client, NoTls, Statement};
    use std::sync::Mutex;

    const SETUP: &str = "create table item (id int primary key, name text);
        insert into item select n, 'item ' || n from generate_series(1, 1000) as n; analyze item";
    const SELECT: &str = "select name from item where id = $1";
    const ID: i32 = 500;

    pub(super) fn run() {
        let server = support::postgres::Server::start();
        let url = server.url("postgres", "postgres");
        let ours = our_pool(Postgres::new(&url).expect("a driver"));
        ours.batch_execute(SETUP).expect("a table");
        let manager = PostgresConnectionManager::new(url.parse().expect("a configuration"), NoTls);
        let builder = r2d2::Pool::builder().max_size(POOL_SIZE).test_on_check_out(false);
        let text = builder.build(manager).expect("the server is there");
        let own = Mutex::new((0..POOL_SIZE).map(|_| prepared(&url)).collect::<Vec<_>>());
        compare(&[
            Contender::new("ours", || {
                ours.query_one(SELECT, &[&ID]).expect("a row");
            }),
            Contender::new("r2d2_postgres_nocheck_text", || {
                let mut client = text.get().expect("a connection");
                client.query_one(SELECT, &[&ID]).expect("a row");
            }),
            Contender {
                name: "own_connection_prepared",
                cycle: Box::new(|times| {
                    let (mut client, statement) = lock(&own).pop().expect("one for each thread");
                    for _ in 0..times {
                        client.query_one(&statement, &[&ID]).expect("a row");
                    }
                    lock(&own).push((client, statement));
                }),
            },
        ]);
    }

    fn prepared(url: &str) -> (Client, Statement) {
        let mut client = Client::connect(url, NoTls).expect("the server is there");
        let statement = client.prepare(SELECT).expect("a statement");
        (client, statement)
    }

    fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().expect("no thread panics")
    }
}

#[cfg(feature = "mysql")]
mod on_mysql {
    use super::*;
    use mysql::prelude::Queryable;
    use mysql::{Opts, OptsBuilder, PoolConstraints, PoolOpts};
    use poolwarden::MySql;

    const TEXT: &str = "select 20 + 22";
    const PREPARED: &str = "select ? + 22";

    /// Ours resets by need; `mysql::Pool`, as it comes, pings at check-out and
    /// resets at check-in.
    pub(super) fn run() {
        let server = support::mariadb::Server::start();
        let database = server.fresh_database();
        let url = database.url();
        let ours = our_pool(MySql::new(&url).expect("a driver"));
        let theirs = their_pool(&url);
        compare(&[
            Contender::new("ours_bare_mariadb", || drop(ours.get().expect("a connection"))),
            Contender::new("mysql_pool_bare_mariadb", || {
                drop(theirs.get_conn().expect("a connection"));
            }),
        ]);
        compare(&[
            Contender::new("ours_text_mariadb", || {
                let _: Option<u32> = ours.query_first(TEXT).expect("a row");
            }),
            Contender::new("mysql_pool_text_mariadb", || {
                let mut conn = theirs.get_conn().expect("a connection");
                let _: Option<u32> = conn.query_first(TEXT).expect("a row");
            }),
            Contender::new("ours_raw_text_mariadb", || {
                let mut conn = ours.get().expect("a connection");
                let _: Option<u32> = conn.query_first(TEXT).expect("a row");
            }),
        ]);
        compare(&[
            Contender::new("ours_prepared_mariadb", || {
                let _: Option<u32> = ours.exec_first(PREPARED, (20,)).expect("a row");
            }),
            Contender::new("mysql_pool_prepared_mariadb", || {
                let mut conn = theirs.get_conn().expect("a connection");
                let _: Option<u32> = conn.exec_first(PREPARED, (20,)).expect("a row");
            }),
            Contender::new("ours_raw_prepared_mariadb", || {
                let mut conn = ours.get().expect("a connection");
                let _: Option<u32> = conn.exec_first(PREPARED, (20,)).expect("a row");
            }),
        ]);
    }

    /// With the same number of connections, and by TCP like ours.
    fn their_pool(url: &str) -> mysql::Pool {
        let size = usize::try_from(POOL_SIZE).expect("a small number");
        let constraints = PoolConstraints::new(size, size).expect("bounds in order");
        let opts = OptsBuilder::from_opts(Opts::from_url(url).expect("a configuration"))
            .prefer_socket(false)
            .pool_opts(PoolOpts::default().with_constraints(constraints));
        let pool = mysql::Pool::new(opts).expect("the server is there");
        fill(|| pool.get_conn().expect("a connection"));
        pool
    }
}
