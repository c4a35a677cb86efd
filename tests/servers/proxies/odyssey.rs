//! Odyssey in transaction mode, only where a newer server's programs were fetched.

use super::{SOON, assert_all_places};
use crate::variant::{Pg, Variant};
use poolwarden::{ErrorKind, FaultClass, Pool, Postgres, RetryPolicy, RetrySafety};
use std::thread;
use std::time::Duration;
use support::odyssey::Odyssey;
use support::postgres as pg;

fn driver(odyssey: &Odyssey, server: &pg::Server) -> Postgres {
    Pg::new(server.url_via(odyssey.port(), "postgres", "postgres")).driver()
}

#[test]
fn a_server_that_is_away_behind_odyssey_is_reported_as_away_and_work_waits_for_it() {
    support::require!(odyssey);
    let server = pg::Server::start();
    let odyssey = Odyssey::start(&server);
    let builder = Pool::builder().max_size(2).checkout_timeout(SOON);
    let pool = builder.build(driver(&odyssey, &server)).expect("the server accepts");
    server.sql("postgres", "create table t (n int)");
    server.stop_fast();
    let insert = "insert into t values ($1)";
    let error = pool.execute(insert, &[&1]).expect_err("the server is down");
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}\n{}", odyssey.log_text());
    let fault = error.fault();
    assert_eq!(fault.class(), FaultClass::NoServer, "{error}");
    assert_eq!(fault.retry_safety(), RetrySafety::NothingSent, "{error}");
    let fresh = Pool::builder().build_lazy(driver(&odyssey, &server)).expect("options agree");
    let error = fresh.get().map(drop).expect_err("the server is down");
    let cause = error.connect_error().unwrap_or_else(|| panic!("no cause in: {error}"));
    assert_eq!((cause.class(), cause.code()), (FaultClass::NoServer, Some("08006")), "{error}");
    let policy = RetryPolicy::script(Duration::from_secs(60));
    let script = || pool.run(policy, |client, _| Ok(client.execute(insert, &[&2])?));
    thread::scope(|scope| {
        let script = scope.spawn(script);
        thread::sleep(Duration::from_millis(500));
        server.start_again();
        assert_eq!(script.join().expect("no panic").expect("it waits and goes on"), 1);
    });
    assert_eq!(server.sql("postgres", "select n from t"), [["2"]]);
    assert_all_places(&pool);
}
