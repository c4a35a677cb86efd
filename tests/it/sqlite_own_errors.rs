//! Closures with an error type of their own, and transactions with options.

use poolwarden::{Error, ErrorKind, Fault, IsolationLevel, Pool, RetryPolicy, Sqlite, fault_of};
use std::error::Error as _;
use std::fmt;

#[derive(Debug)]
enum App {
    Pool(Error),
    Sql(rusqlite::Error),
    Empty(u32),
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for App {}

impl From<Error> for App {
    fn from(error: Error) -> App {
        App::Pool(error)
    }
}

impl From<rusqlite::Error> for App {
    fn from(error: rusqlite::Error) -> App {
        App::Sql(error)
    }
}

fn classify(error: &App) -> Fault {
    match error {
        App::Pool(error) => error.fault(),
        App::Sql(error) => fault_of(error),
        App::Empty(_) => Fault::of_caller(),
    }
}

fn pool() -> Pool<Sqlite> {
    let pool = Pool::builder().max_size(1).build(Sqlite::memory()).expect("a pool");
    pool.execute_batch("create table t (n integer primary key)").expect("a table");
    pool
}

fn rows(pool: &Pool<Sqlite>) -> usize {
    pool.query("select n from t", [], |_| Ok(())).expect("rows").len()
}

#[test]
fn a_closures_own_error_comes_back_as_it_was_once_the_rollback_is_confirmed() {
    let pool = pool();
    let own = pool.try_transaction(|tx| {
        tx.execute("insert into t values (1)", [])?;
        Err::<(), _>(App::Empty(7))
    });
    assert!(matches!(own, Err(App::Empty(7))), "{own:?}");
    let sql = pool.try_transaction(|tx| Ok::<_, App>(tx.execute("nonsense", [])?));
    assert!(matches!(sql, Err(App::Sql(_))), "{sql:?}");
    assert_eq!(rows(&pool), 0);
    let done: Result<usize, App> =
        pool.try_transaction(|tx| Ok(tx.execute("insert into t values (1)", [])?));
    assert_eq!((done.expect("it commits"), rows(&pool)), (1, 1));
}

#[test]
fn the_pools_own_error_takes_precedence_where_there_is_one() {
    let pool = pool();
    let ended: Result<(), App> = pool.try_transaction(|tx| {
        let _ = tx.execute_batch("rollback");
        Ok(())
    });
    assert!(matches!(ended, Err(App::Pool(error)) if error.kind() == ErrorKind::Driver));
    pool.close(std::time::Duration::from_secs(1));
    let closed: Result<(), App> = pool.try_transaction(|_| Err(App::Empty(1)));
    assert!(matches!(closed, Err(App::Pool(error)) if error.kind() == ErrorKind::Closed));
}

#[test]
fn a_closures_own_error_is_retried_as_it_is_classified() {
    let pool = pool();
    let busy = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(5), None);
    let mut attempts = 0;
    let done: Result<u32, App> =
        pool.try_transaction_with(RetryPolicy::web(), classify, |tx, attempt| {
            attempts = attempt;
            tx.execute("insert into t values (1)", [])?;
            if attempt == 1 { Err(busy().into()) } else { Ok(attempt) }
        });
    assert_eq!((done.expect("the second attempt"), rows(&pool)), (2, 1));
    let gave_up: Result<(), App> =
        pool.try_transaction_with(RetryPolicy::web(), classify, |_, attempt| {
            attempts = attempt;
            Err(busy().into())
        });
    let Err(App::Pool(error)) = gave_up else { panic!("{gave_up:?}") };
    assert_eq!((error.kind(), attempts), (ErrorKind::RetriesExhausted, 3), "{error}");
    let source = error.source().and_then(|source| source.downcast_ref::<App>());
    assert!(matches!(source, Some(App::Sql(_))), "{source:?}");
    let own: Result<(), App> =
        pool.try_run(RetryPolicy::web(), classify, |_, attempt| Err(App::Empty(attempt)));
    assert!(matches!(own, Err(App::Empty(1))), "{own:?}");
}

#[test]
fn other_error_types_of_applications_fit_as_well() {
    let pool = pool();
    let boxed: Result<(), poolwarden::BoxError> = pool.try_transaction(|tx| {
        tx.execute("insert into t values (1)", [])?;
        Err("no".into())
    });
    assert_eq!(boxed.expect_err("its own").to_string(), "no");
    let own: Result<(), Error> = pool.try_transaction(|_| Err(Error::caller("no")));
    assert_eq!(own.expect_err("its own").kind(), ErrorKind::Caller);
    assert_eq!(rows(&pool), 0);
}

#[test]
fn a_read_only_transaction_refuses_writes_and_takes_no_write_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("db");
    // By one connection: two that are opened at the same time would be in each other's way.
    let first = rusqlite::Connection::open(&file).expect("a database");
    first.execute_batch("pragma journal_mode = wal").expect("the database keeps it");
    drop(first);
    let pool = Pool::builder()
        .max_size(2)
        .build(
            Sqlite::file(&file)
                .with_init(|connection| connection.busy_timeout(std::time::Duration::ZERO)),
        )
        .expect("a pool");
    pool.execute_batch("create table t (n integer primary key)").expect("a table");
    let seen = pool.transaction(|writer| {
        writer.execute("insert into t values (1)", [])?;
        pool.build_transaction().read_only(true).run(|tx, _| {
            assert!(tx.execute("insert into t values (2)", []).is_err(), "it is read-only");
            Ok(tx.query_row("select count(*) from t", [], |row| row.get::<_, i64>(0))?)
        })
    });
    assert_eq!(seen.expect("it reads beside a writer"), 0);
    for n in [3, 4] {
        pool.execute("insert into t values (?1)", [n]).expect("no connection stays read-only");
    }
}

#[test]
fn an_option_that_the_database_does_not_have_is_refused() {
    let pool = pool();
    let refused = pool.build_transaction().deferrable(true).run(|_, _| Ok(()));
    let error = refused.expect_err("SQLite has none");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("deferrable"), "{error}");
    let level = IsolationLevel::RepeatableRead;
    let done = pool.build_transaction().isolation_level(level).run(|_, attempt| Ok(attempt));
    assert_eq!(done.expect("it is serializable"), 1);
}

#[test]
fn an_error_of_a_value_that_does_not_fit_does_not_show_it() {
    let pool = Pool::builder().build(Sqlite::memory()).expect("a database in memory");
    let error = pool.query("select 4711", [], |row| row.get::<_, u8>(0)).expect_err("too large");
    assert!(!format!("{error} {error:?}").contains("4711"), "{error:?}");
    assert!(error.to_string().ends_with("Integer out of range at index 0"), "{error}");
}
