//! A cap on the connections of several processes, arbitrated by the server.

mod mariadb;
mod postgres;
mod processes;

use crate::variant::{My, Pg, Variant, fill, fresh_name, shared_my, shared_pg};
use poolwarden::Sqlite;
use poolwarden::config::FleetCap;
use poolwarden::{CloseReason, Error, ErrorKind, FaultClass, Pool, PooledConnection};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::wait::eventually;
use support::{mariadb as my, postgres as pg};

const LONG: Duration = Duration::from_secs(60);

/// What a server knows of a fleet.
struct Fleet<'a> {
    cap: FleetCap,
    /// Returns how many slots are taken.
    slots: Box<dyn Fn() -> usize + 'a>,
    /// Returns how many sessions there are, with a slot or without.
    sessions: Box<dyn Fn() -> usize + 'a>,
}

fn count(rows: &[Vec<String>]) -> usize {
    rows[0][0].parse().expect("a number")
}

fn postgres_fleet<'a>(database: &'a pg::Database<'a>, total: u32) -> Fleet<'a> {
    let cap = FleetCap::new(fresh_name("cap"), total);
    let class = cap.postgres_lock_class().cast_unsigned();
    let slots = format!(
        "select count(distinct objid) from pg_locks where locktype = 'advisory' and granted \
         and objsubid = 2 and classid = {class} and objid > 0 and database = \
         (select oid from pg_database where datname = current_database())"
    );
    Fleet {
        cap,
        slots: Box::new(move || count(&database.sql(&slots))),
        sessions: Box::new(|| database.backends().len()),
    }
}

fn mariadb_fleet<'a>(database: &'a my::Database<'a>, total: u32) -> Fleet<'a> {
    let cap = FleetCap::new(fresh_name("cap"), total);
    let is_used = |slot| format!("(is_used_lock('{}') is not null)", cap.mysql_lock_name(slot));
    let slots = format!("select {}", (1..=total).map(is_used).collect::<Vec<_>>().join(" + "));
    Fleet {
        cap,
        slots: Box::new(move || count(&database.sql(&slots))),
        sessions: Box::new(|| database.processlist().len()),
    }
}

fn pool<F: Variant>(variant: &F, cap: &FleetCap, max_size: u32) -> Pool<F::Driver> {
    let builder = Pool::builder().max_size(max_size).fleet_cap(cap.clone());
    builder.build(variant.driver()).expect("a slot is free")
}

fn assert_full(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
    let cause = error.connect_error().expect("why nothing could be opened");
    assert_eq!(cause.class(), FaultClass::FleetFull, "{error}");
    let text = error.to_string();
    for part in ["the fleet is at its cap: this pool has", "slots of the group \"cap-"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

/// Callers beyond the cap wait for a slot; the server has one session more for a moment.
fn callers_wait_for_a_slot<F: Variant>(variant: &F, fleet: &Fleet<'_>) {
    let (first, second) = (pool(variant, &fleet.cap, 6), pool(variant, &fleet.cap, 6));
    let take = |pool: &Pool<F::Driver>| pool.get_timeout(LONG).expect("a slot is free");
    let mut held = vec![take(&first), take(&second), take(&second)];
    assert_eq!((fleet.slots)(), 3);
    for pool in [&first, &second] {
        let error = pool.get_timeout(Duration::from_secs(2)).map(drop).expect_err("all are taken");
        assert_full(&error);
        assert!(eventually(LONG, || (fleet.sessions)() <= 4));
    }
    let waiter = |pool: &Pool<F::Driver>| {
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.get_timeout(LONG));
            PooledConnection::discard(held.pop().expect("one is held"));
            waiter.join().expect("no panic")
        })
    };
    let taken = [&second, &first].map(waiter).map(|got| got.expect("a slot became free"));
    assert_eq!((fleet.slots)(), 3);
    let books = second.snapshot();
    assert_eq!(books.closed_by(CloseReason::Discarded), 2, "{books}");
    drop((taken, held));
}

#[test]
fn postgres_callers_wait_for_a_slot() {
    let Some((variant, database)) = shared_pg() else { return };
    callers_wait_for_a_slot(&variant, &postgres_fleet(&database, 3));
    let unix = Pg::new(database.unix_url());
    callers_wait_for_a_slot(&unix, &postgres_fleet(&database, 3));
}

#[test]
fn mariadb_callers_wait_for_a_slot() {
    let Some((variant, database)) = shared_my() else { return };
    callers_wait_for_a_slot(&variant, &mariadb_fleet(&database, 3));
    let unix = My::new(database.unix_url());
    callers_wait_for_a_slot(&unix, &mariadb_fleet(&database, 3));
}

/// Calls `work` while four threads call `again` all the time.
fn while_busy<T>(again: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    again();
                }
            });
        }
        let done = work();
        is_over.store(true, SeqCst);
        done
    })
}

/// A pool that has all slots, and needs them all the time, gives some to one that waits.
fn slots_go_round<F: Variant>(variant: &F, fleet: &Fleet<'_>) {
    let busy = pool(variant, &fleet.cap, 2);
    fill(&busy);
    let hungry = Pool::builder().max_size(2).fleet_cap(fleet.cap.clone());
    let hungry = hungry.build_lazy(variant.driver()).expect("a pool");
    let again = || F::ask(&mut busy.get_timeout(LONG).expect("a slot comes back"));
    let mut got = while_busy(|| again().expect("it answers"), || hungry.get_timeout(LONG));
    F::ask(got.as_mut().expect("a slot goes round")).expect("it answers");
    drop(got);
    let books = busy.snapshot();
    assert!(books.closed_by(CloseReason::FleetTurn) > 0, "{books}");
    assert_eq!(books.closed(), books.closed_by(CloseReason::FleetTurn), "{books}");
}

#[test]
fn postgres_slots_go_round_while_others_wait() {
    let Some((variant, database)) = shared_pg() else { return };
    slots_go_round(&variant, &postgres_fleet(&database, 2));
    slots_go_round(&Pg::new(database.unix_url()), &postgres_fleet(&database, 2));
}

#[test]
fn mariadb_slots_go_round_while_others_wait() {
    let Some((variant, database)) = shared_my() else { return };
    slots_go_round(&variant, &mariadb_fleet(&database, 2));
}

/// The same in bare r2d2 pools, which ask at check-in and whose next check-out opens again.
fn slots_go_round_in_bare_pools<F: Variant>(variant: &F, fleet: &Fleet<'_>) {
    let bare = |min_idle| {
        let manager = Pool::builder().fleet_cap(fleet.cap.clone()).manager(variant.driver());
        let builder = r2d2::Pool::builder().max_size(2).min_idle(min_idle);
        let builder = builder.connection_timeout(LONG);
        builder.build_unchecked(manager.expect("the options agree"))
    };
    let busy = bare(Some(2));
    assert!(eventually(LONG, || busy.state().idle_connections == 2), "{:?}", busy.state());
    assert_eq!((fleet.slots)(), 2);
    let hungry = bare(Some(0));
    let again = || F::ask(&mut busy.get().expect("a slot comes back"));
    let mut got = while_busy(|| again().expect("it answers"), || hungry.get());
    F::ask(got.as_mut().expect("a slot goes round")).expect("it answers");
    drop(got);
    assert!((fleet.slots)() <= 2);
}

#[test]
fn postgres_slots_go_round_in_bare_r2d2_pools() {
    let Some((variant, database)) = shared_pg() else { return };
    slots_go_round_in_bare_pools(&variant, &postgres_fleet(&database, 2));
    let unix = Pg::new(database.unix_url());
    slots_go_round_in_bare_pools(&unix, &postgres_fleet(&database, 2));
}

#[test]
fn mariadb_slots_go_round_in_bare_r2d2_pools() {
    let Some((variant, database)) = shared_my() else { return };
    slots_go_round_in_bare_pools(&variant, &mariadb_fleet(&database, 2));
    let unix = My::new(database.unix_url());
    slots_go_round_in_bare_pools(&unix, &mariadb_fleet(&database, 2));
}

/// Nobody waits: a connection keeps its slot for longer than a turn.
#[test]
fn a_slot_that_nobody_wants_is_kept() {
    let Some((variant, database)) = shared_pg() else { return };
    let fleet = postgres_fleet(&database, 1);
    let only = pool(&variant, &fleet.cap, 1);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_200) {
        only.execute("select 1", &[]).expect("it answers");
    }
    let books = only.snapshot();
    assert_eq!((books.opened, books.closed()), (1, 0), "{books}");
}

#[test]
fn a_database_without_sessions_refuses_the_option_and_so_does_an_invalid_one() {
    let refused = |cap: FleetCap| {
        let error = Pool::builder().fleet_cap(cap).build(Sqlite::memory()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    assert!(refused(FleetCap::new("orders", 3)).contains("fleet_cap: not supported by sqlite"));
    assert!(refused(FleetCap::new("orders", 0)).contains("fleet_cap: total 0 must be from 1"));
    assert!(refused(FleetCap::new("a b", 3)).contains("fleet_cap: the group must have 1 to 40"));
}
