//! The cost of a query through the pool, compared with other pools in the same run.
//!
//! `cargo bench --features postgres,mysql --bench queries` prints one line per
//! candidate and number of threads: name, threads, median nanoseconds, and the ratio of
//! that time to ours. The time is wall-clock time divided by the number of operations of
//! all threads.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use bench_support::Candidate;

/// The size of every pool: one connection per thread, so that no thread waits.
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
fn compare(candidates: &[Candidate<'_>]) {
    for threads in [1, POOL_SIZE] {
        let figures = bench_support::measure(candidates, threads);
        bench_support::print(candidates, threads, &figures);
    }
}

/// Opens all connections of a pool, so that none is opened during the measurement.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn fill<T>(get: impl Fn() -> T) {
    drop((0..POOL_SIZE).map(|_| get()).collect::<Vec<T>>());
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn our_pool<D: poolwarden::driver::Driver>(driver: D) -> poolwarden::Pool<D> {
    let builder = poolwarden::Pool::builder().max_size(POOL_SIZE);
    let pool = builder.build(driver).expect("the server accepts connections");
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
    /// Counts as a write for the pool, which must know that it is committed; the server only
    /// reads.
    const WRITE: &str = "with one as (select name from item where id = $1) select name from one";
    const ID: i32 = 500;

    pub(super) fn run() {
        let server = support::postgres::Server::start();
        let url = server.url("postgres", "postgres");
        let ours = our_pool(Postgres::new(&url).expect("a driver"));
        ours.batch_execute(SETUP).expect("a table");
        let manager = PostgresConnectionManager::new(url.parse().expect("a configuration"), NoTls);
        let builder = r2d2::Pool::builder().max_size(POOL_SIZE).test_on_check_out(false);
        let unprepared = builder.build(manager).expect("the server accepts connections");
        let dedicated = Mutex::new((0..POOL_SIZE).map(|_| prepared(&url)).collect::<Vec<_>>());
        compare(&[
            Candidate::new("ours", || {
                ours.query_one(SELECT, &[&ID]).expect("a row");
            }),
            Candidate::new("ours_write", || {
                ours.query_one(WRITE, &[&ID]).expect("a row");
            }),
            Candidate::new("r2d2_postgres_nocheck_text", || {
                let mut client = unprepared.get().expect("a connection");
                client.query_one(SELECT, &[&ID]).expect("a row");
            }),
            Candidate {
                name: "own_connection_prepared",
                cycle: Box::new(|times| {
                    let (mut client, statement) =
                        lock(&dedicated).pop().expect("there is a connection for each thread");
                    for _ in 0..times {
                        client.query_one(&statement, &[&ID]).expect("a row");
                    }
                    lock(&dedicated).push((client, statement));
                }),
            },
        ]);
    }

    fn prepared(url: &str) -> (Client, Statement) {
        let mut client = Client::connect(url, NoTls).expect("the server accepts connections");
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
    use std::sync::Mutex;

    const TEXT: &str = "select 20 + 22";
    const READ: &str = "select name from item where id = ?";
    const PREPARED: &str = "select ? + 22";
    /// Counts as a write for the pool, which must know that it is committed; the server
    /// writes nothing.
    const WRITE: &str = "do 20 + 22";
    const SETUP: &str = "create table item (id int primary key, name varchar(20));
        insert into item select seq, concat('item ', seq) from seq_1_to_1000;";

    /// Our pool resets a connection only if its session was changed; `mysql::Pool`, by
    /// default, pings at check-out and resets at check-in.
    pub(super) fn run() {
        let server = support::mariadb::Server::start();
        let database = server.fresh_database();
        let url = database.url();
        let ours = our_pool(MySql::new(&url).expect("a driver"));
        database.sql(SETUP);
        let mysql_pool = build_mysql_pool(&url);
        compare(&[
            Candidate::new("ours_bare_mariadb", || drop(ours.get().expect("a connection"))),
            Candidate::new("mysql_pool_bare_mariadb", || {
                drop(mysql_pool.get_conn().expect("a connection"));
            }),
        ]);
        compare(&[
            Candidate::new("ours_text_mariadb", || {
                let _: Option<u32> = ours.query_first(TEXT).expect("a row");
            }),
            Candidate::new("mysql_pool_text_mariadb", || {
                let mut conn = mysql_pool.get_conn().expect("a connection");
                let _: Option<u32> = conn.query_first(TEXT).expect("a row");
            }),
            Candidate::new("ours_write_mariadb", || {
                let _ = ours.query_drop(WRITE).expect("done");
            }),
            Candidate::new("ours_raw_text_mariadb", || {
                let mut conn = ours.get().expect("a connection");
                let _: Option<u32> = conn.query_first(TEXT).expect("a row");
            }),
        ]);
        let dedicated = |sql| {
            let connect = || {
                let opts = OptsBuilder::from_opts(Opts::from_url(&url).expect("a configuration"));
                let mut conn =
                    mysql::Conn::new(opts.prefer_socket(false)).expect("the server accepts");
                let statement = conn.prep(sql).expect("a statement");
                (conn, statement)
            };
            Mutex::new((0..POOL_SIZE).map(|_| connect()).collect::<Vec<_>>())
        };
        let (sums, reads) = (dedicated(PREPARED), dedicated(READ));
        compare(&[
            Candidate::new("ours_prepared_mariadb", || {
                let _: Option<u32> = ours.exec_first(PREPARED, (20,)).expect("a row");
            }),
            Candidate::new("mysql_pool_prepared_mariadb", || {
                let mut conn = mysql_pool.get_conn().expect("a connection");
                let _: Option<u32> = conn.exec_first(PREPARED, (20,)).expect("a row");
            }),
            Candidate::new("ours_raw_prepared_mariadb", || {
                let mut conn = ours.get().expect("a connection");
                let _: Option<u32> = conn.exec_first(PREPARED, (20,)).expect("a row");
            }),
            own_connection("own_connection_prepared_mariadb", &sums, 20),
        ]);
        compare(&[
            Candidate::new("ours_prepared_read_mariadb", || {
                let _: Option<String> = ours.exec_first(READ, (500,)).expect("a row");
            }),
            Candidate::new("mysql_pool_prepared_read_mariadb", || {
                let mut conn = mysql_pool.get_conn().expect("a connection");
                let _: Option<String> = conn.exec_first(READ, (500,)).expect("a row");
            }),
            own_connection("own_connection_prepared_read_mariadb", &reads, 500),
        ]);
    }

    type Prepared = (mysql::Conn, mysql::Statement);

    /// A thread that keeps a connection and its statement.
    fn own_connection<'a>(
        name: &'static str,
        dedicated: &'a Mutex<Vec<Prepared>>,
        parameter: u32,
    ) -> Candidate<'a> {
        let lock = || dedicated.lock().expect("no thread panics");
        let cycle = move |times| {
            let (mut conn, statement) =
                lock().pop().expect("there is a connection for each thread");
            for _ in 0..times {
                let _: Option<mysql::Row> =
                    conn.exec_first(&statement, (parameter,)).expect("a row");
            }
            lock().push((conn, statement));
        };
        Candidate { name, cycle: Box::new(cycle) }
    }

    /// Returns a `mysql::Pool` with the same number of connections, over TCP like ours.
    fn build_mysql_pool(url: &str) -> mysql::Pool {
        let size = usize::try_from(POOL_SIZE).expect("a small number");
        let constraints =
            PoolConstraints::new(size, size).expect("the minimum is at most the maximum");
        let opts = OptsBuilder::from_opts(Opts::from_url(url).expect("a configuration"))
            .prefer_socket(false)
            .pool_opts(PoolOpts::default().with_constraints(constraints));
        let pool = mysql::Pool::new(opts).expect("the server accepts connections");
        fill(|| pool.get_conn().expect("a connection"));
        pool
    }
}
