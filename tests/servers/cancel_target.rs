//! A cancel request that arrives late reaches the statement that it was sent for, or none.

use crate::variant::{Pg, Variant};
use poolwarden::{CloseReason, Pool, PooledConnection, Postgres};
use std::thread;
use std::time::{Duration, Instant};
use support::postgres as pg;
use support::proxy::{Direction, Fault, Mode, Proxy};
use support::wait::eventually;

const SOON: Duration = Duration::from_secs(10);

/// A pool whose only connection is open, and whose cancel requests do not get through.
struct Stage {
    proxy: Proxy,
    pool: Pool<Postgres>,
    _database: pg::Database<'static>,
}

impl Stage {
    fn new(timeout: Option<Duration>, cancel_timeout: Duration) -> Option<Stage> {
        let database = pg::available().then(|| pg::shared().fresh_database())?;
        let proxy = Proxy::to_port(pg::shared().port());
        let mut builder = Pool::builder().max_size(1).ping_timeout(SOON);
        builder = builder.cancel_timeout(cancel_timeout).statement_timeout(timeout);
        let driver = Pg::new(database.url_via(proxy.port())).driver();
        let pool = builder.build(driver).expect("the server is there");
        drop(pool.get().expect("a connection"));
        proxy.set_mode(Mode::With(Fault::Hold(Direction::ToServer)));
        Some(Stage { proxy, pool, _database: database })
    }

    /// Lets the requests through that are on their way.
    fn let_through(&self) {
        self.proxy.set_mode(Mode::Pass);
        for n in 1..self.proxy.accepted() {
            self.proxy.apply_to(n, &Fault::Pass);
        }
    }
}

fn sleep(client: &mut postgres::Client, seconds: f64) -> Result<(), postgres::Error> {
    client.execute("select pg_sleep($1)", &[&seconds]).map(drop)
}

#[test]
fn a_late_request_of_a_handle_hits_no_later_statement() {
    let Some(stage) = Stage::new(None, SOON) else { return };
    let mut client = stage.pool.get().expect("a connection");
    let handle = PooledConnection::cancel_handle(&client);
    thread::scope(|scope| {
        let asked = scope.spawn(|| handle.cancel());
        let arrived = || stage.proxy.held(1) > 0;
        assert!(eventually(SOON, arrived), "the request is on its way");
        let later = scope.spawn(move || {
            let began = Instant::now();
            let slept = sleep(&mut client, 0.5);
            (slept.map_err(|error| error.to_string()), began.elapsed())
        });
        thread::sleep(Duration::from_millis(300));
        stage.let_through();
        assert!(asked.join().expect("no panic").expect("the request was sent"));
        let (slept, took) = later.join().expect("no panic");
        assert_eq!(slept, Ok(()));
        assert!(took >= Duration::from_millis(700), "it waited for the request: {took:?}");
    });
    assert_eq!(stage.pool.snapshot().closed(), 0, "{}", stage.pool.snapshot());
}

#[test]
fn late_requests_of_a_statement_timeout_hit_no_later_statement() {
    let timeout = Duration::from_millis(400);
    let Some(stage) = Stage::new(Some(timeout), Duration::from_secs(4)) else { return };
    let mut client = stage.pool.get().expect("a connection");
    thread::scope(|scope| {
        let work = scope.spawn(move || {
            // Its request is under way when it ends.
            sleep(&mut client, 0.8).expect("no request has arrived");
            for _ in 0..5 {
                sleep(&mut client, 0.1).expect("the request was not for this one");
            }
        });
        assert!(eventually(SOON, || stage.proxy.held(1) > 0), "the request is on its way");
        thread::sleep(Duration::from_millis(900));
        assert!(!work.is_finished(), "the next statement waits for the request");
        stage.let_through();
        work.join().expect("no statement was cancelled");
    });
    assert_eq!(stage.pool.snapshot().closed(), 0, "{}", stage.pool.snapshot());
}

#[test]
fn a_statement_that_a_lost_request_could_hit_is_not_sent() {
    let Some(stage) = Stage::new(None, Duration::from_millis(300)) else { return };
    let mut client = stage.pool.get().expect("a connection");
    client.batch_execute("create table t (n int)").expect("a table");
    let asked = PooledConnection::cancel_handle(&client).cancel();
    assert!(asked.is_err(), "it did not get through: {asked:?}");
    let refused = client.batch_execute("insert into t values (1)").expect_err("it is not sent");
    let text = std::error::Error::source(&refused).expect("the transport's own").to_string();
    assert!(text.contains("cancel request"), "{text}");
    drop(client);
    stage.let_through();
    let rows = stage.pool.query("select n from t", &[]).expect("rows, on a new connection");
    assert!(rows.is_empty(), "it was not carried out");
    let books = stage.pool.snapshot();
    assert_eq!(books.closed() - books.closed_by(CloseReason::Surplus), 1, "{books}");
}
