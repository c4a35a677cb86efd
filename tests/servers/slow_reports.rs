//! Slow statements are reported where the pool sees them.

use crate::variant::{fresh_name, shared_my, shared_pg};
use mysql::prelude::Queryable;
use poolwarden::observe::SlowStatement;
use poolwarden::{MySql, Observer, Pool, PooledConnection, Postgres};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Default)]
struct Slow(Arc<Mutex<Vec<(u64, Duration, u32)>>>);

impl Slow {
    fn all(&self) -> Vec<(u64, Duration, u32)> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Observer for Slow {
    fn slow_statement(&self, event: &SlowStatement<'_>) {
        let line = event.site.expect("it is known").line();
        self.0.lock().expect("no panic").push((event.connection, event.took, line));
    }
}

const LIMIT: Duration = Duration::from_millis(250);

#[test]
fn a_slow_statement_on_a_guard_of_postgresql_is_reported_when_it_ends() {
    let Some((_, database)) = shared_pg() else { return };
    let slow = Slow::default();
    let builder = Pool::builder().name(fresh_name("slow")).observer(slow.clone());
    let driver = Postgres::new(&database.url()).expect("a driver");
    let pool = builder.slow_statement(LIMIT).build(driver).expect("a server");
    let line = line!() + 1;
    let mut connection = pool.get().expect("a connection");
    connection.batch_execute("select pg_sleep(0.3)").expect("it runs");
    let all = slow.all();
    let (id, took, at) = *all.last().expect("it was reported before the guard is dropped");
    assert_eq!((id, at), (PooledConnection::id(&connection), line));
    assert!(took >= LIMIT, "{took:?}");
    drop(connection);
    assert_eq!(slow.all().len(), all.len(), "the guard was held for as long, but ran nothing");
}

#[test]
fn a_slow_statement_of_the_pools_own_is_reported_also_where_the_driver_shows_none() {
    let Some((_, database)) = shared_my() else { return };
    let slow = Slow::default();
    let builder = Pool::builder().name(fresh_name("slow")).observer(slow.clone());
    let driver = MySql::new(&database.url()).expect("a driver");
    let pool = builder.slow_statement(LIMIT).build(driver).expect("a server");
    let before = slow.all().len();
    pool.get().expect("a connection").query_drop("do sleep(0.3)").expect("it runs");
    assert_eq!(slow.all().len(), before, "a guard's statements are not seen");
    let line = line!() + 1;
    pool.query_drop("do sleep(0.3)").expect("it runs");
    let (_, took, at) = *slow.all().last().expect("it was reported");
    assert!(took >= LIMIT && at == line, "{took:?} {at}");
}
