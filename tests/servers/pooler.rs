//! Statements behind a pooler in transaction mode.

use crate::variant::{Pg, Variant};
use poolwarden::config::Pooler;
use poolwarden::{CloseReason, ErrorKind, Pool, Postgres};
use postgres::fallible_iterator::FallibleIterator;
use std::env;
use std::io::Read;
use std::process::{Command, Stdio};
use support::pgbouncer::{self, Bouncer, Conf, Mode};
use support::postgres as pg;

/// The variable with the pooler's URL for a child of this program.
const PLACE: &str = "POOLWARDEN_TEST_POOLER";

/// Starts a pooler with two server sessions.
fn bouncer(mode: Mode) -> Option<(Bouncer, pg::Database<'static>)> {
    bouncer_with(mode, |_| ())
}

fn bouncer_with(
    mode: Mode,
    configure: impl FnOnce(&mut Conf),
) -> Option<(Bouncer, pg::Database<'static>)> {
    pgbouncer::available().then(|| {
        let bouncer = Bouncer::with(pg::shared(), mode, |conf| {
            conf.set("default_pool_size", "2").set("max_client_conn", "100");
            configure(conf);
        });
        (bouncer, pg::shared().fresh_database())
    })
}

/// Since pgbouncer 1.21 it can itself keep names apart.
fn unaware(conf: &mut Conf) {
    if pgbouncer::version() >= (1, 21) {
        conf.set("max_prepared_statements", "0");
    }
}

fn url(bouncer: &Bouncer, database: &pg::Database<'_>) -> String {
    bouncer.url("postgres", database.name())
}

fn pool(url: &str, pooler: Pooler) -> Pool<Postgres> {
    let driver = Postgres::new(url).expect("a driver").with_pooler(pooler).expect("by TCP");
    Pool::builder().max_size(4).build(driver).expect("the pooler is there")
}

/// Runs statements in all ways, many times, and checks each result.
fn work(pool: &Pool<Postgres>, rounds: i32) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    for n in 0..rounds {
        let row = pool.query_one("select $1::int + 1", &[&n]).map_err(|e| text(&e))?;
        assert_eq!(row.get::<_, i32>(0), n + 1);
        let own = format!("select 'x' || {}", n % 150);
        let row = pool.query_one(&own, &[]).map_err(|e| text(&e))?;
        assert_eq!(row.get::<_, String>(0), format!("x{}", n % 150));
        let moods = pool.query("select unnest(enum_range($1::mood, null))::text", &[&Mood("glad")]);
        assert_eq!(moods.map_err(|e| text(&e))?.len(), 2);
        let mut client = pool.get().map_err(|e| text(&e))?;
        let row = client.query_one("select $1::text", &[&"raw"]).map_err(|e| text(&e))?;
        assert_eq!(row.get::<_, &str>(0), "raw");
        let statement = client.prepare("select $1::int * 2").map_err(|e| text(&e))?;
        for m in 0..3 {
            let row = client.query_one(&statement, &[&m]).map_err(|e| text(&e))?;
            assert_eq!(row.get::<_, i32>(0), 2 * m);
        }
        assert!(client.query("select $1::int / 0", &[&n]).is_err(), "it divides by zero");
        drop(client);
        let sum = pool.transaction(|tx| {
            let portal = tx.bind("select generate_series(1, $1::int)", &[&4])?;
            let first = tx.query_portal(&portal, 3)?;
            let rest = tx.query_portal(&portal, 3)?;
            Ok(first.iter().chain(&rest).map(|row| row.get::<_, i32>(0)).sum::<i32>())
        });
        assert_eq!(sum.map_err(|e| text(&e))?, 10);
    }
    Ok(())
}

/// A value of the test's own type.
#[derive(Debug)]
struct Mood(&'static str);

impl postgres::types::ToSql for Mood {
    fn to_sql(
        &self,
        _: &postgres::types::Type,
        out: &mut postgres::types::private::BytesMut,
    ) -> Result<postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(postgres::types::IsNull::No)
    }

    fn accepts(kind: &postgres::types::Type) -> bool {
        kind.name() == "mood"
    }

    postgres::types::to_sql_checked!();
}

/// Returns the errors of four threads that work.
fn run_threads(pool: &Pool<Postgres>, rounds: i32) -> Vec<String> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| work(pool, rounds).err())).collect();
        workers.into_iter().filter_map(|one| one.join().expect("no panic")).collect()
    })
}

/// Returns the names of drivers' statements in the server's sessions.
fn names(database: &pg::Database<'_>, bouncer: &Bouncer) -> Vec<String> {
    let mut clients: Vec<_> = (0..2)
        .map(|_| postgres::Client::connect(&url(bouncer, database), postgres::NoTls))
        .map(|client| client.expect("the pooler is there"))
        .collect();
    // One session each, as long as their transactions last.
    let mut found = Vec::new();
    for client in &mut clients {
        client.batch_execute("begin").expect("it begins");
        let rows = client.simple_query("select name from pg_prepared_statements").expect("rows");
        found.extend(rows.iter().filter_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }));
    }
    found
}

const SETUP: &str = "create type mood as enum ('glad', 'sad'); create table t (n int, m text)";

#[test]
#[ignore = "started by the next test, as another program"]
fn one_of_several_processes() {
    let place = env::var(PLACE).expect("it is not started by hand");
    assert_eq!(run_threads(&pool(&place, Pooler::Detect), 60), [""; 0]);
}

#[test]
fn processes_behind_one_pooler_never_use_each_others_statements() {
    let Some((bouncer, database)) = bouncer_with(Mode::Transaction, unaware) else { return };
    let url = url(&bouncer, &database);
    let pool = pool(&url, Pooler::Detect);
    pool.batch_execute(SETUP).expect("types");
    let this = env::current_exe().expect("this program");
    let others: Vec<_> = (0..2)
        .map(|_| {
            Command::new(&this)
                .args(["--exact", "pooler::one_of_several_processes", "--ignored"])
                .env(PLACE, &url)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts again")
        })
        .collect();
    let errors = run_threads(&pool, 60);
    assert_eq!(errors, [""; 0], "{}", bouncer.log_text());
    for other in others {
        let output = other.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let is_well = output.status.success() && text.contains("1 passed");
        assert!(is_well, "{text}{}", bouncer.log_text());
    }
    assert_eq!(names(&database, &bouncer), [""; 0], "no name has reached the server");
    let books = pool.snapshot();
    assert_eq!(books.closed(), 0, "{books}");
}

#[test]
fn without_transaction_mode_the_same_work_fails_behind_a_pooler() {
    let Some((bouncer, database)) = bouncer_with(Mode::Transaction, unaware) else { return };
    let pool = pool(&url(&bouncer, &database), Pooler::Session);
    pool.batch_execute(SETUP).expect("types");
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| work(&pool, 60))).collect();
        workers.into_iter().map(|one| one.join()).collect()
    });
    assert!(
        results.iter().any(|result| !matches!(result, Ok(Ok(())))),
        "a name reached another session"
    );
}

#[test]
fn every_raw_call_works_behind_a_pooler() {
    for mode in [Mode::Transaction, Mode::Session] {
        let Some((bouncer, database)) = bouncer(mode) else { return };
        let url = url(&bouncer, &database);
        let policies = [Pooler::Detect, Pooler::Transaction, Pooler::Session];
        let policies = &policies[..if mode == Mode::Session { 3 } else { 2 }];
        for pooler in policies {
            let pool = pool(&url, *pooler);
            pool.batch_execute("drop table if exists t; create table t (n int, m text)")
                .expect("t");
            let mut client = pool.get().expect("a connection");
            // Not COPY FROM: the driver sends a Sync that the server ignores, and pgbouncer
            // 1.18 sometimes waits for its reply, whatever we do.
            let insert = "insert into t values ($1, $2)";
            client.execute(insert, &[&1, &"one"]).expect("it runs");
            client.execute(insert, &[&2, &"two"]).expect("it runs");
            let mut text = String::new();
            client
                .copy_out("copy t to stdout")
                .expect("a copy")
                .read_to_string(&mut text)
                .expect("all");
            assert_eq!(text, "1\tone\n2\ttwo\n");
            let large = "x".repeat(300_000);
            let rows = client
                .query("select $1::text, n from generate_series(1, 40) n", &[&large])
                .expect("rows");
            assert!(rows.len() == 40 && rows.iter().all(|row| row.get::<_, &str>(0) == large));
            let typed = client
                .query_typed("select $1", &[(&7, postgres::types::Type::INT4)])
                .expect("rows");
            assert_eq!(typed[0].get::<_, i32>(0), 7);
            let mut few =
                client.query_raw("select generate_series(1, 9)", [0i32; 0]).expect("rows");
            few.next().expect("no error").expect("a row");
            drop(few);
            let row = client.query_one("select m from t where n = $1", &[&2]).expect("a row");
            assert_eq!(row.get::<_, &str>(0), "two");
            assert!(client.query("select nonsense", &[]).is_err());
            assert!(client.query("select $1::int", &[&"a text"]).is_err());
            assert_eq!(client.execute("delete from t where n = $1", &[&1]).expect("it runs"), 1);
            drop(client);
            assert_eq!(pool.query_one("select 7", &[]).expect("a row").get::<_, i32>(0), 7);
            let books = pool.snapshot();
            assert_eq!(
                (books.closed(), books.levels.in_use),
                (0, 0),
                "{mode:?} {pooler:?}: {books}"
            );
        }
    }
}

#[test]
fn columns_that_changed_behind_a_pooler_cause_one_error_and_are_never_misread() {
    let Some((bouncer, database)) = bouncer_with(Mode::Transaction, unaware) else { return };
    let pool = pool(&url(&bouncer, &database), Pooler::Detect);
    pool.batch_execute("create table t (n bigint); insert into t values (1)").expect("a table");
    let read = || pool.query_one("select n from t", &[]);
    assert_eq!(read().expect("a row").get::<_, i64>(0), 1);
    pool.batch_execute("alter table t alter n type float8").expect("it runs");
    let error = read().expect_err("eight bytes that mean something else");
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    assert_eq!(read().expect("a row").get::<_, f64>(0), 1.0);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Broken), 1, "{}", pool.snapshot());
}

#[test]
fn a_pooler_in_transaction_mode_over_a_unix_socket_is_refused() {
    let driver = Postgres::new("host=/run/nowhere user=app").expect("a driver");
    let error = driver.with_pooler(Pooler::Transaction).expect_err("names cannot be rewritten");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("unix socket"), "{error}");
}

#[test]
fn without_a_pooler_the_server_keeps_the_statements() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let pool = Pool::builder().max_size(1).build(Pg::new(database.url()).driver()).expect("a pool");
    pool.query("select 7", &[]).expect("rows");
    let kept = "select count(*) from pg_prepared_statements where statement = 'select 7'";
    let count: i64 = pool.query_one(kept, &[]).expect("a row").get(0);
    assert_eq!(count, 1);
}

#[test]
fn behind_a_pooler_that_keeps_names_apart_nothing_is_rewritten() {
    if !pgbouncer::available() || pgbouncer::version() < (1, 21) {
        return;
    }
    for pooler in [Pooler::Detect, Pooler::NamedStatements] {
        let aware = |conf: &mut Conf| {
            conf.set("max_prepared_statements", "200");
        };
        let Some((bouncer, database)) = bouncer_with(Mode::Transaction, aware) else { return };
        let pool = pool(&url(&bouncer, &database), pooler);
        pool.batch_execute(SETUP).expect("types");
        assert_eq!(run_threads(&pool, 20), [""; 0]);
        let names = names(&database, &bouncer);
        let are_the_poolers = |name: &String| name.starts_with("PGBOUNCER_");
        assert!(names.iter().any(are_the_poolers), "{pooler:?}: {names:?}");
        assert_eq!(pool.snapshot().closed(), 0, "{pooler:?}: {}", pool.snapshot());
    }
}

#[test]
fn the_question_whether_a_pooler_keeps_names_apart_leaves_no_statement_behind() {
    let Some((bouncer, database)) = bouncer_with(Mode::Transaction, unaware) else { return };
    let pool = pool(&url(&bouncer, &database), Pooler::Detect);
    for _ in 0..3 {
        pool.query("select 7", &[]).expect("rows");
    }
    assert_eq!(names(&database, &bouncer), [""; 0], "no name is left on the server");
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}
