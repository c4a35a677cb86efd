//! A server that is blocked in sending to a connection which the pool has closed.

use crate::variant::{Pg, Variant, fresh_name};
use poolwarden::{Pool, PooledConnection};
use std::time::{Duration, Instant};
use support::postgres as pg;
use support::wait::eventually;

#[test]
fn a_session_that_is_owed_notifications_ends_within_the_grace() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    for url in [database.url(), database.unix_url()] {
        let grace = Duration::from_secs(1);
        let builder = Pool::builder().max_size(1).close_grace(grace);
        let pool = builder.build(Pg::new(url).driver()).expect("the server is there");
        let mut conn = pool.get().expect("a connection");
        let name = fresh_name("owed");
        conn.batch_execute(&format!("set application_name = '{name}'; listen owed"))
            .expect("a session that listens");
        // About a hundred megabytes.
        let notify = "select pg_notify('owed', repeat('x', 7900) || n) from \
                      generate_series(1, 13000) as n";
        pg::shared().sql(database.name(), notify);
        let backends = || pg::shared().backends(&name).len();
        assert_eq!(backends(), 1);
        let began = Instant::now();
        PooledConnection::discard(conn);
        let gone = eventually(Duration::from_secs(20), || backends() == 0);
        let took = began.elapsed();
        assert!(gone && took < grace + Duration::from_secs(10), "{took:?}: {}", pool.snapshot());
        assert!(
            eventually(Duration::from_secs(20), || pool.snapshot().levels.closing == 0),
            "{}",
            pool.snapshot()
        );
    }
}
