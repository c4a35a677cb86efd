//! Slots as advisory locks: what a reset keeps, and what it notices.

use super::{Fleet, LONG, pool, postgres_fleet};
use crate::variant::{Pg, Variant, shared_pg};
use poolwarden::{CloseReason, ErrorKind, FaultClass, Pool, Reset, config::FleetCap};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use support::pgbouncer::{Bouncer, Mode};
use support::{postgres as pg, require};

/// Returns the keys of the advisory locks in the database, but for that of a session that
/// waits for a slot.
fn locks(database: &pg::Database<'_>) -> Vec<(String, String)> {
    let rows = database.sql(
        "select classid, objid from pg_locks where locktype = 'advisory' and objid <> 0 and database = \
         (select oid from pg_database where datname = current_database()) order by classid, objid",
    );
    rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

fn own_lock(cap: &FleetCap, slot: u32) -> (String, String) {
    (cap.postgres_lock_class().cast_unsigned().to_string(), slot.to_string())
}

/// A pool with the slot that the others want, whose sessions are fully reset at each
/// check-in. For itself it has many: its turn is long.
fn only(variant: &Pg, fleet: &Fleet<'_>) -> Pool<poolwarden::Postgres> {
    let cap = FleetCap::new(fleet.cap.group(), 1_000);
    let builder = Pool::builder().max_size(1).reset(Reset::Full).fleet_cap(cap);
    builder.build(variant.driver()).expect("the slot is free")
}

fn a_full_reset_keeps_the_slot(variant: &Pg, database: &pg::Database<'_>) {
    let fleet = postgres_fleet(database, 1);
    let only = only(variant, &fleet);
    let hungry = Pool::builder().max_size(1).fleet_cap(fleet.cap.clone());
    let hungry = hungry.build_lazy(variant.driver()).expect("a pool");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // It asks all the time.
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                let got = hungry.get_timeout(Duration::from_millis(300));
                assert!(got.is_err(), "it got the slot of a session that lives");
            }
        });
        for round in 0..60 {
            let mut client = only.get().expect("the only one");
            let statements = match round % 3 {
                0 => "begin; select pg_advisory_lock(1, 2); select pg_advisory_lock(3)",
                1 => {
                    "select pg_advisory_lock_shared(4); set work_mem = '1MB'; prepare p as select 1"
                }
                _ => "begin; select 1 / 0",
            };
            let _ = client.batch_execute(statements);
            drop(client);
            if round % 20 == 0 {
                assert_eq!(locks(database), [own_lock(&fleet.cap, 1)]);
            }
        }
        is_over.store(true, SeqCst);
    });
    let books = only.snapshot();
    assert_eq!((books.opened, books.closed()), (1, 0), "{books}");
    assert!(books.resets >= 60, "{books}");
    assert_eq!(hungry.snapshot().opened, 0);
    let mut client = only.get().expect("the only one");
    let statement = format!("select pg_advisory_unlock({}, 1)", fleet.cap.postgres_lock_class());
    let mut unlock = || client.query_one(&statement, &[]).expect("a row").get::<_, bool>(0);
    assert_eq!(
        [unlock(), unlock()],
        [true, false],
        "it is held once, however often the session was reset"
    );
    drop(client);
    only.retire_all();
    assert!(hungry.get_timeout(LONG).is_ok(), "{}", hungry.snapshot());
}

#[test]
fn a_full_reset_unlocks_everything_but_the_slot() {
    let Some((variant, database)) = shared_pg() else { return };
    a_full_reset_keeps_the_slot(&variant, &database);
    a_full_reset_keeps_the_slot(&Pg::new(database.unix_url()), &database);
}

#[test]
fn a_session_that_has_lost_its_slot_is_closed_by_its_reset() {
    let Some((variant, database)) = shared_pg() else { return };
    let fleet = postgres_fleet(&database, 1);
    let only = only(&variant, &fleet);
    let class = fleet.cap.postgres_lock_class();
    let mut client = only.get().expect("the only one");
    client.batch_execute("select pg_advisory_unlock_all()").expect("it runs");
    let mut other = variant.open().expect("a session");
    let row = other.query_one("select pg_try_advisory_lock($1, 1)", &[&class]).expect("a row");
    assert!(row.get::<_, bool>(0), "the slot is free");
    drop(client);
    let books = only.snapshot();
    assert_eq!((books.closed(), books.closed_by(CloseReason::FleetTurn)), (1, 1), "{books}");
    drop(other);
    assert!(only.get_timeout(LONG).is_ok(), "{}", only.snapshot());
    assert_eq!(locks(&database), [own_lock(&fleet.cap, 1)]);
}

#[test]
fn slots_are_counted_for_each_database() {
    let (Some((first, _one)), Some((second, _two))) = (shared_pg(), shared_pg()) else { return };
    let cap = FleetCap::new("each-database", 1);
    let pools = [pool(&first, &cap, 1), pool(&second, &cap, 1)];
    let held = pools.each_ref().map(|pool| pool.get().expect("a slot in each"));
    drop(held);
}

#[test]
fn a_pooler_in_transaction_mode_is_refused() {
    require!(pgbouncer);
    let bouncer = Bouncer::start(pg::shared(), Mode::Transaction);
    let database = pg::shared().fresh_database();
    let variant = Pg::new(bouncer.url(database.user(), database.name()));
    let builder = Pool::builder().fleet_cap(FleetCap::new("pooled", 3));
    let error = builder.build(variant.driver()).map(drop).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let cause = error.connect_error().expect("the cause");
    assert_eq!(cause.class(), FaultClass::Configuration, "{error}");
    let text = error.to_string();
    for part in ["fleet_cap needs a server session of its own", "a pooler in transaction mode"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert_eq!(locks(&database), []);
}
