//! Slots as named locks: a reset frees them, and the session takes its own again.

use super::{LONG, mariadb_fleet};
use crate::variant::{My, Variant, shared_my};
use mysql::prelude::Queryable;
use poolwarden::{CloseReason, MySql, Pool, Reset};
use support::mariadb as my;

/// Returns the sessions that hold the slots of a fleet.
fn holders(database: &my::Database<'_>, cap: &poolwarden::config::FleetCap) -> Vec<String> {
    let holder = |slot| format!("select is_used_lock('{}')", cap.mysql_lock_name(slot));
    let all: Vec<_> = (1..=cap.total()).map(holder).collect();
    database.sql(&all.join(" union all ")).into_iter().map(|row| row[0].clone()).collect()
}

/// Variants with a default database and without one: their resets differ.
fn variants(database: &my::Database<'_>) -> [My; 3] {
    let without = database.url().rsplit_once('/').expect("a path").0.to_owned() + "/";
    [My::new(database.url()), My::new(database.unix_url()), My::new(without)]
}

fn a_session_takes_its_slot_again(variant: &My, database: &my::Database<'_>) {
    let fleet = mariadb_fleet(database, 3);
    let builder = Pool::builder().max_size(2).reset(Reset::Full).fleet_cap(fleet.cap.clone());
    let pool: Pool<MySql> = builder.build(variant.driver()).expect("a slot is free");
    let both = [pool.get().expect("one"), pool.get().expect("two")];
    drop(both);
    let before = holders(database, &fleet.cap);
    assert_eq!(before.iter().filter(|holder| !holder.is_empty() && *holder != "NULL").count(), 2);
    for round in 0..20 {
        let mut connection = pool.get().expect("a connection");
        connection.query_drop("set @a = 1").expect("it runs");
        if round % 2 == 0 {
            connection.query_drop("do get_lock('another', 0)").expect("it runs");
        }
    }
    assert_eq!(holders(database, &fleet.cap), before);
    assert_eq!(database.sql("select is_used_lock('another') is null")[0][0], "1");
    let books = pool.snapshot();
    assert_eq!((books.opened, books.closed()), (2, 0), "{books}");
    assert!(books.resets >= 20, "{books}");
}

#[test]
fn a_session_takes_its_slot_again_after_a_reset() {
    let Some((_, database)) = shared_my() else { return };
    for variant in variants(&database) {
        a_session_takes_its_slot_again(&variant, &database);
    }
}

#[test]
fn a_session_that_finds_no_slot_after_its_reset_is_closed() {
    let Some((_, database)) = shared_my() else { return };
    for variant in variants(&database) {
        let fleet = mariadb_fleet(&database, 1);
        let builder = Pool::builder().max_size(1).fleet_cap(fleet.cap.clone());
        let pool: Pool<MySql> = builder.build(variant.driver()).expect("the slot is free");
        let slot = fleet.cap.mysql_lock_name(1);
        let mut connection = pool.get().expect("the only one");
        connection.query_drop(format!("do release_lock('{slot}')")).expect("it runs");
        let mut other = variant.open().expect("a session");
        let taken: Option<u8> =
            other.query_first(format!("select get_lock('{slot}', 0)")).expect("an answer");
        assert_eq!(taken, Some(1), "the slot is free");
        drop(connection);
        let books = pool.snapshot();
        assert_eq!((books.closed(), books.closed_by(CloseReason::FleetTurn)), (1, 1), "{books}");
        drop(other);
        assert!(pool.get_timeout(LONG).is_ok(), "{}", pool.snapshot());
    }
}
