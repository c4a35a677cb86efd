//! No session state reaches the next borrower.

mod by_need;
mod mysql_by_need;

use crate::variant::{My, Pg, Variant, fresh_name};
use mysql::LocalInfileHandler;
use mysql::prelude::Queryable;
use poolwarden::driver::Driver;
use poolwarden::{CloseReason, MySql, Pool, PooledConnection, Postgres, Reset};
use postgres::fallible_iterator::FallibleIterator;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::wait::{eventually, threads_named, within};
use support::{logs, mariadb, postgres as pg, shortage};

fn one<D: Driver>(driver: D, reset: Reset, name: &str) -> Pool<D> {
    let builder = Pool::builder().max_size(1).reset(reset).name(name);
    builder.ping_timeout(Duration::from_millis(500)).build(driver).expect("the server accepts")
}

/// Over TCP, where the stream shows the state, and over a unix socket, where it does not.
fn on_postgres(test: impl Fn(&Pool<Postgres>, bool)) {
    on_postgres_with(Reset::Auto, test);
}

fn on_postgres_with(reset: Reset, test: impl Fn(&Pool<Postgres>, bool)) {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let tcp = one(Pg::new(database.url()).driver(), reset, &fresh_name("clean tcp"));
    tcp.batch_execute("create table t (n int)").expect("a table");
    test(&tcp, true);
    test(&one(Pg::new(database.unix_url()).driver(), reset, &fresh_name("clean unix")), false);
}

fn is_in_transaction(pool: &Pool<Postgres>) -> bool {
    let mut connection = pool.get().expect("a connection");
    let answer = connection.simple_query("select now() <> statement_timestamp()");
    match &answer.expect("no failed transaction")[1] {
        postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        other => panic!("not a row: {other:?}"),
    }
}

#[test]
fn an_open_postgres_transaction_is_rolled_back_counted_and_logged() {
    on_postgres(|pool, _| {
        let log = logs::mark();
        let leave_open: [fn(&mut postgres::Client); 3] = [
            |client| client.batch_execute("begin; insert into t values (1)").expect("it runs"),
            |client| drop(client.batch_execute("begin; select 1 / 0")),
            |client| std::mem::forget(client.transaction().expect("it begins")),
        ];
        for leave in leave_open {
            leave(&mut pool.get().expect("a connection"));
            assert!(!is_in_transaction(pool));
        }
        assert!(pool.query("select n from t", &[]).expect("rows").is_empty());
        let books = pool.snapshot();
        assert_eq!((books.rolled_back, books.closed()), (3, 0), "{books}");
        let lines = log.records_of("pool", pool.name());
        let reported: Vec<_> =
            lines.iter().filter(|line| line.message.contains("inside a transaction")).collect();
        assert_eq!(reported.len(), 1, "{lines:#?}");
        assert!(reported[0].message.contains("cleaning.rs"), "{}", reported[0].message);
    });
}

#[test]
fn completed_work_costs_no_round_trip_and_no_connection_at_check_in() {
    on_postgres(|pool, by_tcp| {
        let mut client = pool.get().expect("a connection");
        client.query("select 1", &[]).expect("a text statement");
        let statement = client.prepare("select $1::int").expect("prepared");
        client.query(&statement, &[&1]).expect("rows");
        let mut sink = client.copy_in("copy t from stdin").expect("a copy");
        sink.write_all(b"1\n2\n").expect("rows");
        assert_eq!(sink.finish().expect("the end"), 2);
        let mut text = String::new();
        client
            .copy_out("copy t to stdout")
            .expect("a copy")
            .read_to_string(&mut text)
            .expect("all");
        let mut transaction = client.transaction().expect("it begins");
        transaction.execute("delete from t", &[]).expect("it runs");
        transaction.commit().expect("it commits");
        client.batch_execute("notify a").expect("it runs");
        drop(client);
        let mut client = pool.get().expect("the same connection");
        let books = pool.snapshot();
        assert_eq!((books.closed(), books.opened, books.rolled_back), (0, 1, 0), "{books}");
        assert!(!by_tcp || books.resets == 0, "{books}");
        // The end of a reply may come a moment after its error.
        assert!(client.query("select nonsense", &[]).is_err());
        drop(client);
        let books = pool.snapshot();
        assert_eq!((books.closed(), books.rolled_back), (0, 0), "{books}");
        assert!(!by_tcp || books.resets <= 1, "{books}");
    });
}

#[test]
fn unread_rows_close_their_connection_and_delay_no_caller() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let pool = one(Pg::new(database.url()).driver(), Reset::Auto, "half read");
    let began = Instant::now();
    let mut client = pool.get().expect("a connection");
    let none: [i32; 0] = [];
    let mut rows = client.query_raw("select generate_series(1, 5000000)", none).expect("rows");
    rows.next().expect("no error").expect("a row");
    drop(rows);
    drop(client);
    let seven: i32 = pool.query_one("select 7", &[]).expect("a new connection").get(0);
    assert_eq!(seven, 7);
    assert!(began.elapsed() < Duration::from_secs(15), "after {:?}", began.elapsed());
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1, "{}", pool.snapshot());
}

#[test]
fn forgotten_rows_delay_no_caller() {
    if !pg::available() {
        return;
    }
    let urls = || {
        let database = pg::shared().fresh_database();
        format!("{}\n{}", database.url(), database.unix_url())
    };
    // Alone in its process, because it counts threads.
    shortage::in_child_with(urls, |_, urls| {
        urls.lines().zip([true, false]).for_each(|(url, by_tcp)| leave_rows_unread(url, by_tcp));
    });
}

/// Leaves so much unread, in a pool of its own.
fn leave_unread(url: &str, kilobytes: i32) {
    let pool = one(Pg::new(url.to_owned()).driver(), Reset::Auto, &fresh_name("unread"));
    let mut client = pool.get().expect("a connection");
    let sql = "select repeat('x', 1000) from generate_series(1, $1)";
    let mut rows = client.query_raw(sql, [kilobytes]).expect("rows");
    rows.next().expect("no error").expect("a row");
    std::mem::forget(rows);
    drop(client);
    let ask = || pool.query_one("select 7", &[]).expect("a row").get::<_, i32>(0);
    assert_eq!(within(Duration::from_secs(30), ask).0, 7, "{kilobytes} kB");
}

fn leave_rows_unread(url: &str, by_tcp: bool) {
    // The driver reads only as the rows are read: at some length the whole reply
    // has arrived, and the driver still waits for the reader of the rows.
    std::thread::scope(|scope| {
        for kilobytes in [1, 8, 12, 16, 17, 18, 20, 22, 24, 26, 28, 32, 40, 200] {
            scope.spawn(move || leave_unread(url, kilobytes));
        }
    });
    let pool = one(Pg::new(url.to_owned()).driver(), Reset::Auto, &fresh_name("unread"));
    let mut client = pool.get().expect("a connection");
    let none: [i32; 0] = [];
    std::mem::forget(client.query_raw("select generate_series(1, 90000)", none).expect("rows"));
    PooledConnection::discard(client);
    assert_eq!(pool.query_one("select 7", &[]).expect("a row").get::<_, i32>(0), 7);
    let settled = || pool.snapshot().levels.closing + pool.snapshot().abandoned == 0;
    assert!(eventually(Duration::from_secs(30), settled), "{}", pool.snapshot());
    // A drop over a unix socket cannot be aborted: it is left behind on its thread. The
    // others are done by four threads at most.
    let ended = || threads_named("poolwarden-drop").len() <= 4;
    assert!(!by_tcp || eventually(Duration::from_secs(30), ended));
}

#[test]
fn a_full_reset_clears_a_postgres_session_except_for_its_prepared_statements() {
    on_postgres_with(Reset::Full, |pool, _| {
        let mut client = pool.get().expect("a connection");
        let statements = "set statement_timeout = '7s'; set app.x = 'y'; listen a;
                    create temp table temporary (n int); select pg_advisory_lock(1);
                    declare c cursor with hold for select 1; create temp sequence s;
                    select nextval('s'); begin";
        client.batch_execute(statements).expect("it runs");
        drop(client);
        let mut client = pool.get().expect("the same connection");
        let left = "select current_setting('statement_timeout'), current_setting('app.x', true),
                    (select count(*) from pg_listening_channels()),
                    (select count(*) from pg_class where relname in ('temporary', 's')),
                    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
                    (select count(*) from pg_cursors where name = 'c')";
        let row = client.query_one(left, &[]).expect("a row");
        let counts: Vec<i64> = (2..6).map(|place| row.get(place)).collect();
        assert_eq!((row.get::<_, &str>(0), counts), ("0", vec![0; 4]));
        assert!(row.get::<_, Option<&str>>(1).unwrap_or_default().is_empty());
        drop(client);
        assert_eq!((pool.snapshot().closed(), pool.snapshot().rolled_back), (0, 1));
    });
}

#[test]
fn the_drivers_own_statements_survive_a_full_reset() {
    on_postgres_with(Reset::Full, |pool, _| {
        let mood = "do $$ begin create type mood as enum ('good'); \
                    exception when duplicate_object then null; end $$";
        pool.batch_execute(mood).expect("a type");
        for _ in 0..3 {
            let row = pool.query_one("select 'good'::mood as m", &[]).expect("its type is known");
            assert_eq!(row.columns()[0].type_().name(), "mood");
        }
        assert_eq!(pool.snapshot().closed(), 0);
    });
}

#[test]
fn with_reset_none_session_state_reaches_the_next_borrower() {
    on_postgres_with(Reset::None, |pool, by_tcp| {
        pool.get().expect("a connection").batch_execute("begin").expect("it begins");
        assert!(is_in_transaction(pool));
        assert!(!by_tcp || pool.snapshot().resets == 0);
        pool.get().expect("a connection").batch_execute("rollback").expect("it ends");
    });
}

#[test]
fn a_rollback_without_a_reply_delays_no_check_in_beyond_ping_timeout() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    for url in [server.url("postgres", "postgres"), server.unix_url("postgres", "postgres")] {
        let pool = one(Pg::new(url).driver(), Reset::Auto, "frozen at check-in");
        let mut client = pool.get().expect("a connection");
        client.batch_execute("begin").expect("it begins");
        server.freeze();
        let began = Instant::now();
        drop(client);
        assert!(began.elapsed() < Duration::from_secs(1), "after {:?}", began.elapsed());
        assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1, "{}", pool.snapshot());
        server.thaw();
        assert!(pool.query("select 1", &[]).is_ok());
    }
}

#[test]
fn a_dirty_guard_dropped_inside_a_runtime_is_reset_on_another_thread() {
    on_postgres(|pool, _| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut client: PooledConnection<Postgres> = pool.get().expect("a connection");
        client.batch_execute("begin").expect("it begins");
        runtime.block_on(async move { drop(client) });
        assert!(!is_in_transaction(pool));
        assert_eq!(pool.snapshot().closed(), 0);
    });
}

fn on_mariadb(test: impl Fn(&Pool<MySql>)) {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let pool = one(My::new(database.url()).driver(), Reset::Auto, &fresh_name("clean mariadb"));
    pool.query_drop("create table t (n int) engine = innodb").expect("a table");
    test(&pool);
    drop(pool);
    test(&one(My::new(database.unix_url()).driver(), Reset::Auto, &fresh_name("clean mariadb")));
}

#[test]
fn no_state_of_a_mariadb_session_reaches_the_next_borrower() {
    on_mariadb(|pool| {
        let mut connection = pool.get().expect("a connection");
        let statements = "set @x = 7; set session sql_mode = ''; set time_zone = '+03:00';
                    create temporary table temporary (n int); do get_lock('mine', 0);
                    use information_schema; begin; insert into t values (1)";
        for statement in statements.replace("insert into t", "insert into DB.t").split(';') {
            let database: String = pool.driver_database();
            connection.query_drop(statement.replace("DB", &database)).expect("it runs");
        }
        drop(connection);
        let mut connection = pool.get().expect("the same connection");
        let left: Option<(Option<i64>, String, i64)> =
            connection.query_first("select @x, database(), is_free_lock('mine')").expect("a row");
        let (variable, database, lock_is_free) = left.expect("a row");
        assert_eq!((variable, lock_is_free), (None, 1));
        assert_eq!(database, pool.driver_database());
        let zone: Option<String> = connection.query_first("select @@time_zone").expect("a row");
        assert_eq!(zone.as_deref(), Some("SYSTEM"));
        assert!(connection.query_drop("select * from temporary").is_err());
        let rows: Vec<i64> = connection.query("select n from t").expect("rows");
        assert!(rows.is_empty());
        drop(connection);
        assert_eq!((pool.snapshot().closed(), pool.snapshot().opened), (0, 1));
    });
}

#[test]
fn an_unused_guard_needs_no_reset_and_a_statement_that_may_change_its_session_needs_one() {
    on_mariadb(|pool| {
        let before = pool.snapshot().resets;
        drop(pool.get().expect("a connection"));
        assert_eq!(pool.snapshot().resets, before);
        pool.query::<i64>("select 1").expect("rows");
        assert_eq!(pool.snapshot().resets, before);
        pool.exec_drop("do ?", (1,)).expect("it runs");
        pool.query::<i64>("select last_insert_id(7)").expect("rows");
        assert_eq!(pool.snapshot().resets, before + 2);
        pool.query_drop("use information_schema").expect("it runs");
        let database: Option<String> = pool.query_first("select database()").expect("a row");
        assert_eq!(database, Some(pool.driver_database()));
    });
}

#[test]
fn a_default_database_that_a_borrower_chose_is_reset_to_none() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let url = database.url().replace(&format!("/{}?", database.name()), "/?");
    let pool = one(My::new(url).driver(), Reset::Auto, "no database");
    pool.query_drop(&format!("use {}", database.name())).expect("it runs");
    let now: Option<Option<String>> = pool.query_first("select database()").expect("a row");
    assert_eq!(now, Some(None));
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_forgotten_mysql_result_closes_its_connection_and_no_borrower_reads_its_rows() {
    on_mariadb(|pool| {
        let mut connection = pool.get().expect("a connection");
        std::mem::forget(connection.query_iter("select seq from seq_1_to_1000").expect("rows"));
        drop(connection);
        assert_eq!(pool.query::<i64>("select 7").expect("its own reply"), [7]);
        assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1, "{}", pool.snapshot());
    });
}

#[test]
fn no_local_infile_handler_serves_the_next_borrower() {
    on_mariadb(|pool| {
        let load = "load data local infile 'any' into table t";
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let mut connection = pool.get().expect("a connection");
        connection.set_local_infile_handler(Some(LocalInfileHandler::new(move |_, file| {
            count.fetch_add(1, SeqCst);
            file.write_all(b"1\n")
        })));
        connection.query_drop("truncate t").expect("it runs");
        connection.query_drop(load).expect("it runs");
        drop(connection);
        assert_eq!(served.load(SeqCst), 1);
        let mut connection = pool.get().expect("the same connection");
        let _ = connection.query_drop(load);
        drop(connection);
        let _ = pool.query_drop(load);
        assert_eq!(pool.query::<i64>("select n from t").expect("rows"), [1]);
        assert_eq!((served.load(SeqCst), pool.snapshot().opened), (1, 1));
    });
}

/// Returns the database in a pool's label.
trait DriverDatabase {
    fn driver_database(&self) -> String;
}

impl DriverDatabase for Pool<MySql> {
    fn driver_database(&self) -> String {
        self.driver().label().rsplit('/').next().expect("a name").to_owned()
    }
}
