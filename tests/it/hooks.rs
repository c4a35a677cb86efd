//! The hooks of a pool, and what happens if they fail, panic or take too long.

use crate::common::books::{books, closed_books};
use crate::common::fake::{Act, At, Conn, Fake, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, until};
use poolwarden::driver::SessionState;
use poolwarden::{
    BoxError, CheckinAction, CloseReason, ErrorKind, Pool, PooledConnection, RetrySafety,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What a hook was called with, in order.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<u64>>>);

impl Calls {
    fn note(&self, number: u64) {
        self.0.lock().expect("no panic").push(number);
    }

    fn all(&self) -> Vec<u64> {
        self.0.lock().expect("no panic").clone()
    }
}

#[test]
fn on_checkout_prepares_a_connection_before_every_hand_out_whatever_the_way() {
    let calls = Calls::default();
    let seen = calls.clone();
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(1).on_checkout(move |conn: &mut Conn| {
            seen.note(conn.number);
            Ok(())
        })
    });
    drop(pool.get().expect("a new one"));
    drop(pool.get().expect("an idle one"));
    // The housekeeper may have it out for a moment.
    until!(pool, pool.try_get().is_some());
    assert_eq!(calls.all(), [1, 1, 1]);
    books(&pool);
}

#[test]
fn a_connection_that_on_checkout_refuses_is_discarded_and_the_next_one_is_tried() {
    // The housekeeper may have one of them out for a moment: one of several tries counts.
    assert!((0..20).any(|_| two_are_refused_and_the_third_is_accepted()));
}

/// Checks out of a pool with three idle connections of which `on_checkout` refuses two.
fn two_are_refused_and_the_third_is_accepted() -> bool {
    let refused: Arc<Mutex<Vec<u64>>> = Arc::default();
    let numbers = Arc::clone(&refused);
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(3).on_checkout(move |conn: &mut Conn| {
            match numbers.lock().expect("no panic").contains(&conn.number) {
                true => Err("no such tenant".into()),
                false => Ok(()),
            }
        })
    });
    let idle = idle(&pool, 3);
    refused.lock().expect("no panic").extend(&idle[1..]);
    let accepted = pool.get().expect("one is accepted").number;
    let refused = pool.snapshot().closed_by(CloseReason::Hook);
    let seen = (accepted, refused, script.calls(At::Connect));
    books(&pool);
    seen == (idle[0], 2, 3)
}

/// Returns a pool whose `on_checkout` refuses while the flag is set.
fn refusing(flag: &Arc<AtomicBool>) -> (Pool<Fake>, crate::common::fake::Script) {
    let flag = Arc::clone(flag);
    pool(Transport::Tcp, move |options| {
        options.max_size(3).name("orders").on_checkout(move |_| match flag.load(SeqCst) {
            true => Err("no such tenant".into()),
            false => Ok(()),
        })
    })
}

#[test]
fn if_on_checkout_refuses_a_connection_opened_for_the_caller_its_error_is_returned() {
    let flag = Arc::new(AtomicBool::new(false));
    let (pool, script) = refusing(&flag);
    idle(&pool, 2);
    flag.store(true, SeqCst);
    let error = pool.get().expect_err("all are refused");
    assert_eq!(error.kind(), ErrorKind::Hook, "{error}");
    assert_eq!(error.to_string(), "pool orders: the on_checkout hook failed: no such tenant");
    assert_eq!(error.fault().retry_safety(), RetrySafety::Permanent);
    assert_eq!(script.calls(At::Connect), 3, "two were idle, and one was opened");
    assert_eq!(pool.snapshot().closed_by(CloseReason::Hook), 3, "{}", pool.snapshot());
    assert!(pool.try_get().is_none());
    flag.store(false, SeqCst);
    books(&pool);
}

#[test]
fn a_panic_of_on_checkout_costs_one_connection_and_reaches_no_caller() {
    let panics = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&panics);
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(2).on_checkout(move |_| {
            assert!(!flag.swap(false, SeqCst), "scripted: the hook panics");
            Ok(())
        })
    });
    idle(&pool, 2);
    panics.store(true, SeqCst);
    drop(pool.get().expect("the next one"));
    let now = pool.snapshot();
    assert_eq!(
        (now.closed_by(CloseReason::Panicked), now.panics, now.levels.open),
        (1, 1, 1),
        "{now}"
    );
    books(&pool);
}

#[test]
fn on_checkout_ends_at_ping_timeout_and_at_the_callers_own_deadline() {
    let waits = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&waits);
    let (pool, script) = pool(Transport::Tcp, |options| {
        let hook = move |conn: &mut Conn| match flag.load(SeqCst) {
            true => Ok(conn.ping()?),
            false => Ok(()),
        };
        options.max_size(2).ping_timeout(Duration::from_secs(3)).on_checkout(hook)
    });
    idle(&pool, 1);
    waits.store(true, SeqCst);
    script.server().freeze();
    let began = Instant::now();
    let error = pool.get_timeout(Duration::from_secs(1)).expect_err("the server is frozen");
    assert!(began.elapsed() < LONG_TIMEOUT);
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
    assert!(error.to_string().contains("a hook did not finish in time"), "{error}");
    assert_eq!(pool.snapshot().closed_by(CloseReason::Hook), 1, "{}", pool.snapshot());
    script.server().thaw();
    idle(&pool, 1);
    script.server().freeze();
    let began = Instant::now();
    // Nothing answers a connect either.
    drop(pool.get_timeout(Duration::from_secs(5)).expect_err("the server is frozen"));
    assert!(began.elapsed() < LONG_TIMEOUT);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Hook), 2, "{}", pool.snapshot());
    script.server().thaw();
    books(&pool);
}

#[test]
fn a_hook_may_call_the_pool_because_no_lock_is_held() {
    let cell: Arc<OnceLock<Pool<Fake>>> = Arc::default();
    let look = {
        let cell = Arc::clone(&cell);
        move || cell.get().map(|pool| pool.snapshot().levels.open)
    };
    let (first, second, third) = (look.clone(), look.clone(), look);
    let (pool, _) = pool(Transport::Tcp, |options| {
        options
            .max_size(2)
            .on_checkout(move |_| first().map_or(Ok(()), |_| Ok(())))
            .on_checkin(move |_| {
                let _ = second();
                CheckinAction::Keep
            })
            .before_close(move |_| {
                let _ = third();
            })
    });
    let _ = cell.set(pool.clone());
    drop(pool.get().expect("it opens"));
    pool.retire_all();
    until!(pool, pool.snapshot().closed_by(CloseReason::Retired) == 1);
    books(&pool);
}

#[test]
fn on_checkin_sees_what_the_borrower_left_before_it_is_reset() {
    let dirty = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&dirty);
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(1).on_checkin(move |conn: &mut Conn| {
            seen.fetch_add(usize::from(conn.left == SessionState::Dirty), SeqCst);
            CheckinAction::Keep
        })
    });
    drop(pool.get().expect("it opens"));
    assert_eq!((dirty.load(SeqCst), script.calls(At::Reset)), (0, 0));
    pool.get().expect("it is idle").left = SessionState::Dirty;
    assert_eq!((dirty.load(SeqCst), script.calls(At::Reset)), (1, 1));
    let now = pool.snapshot();
    assert_eq!((now.opened, now.closed(), now.resets), (1, 0, 1), "{now}");
    books(&pool);
}

#[test]
fn what_on_checkin_leaves_behind_is_reset_as_well() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(1).on_checkin(|conn: &mut Conn| {
            conn.left = SessionState::Dirty;
            CheckinAction::Keep
        })
    });
    drop(pool.get().expect("it opens"));
    assert_eq!((script.calls(At::Reset), pool.snapshot().closed()), (1, 0));
    books(&pool);
}

#[test]
fn on_checkin_may_close_a_connection_and_its_panic_costs_only_that_one() {
    let action = Arc::new(AtomicUsize::new(0));
    let next = Arc::clone(&action);
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(2).on_checkin(move |_| match next.swap(0, SeqCst) {
            0 => CheckinAction::Keep,
            1 => CheckinAction::Close,
            _ => panic!("scripted: the hook panics"),
        })
    });
    action.store(1, SeqCst);
    drop(pool.get().expect("it opens"));
    assert_eq!(pool.snapshot().closed_by(CloseReason::Discarded), 1, "{}", pool.snapshot());
    action.store(2, SeqCst);
    drop(pool.get().expect("it opens"));
    assert_eq!(pool.snapshot().closed_by(CloseReason::Panicked), 1, "{}", pool.snapshot());
    books(&pool);
}

#[test]
fn on_checkin_ends_at_ping_timeout_and_is_not_called_for_a_broken_connection() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let (pool, script) = pool(Transport::Tcp, |options| {
        let hook = move |conn: &mut Conn| {
            count.fetch_add(1, SeqCst);
            let _ = conn.ping();
            CheckinAction::Keep
        };
        options.max_size(1).ping_timeout(Duration::from_secs(1)).on_checkin(hook)
    });
    pool.get().expect("it opens").broken = true;
    assert_eq!((calls.load(SeqCst), pool.snapshot().closed_by(CloseReason::Broken)), (0, 1));
    let held = pool.get().expect("it opens");
    script.server().freeze();
    let began = Instant::now();
    drop(held);
    assert!(began.elapsed() < LONG_TIMEOUT);
    assert_eq!((calls.load(SeqCst), pool.snapshot().closed_by(CloseReason::Hook)), (1, 1));
    script.server().thaw();
    books(&pool);
}

#[test]
fn before_close_is_called_once_for_each_connection_that_is_closed_in_good_order() {
    let calls = Calls::default();
    let seen = calls.clone();
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(3).close_grace(LONG_TIMEOUT).before_close(move |conn: &mut Conn| {
            conn.ping().expect("it is open");
            seen.note(conn.number);
        })
    });
    pool.get().expect("it opens").broken = true;
    PooledConnection::discard(pool.get().expect("it opens"));
    drop(PooledConnection::detach(pool.get().expect("it opens")));
    let numbers = idle(&pool, 2);
    let closed = pool.close(LONG_TIMEOUT);
    assert_eq!((closed.levels.open, closed.levels.closing), (0, 0), "{closed}");
    let mut called = calls.all();
    called.sort_unstable();
    assert_eq!(called, [vec![2], numbers].concat());
    closed_books(&pool);
}

#[test]
fn a_before_close_that_waits_for_the_server_ends_at_close_grace_and_a_panic_costs_nothing() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(2).close_grace(Duration::from_millis(300)).before_close(
            |conn: &mut Conn| {
                conn.ping().expect("scripted: the server is frozen");
            },
        )
    });
    idle(&pool, 2);
    script.server().freeze();
    pool.retire_all();
    until!(pool, pool.snapshot().panics == 2);
    script.server().thaw();
    books(&pool);
}

#[test]
fn a_before_close_that_never_returns_loses_no_place_of_the_pool() {
    let gate = Gate::shut();
    let inside = gate.clone();
    let (pool, _) = pool(Transport::Tcp, |options| {
        let hook = move |_: &mut Conn| inside.pass();
        options.max_size(1).close_grace(Duration::from_millis(300)).before_close(hook)
    });
    PooledConnection::discard(pool.get().expect("it opens"));
    gate.wait_for_arrivals(1);
    drop(pool.get().expect("the permit is released without the hook"));
    gate.open();
    until!(pool, pool.snapshot().abandoned == 0);
    books(&pool);
}

#[test]
fn get_with_prepares_the_connection_for_its_caller() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let conn = pool.get_with(|conn| {
        conn.password = "of the caller".into();
        Ok::<(), BoxError>(())
    });
    assert_eq!(conn.expect("it opens").password, "of the caller");
    books(&pool);
}

#[test]
fn if_the_closure_of_get_with_fails_the_connection_is_kept_and_its_error_is_the_source() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).name("orders"));
    idle(&pool, 1);
    let error = pool.get_with(|_| Err("role \"x\" does not exist")).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Hook);
    let text = "pool orders: the closure of get_with failed: role \"x\" does not exist";
    assert_eq!(error.to_string(), text);
    assert_eq!(
        (pool.snapshot().closed(), pool.snapshot().levels.idle),
        (0, 1),
        "{}",
        pool.snapshot()
    );
    let panic = pool.get_with(|_| -> Result<(), BoxError> { panic!("scripted: in the closure") });
    assert!(panic.expect_err("it panics").to_string().contains("panicked: scripted"));
    assert_eq!(pool.snapshot().closed_by(CloseReason::Panicked), 1, "{}", pool.snapshot());
    books(&pool);
}

#[test]
fn if_the_connection_is_lost_the_closure_of_get_with_is_called_with_another_one() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2));
    idle(&pool, 2);
    let calls = Calls::default();
    let conn = pool.get_with(|conn| {
        calls.note(conn.number);
        if calls.all().len() == 1 {
            script.server().close(conn.number);
            conn.ping()?;
        }
        Ok::<(), BoxError>(())
    });
    let conn = conn.expect("another one");
    assert_eq!(calls.all().last(), Some(&conn.number));
    assert_eq!(calls.all().len(), 2);
    drop(conn);
    books(&pool);
}

#[test]
fn the_closure_of_get_with_ends_at_the_callers_deadline() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        options
            .max_size(1)
            .ping_timeout(Duration::from_millis(300))
            .checkout_timeout(Duration::from_secs(3))
    });
    idle(&pool, 1);
    script.server().freeze();
    let began = Instant::now();
    let error = pool.get_with(Conn::ping).expect_err("the server is frozen");
    assert!(began.elapsed() >= Duration::from_secs(3) && began.elapsed() < LONG_TIMEOUT);
    assert_eq!(error.kind(), ErrorKind::Hook, "{error}");
    assert!(error.to_string().contains("the get_with hook took too long"), "{error}");
    assert_eq!(pool.snapshot().closed_by(CloseReason::Hook), 1, "{}", pool.snapshot());
    script.server().thaw();
    books(&pool);
}

#[test]
fn no_hook_runs_where_the_driver_must_not_block() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(1).on_checkout(move |_| {
            count.fetch_add(1, SeqCst);
            Ok(())
        })
    });
    idle(&pool, 1);
    script.always(At::MayBlock, Act::Fault(poolwarden::FaultClass::Other));
    assert_eq!(pool.get().expect_err("it would block").kind(), ErrorKind::AsyncContext);
    assert!(pool.try_get().is_none());
    let with = pool.get_with(|_| Ok::<(), BoxError>(()));
    assert_eq!(with.expect_err("it would block").kind(), ErrorKind::AsyncContext);
    assert_eq!((calls.load(SeqCst), pool.snapshot().levels.idle), (1, 1));
    books(&pool);
}

#[test]
fn hooks_run_in_a_bare_r2d2_pool_too() {
    let (calls, keep) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (count, flag) = (Arc::clone(&calls), Arc::clone(&keep));
    let (driver, _) = Fake::new(Transport::Tcp);
    let builder = Pool::builder().max_size(1).on_checkout(move |_| {
        count.fetch_add(1, SeqCst);
        Ok(())
    });
    let builder = builder.on_checkin(move |_| match flag.load(SeqCst) {
        true => CheckinAction::Keep,
        false => CheckinAction::Close,
    });
    let manager = builder.manager(driver).expect("the options agree");
    let pool = manager.builder().build(manager).expect("it opens");
    let first = pool.get().expect("a connection").number;
    assert_eq!(pool.get().expect("the same").number, first);
    assert!(calls.load(SeqCst) >= 2);
    keep.store(false, SeqCst);
    drop(pool.get().expect("the same"));
    assert_ne!(pool.get().expect("a new one").number, first);
}

#[test]
fn before_close_is_called_in_a_bare_r2d2_pool_for_what_is_closed_in_good_order() {
    let (calls, keep) = (Calls::default(), Arc::new(AtomicBool::new(true)));
    let (seen, flag) = (calls.clone(), Arc::clone(&keep));
    let (driver, _) = Fake::new(Transport::Tcp);
    let builder = Pool::builder().max_size(2).close_grace(LONG_TIMEOUT);
    let builder = builder.on_checkin(move |_| match flag.load(SeqCst) {
        true => CheckinAction::Keep,
        false => CheckinAction::Close,
    });
    let builder = builder.before_close(move |conn: &mut Conn| {
        conn.ping().expect("it is open");
        seen.note(conn.number);
    });
    let manager = builder.manager(driver).expect("the options agree");
    let pool = manager.builder().build(manager).expect("it opens");
    pool.get().expect("a connection").broken = true;
    keep.store(false, SeqCst);
    let closed = pool.get().expect("another").number;
    until!(calls.all() == [closed]);
    keep.store(true, SeqCst);
    // r2d2 drops its idle connections with the pool.
    drop(pool);
    until!(calls.all().len() >= 2);
    let called = calls.all();
    assert_eq!(called.iter().filter(|number| **number == closed).count(), 1, "{called:?}");
}

/// There is no socket to shut down.
#[cfg(feature = "sqlite")]
#[test]
fn a_hook_that_runs_an_endless_sqlite_statement_is_interrupted_at_its_deadline() {
    let endless = "with recursive t(n) as (select 1 union all select n + 1 from t) \
                   select count(*) from t";
    let run = |conn: &mut rusqlite::Connection| {
        // One interrupt ends one statement.
        let _ = conn.query_row(endless, [], |_| Ok(()));
        Ok(conn.query_row(endless, [], |_| Ok(()))?)
    };
    let builder = Pool::builder().ping_timeout(Duration::from_millis(300)).on_checkout(run);
    let pool = builder.build_lazy(poolwarden::Sqlite::memory()).expect("the options agree");
    let began = Instant::now();
    let error = pool.get().map(drop).expect_err("it is interrupted");
    assert!(began.elapsed() < LONG_TIMEOUT);
    assert_eq!(error.kind(), ErrorKind::Hook, "{error}");
}
