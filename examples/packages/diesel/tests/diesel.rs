//! Diesel's connections in our pool, on real servers.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;
use diesel::sql_types::BigInt;
use example_diesel::{DieselPool, create_post, mysql, postgres, published, sqlite};
use poolwarden::{CloseReason, PooledConnection};
use support::{mariadb, postgres as pg};

const TABLE: &str =
    "create table posts (id serial primary key, title text not null, published boolean not null)";

#[test]
fn posts_are_written_and_read_through_a_guard() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = postgres(&database.url(), pg::shared().port()).expect("the server accepts");
    let mut conn = pool.get().expect("a connection");
    conn.batch_execute(TABLE).expect("a table");
    conn.transaction(|conn| create_post(conn, "first")).expect("it is written");
    // A plain function of Diesel's type takes the guard by `&mut conn` or `&mut *conn`.
    create_post(&mut conn, "second").expect("it is written");
    let titles = published(&mut conn).expect("posts").into_iter().map(|post| post.title);
    assert_eq!(titles.collect::<Vec<_>>(), ["first", "second"]);
    // A generic one takes `&mut *conn`.
    let count: i64 = example_diesel::posts::table.count().get_result(&mut *conn).expect("a count");
    assert_eq!(count, 2);
}

/// Uses the pool, ends all sessions, and uses it again: no error, and no ping.
fn is_peeked_at<C>(pool: &DieselPool<C>, end_sessions: impl FnOnce() -> usize)
where
    C: R2D2Connection + LoadConnection + SimpleConnection + 'static,
{
    let works = || pool.get().expect("a connection").batch_execute("select 1").expect("an answer");
    (0..10).for_each(|_| works());
    let books = pool.snapshot();
    assert_eq!((books.opened, books.pings), (1, 0), "{books}");
    assert!(end_sessions() >= 1);
    works();
    let books = pool.snapshot();
    assert_eq!((books.opened, books.pings, books.closed()), (2, 0, 1), "{books}");
}

use diesel::connection::LoadConnection;

#[test]
fn postgres_connections_are_peeked_at_and_a_dead_one_is_never_handed_out() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = postgres(&database.url(), pg::shared().port()).expect("the server accepts");
    is_peeked_at(&pool, || database.terminate_all());
}

#[test]
fn mariadb_connections_are_peeked_at_and_a_dead_one_is_never_handed_out() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let pool = mysql(&database.url(), mariadb::shared().port()).expect("the server accepts");
    is_peeked_at(&pool, || database.kill_all());
}

#[test]
fn sqlite_is_neither_peeked_at_nor_pinged() {
    let pool = sqlite(":memory:").expect("it opens");
    for _ in 0..10 {
        let mut conn = pool.get().expect("a connection");
        let two = diesel::select(sql::<BigInt>("2")).get_result::<i64>(&mut *conn);
        assert_eq!(two, Ok(2));
    }
    assert_eq!((pool.snapshot().pings, pool.snapshot().opened), (0, 1));
}

#[test]
fn a_raw_begin_is_rolled_back_and_a_transaction_of_diesel_closes_its_connection() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = postgres(&database.url(), pg::shared().port()).expect("the server accepts");
    let mut conn = pool.get().expect("a connection");
    conn.batch_execute(TABLE).expect("a table");
    conn.batch_execute("begin").expect("it begins");
    create_post(&mut conn, "never committed").expect("it is written");
    drop(conn);
    let mut conn = pool.get().expect("a connection");
    assert_eq!(published(&mut conn).expect("posts").len(), 0);
    assert_eq!(pool.snapshot().opened, 1);
    use diesel::connection::{AnsiTransactionManager, TransactionManager};
    AnsiTransactionManager::begin_transaction(&mut *conn).expect("it begins");
    drop(conn);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Broken), 1);
    PooledConnection::discard(pool.get().expect("a new one"));
}
