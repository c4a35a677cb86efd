//! Permits that several pools share, over scripted drivers.

use crate::common::fake::{Act, At, Fake, Script, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, start_checkout, until, until_waiting};
use poolwarden::{Builder, CloseReason, ErrorKind, Pool, SharedPermits};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Builds pools that share permits and connect to one server.
fn pools<const N: usize>(
    permits: &SharedPermits,
    configure: impl Fn(usize, Builder<Fake>) -> Builder<Fake>,
) -> ([Pool<Fake>; N], Script) {
    let (driver, script) = Fake::new(Transport::Tcp);
    let pools = std::array::from_fn(|index| {
        let builder = Pool::builder().name(format!("pool {index}")).permits(permits);
        let builder = builder.checkout_timeout(LONG_TIMEOUT).close_grace(LONG_TIMEOUT);
        configure(index, builder).build_lazy(driver.beside()).expect("the options agree")
    });
    (pools, script)
}

fn permits(limit: u32) -> SharedPermits {
    SharedPermits::new(limit).expect("one or more")
}

/// Asserts that every permit belongs to an idle connection, and that all are free when the
/// pools are gone.
#[track_caller]
fn permits_balance<const N: usize>(permits: &SharedPermits, pools: [Pool<Fake>; N]) {
    let idle = || pools.iter().map(|pool| pool.snapshot().levels.idle).sum::<u32>();
    until!(permits.used() == idle() && permits.wanted() == 0);
    assert_eq!(permits.pools(), N);
    drop(pools);
    until!((permits.pools(), permits.used()) == (0, 0));
}

#[test]
fn pools_under_load_never_exceed_their_shared_permits() {
    let permits = permits(5);
    let (pools, script) = pools::<6>(&permits, |index, builder| match index {
        0 => builder.min_permits(1).max_size(3),
        1 => builder.permit_weight(3),
        _ => builder,
    });
    thread::scope(|scope| {
        for thread in 0..12 {
            let pools = &pools;
            scope.spawn(move || {
                for turn in 0..60 {
                    let pool = &pools[(turn / 5 + thread) % pools.len()];
                    let mut conn = pool.get().expect("its turn comes");
                    conn.broken = fastrand::u8(..) < 20;
                }
            });
        }
    });
    assert!(script.server().most() <= 5, "{} at a time", script.server().most());
    permits_balance(&permits, pools);
}

#[test]
fn a_waiting_pool_takes_over_the_permit_of_the_connection_idle_longest() {
    let permits = permits(3);
    let (pools, script) = pools::<3>(&permits, |_, builder| builder);
    idle(&pools[0], 1);
    thread::sleep(Duration::from_millis(20));
    idle(&pools[1], 2);
    let conn = pools[2].get().expect("an idle connection is given up");
    assert_eq!(conn.number, 4);
    until!(pools[0], pools[0].snapshot().closed_by(CloseReason::GivenUp) == 1);
    assert_eq!(pools[1].snapshot().closed(), 0);
    assert_eq!(script.server().most(), 3, "closed first, then opened");
    drop(conn);
    permits_balance(&permits, pools);
}

#[test]
fn a_pool_that_has_all_permits_gives_one_up_at_check_in() {
    let permits = permits(2);
    let (pools, script) = pools::<2>(&permits, |_, builder| builder);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let conn = pools[0].get().expect("its turn comes");
                    thread::sleep(Duration::from_millis(1));
                    drop(conn);
                }
            });
        }
        until!(permits.used() == 2);
        for _ in 0..5 {
            drop(pools[1].get().expect("its turn comes"));
        }
        done.store(true, Relaxed);
    });
    until!(pools[0], pools[0].snapshot().closed_by(CloseReason::GivenUp) > 0);
    assert!(script.server().most() <= 2);
    permits_balance(&permits, pools);
}

#[test]
fn reserved_permits_are_left_to_their_pool() {
    let permits = permits(3);
    let (pools, _) = pools::<2>(&permits, |index, builder| match index {
        0 => builder.min_permits(1),
        _ => builder,
    });
    let held = [(); 2].map(|()| pools[1].get().expect("two are not reserved"));
    let error = pools[1].get_timeout(Duration::from_millis(50)).expect_err("one is reserved");
    let text = "the 3 shared permits are in use (2 of them by this pool) or reserved";
    assert!(error.to_string().contains(text), "{error}");
    let own = pools[0].get().expect("one is reserved for it");
    let second = start_checkout(&pools[0], LONG_TIMEOUT);
    until_waiting(&pools[0], 1);
    drop(held);
    drop((second.connection(), own));
    idle(&pools[0], 3);
    // The last one stays: it is the reserved one.
    let held = [(); 2].map(|()| pools[1].get().expect("two are given up"));
    assert!(pools[1].get_timeout(Duration::from_millis(50)).is_err());
    assert_eq!(pools[0].snapshot().levels.open, 1);
    drop(held);
    permits_balance(&permits, pools);
}

#[test]
fn a_pool_whose_server_hangs_takes_its_share_of_permits_and_at_least_one() {
    for (limit, share) in [(8, 2), (3, 1)] {
        let permits = permits(limit);
        let (pools, _) = pools::<3>(&permits, |_, builder| builder);
        let (driver, script) = Fake::new(Transport::InProcess);
        let gate = Gate::shut();
        // After successes, a pool would open a connection for each caller at the same time.
        let warm_up = |pool: &Pool<Fake>| {
            drop((0..3).map(|_| pool.get().expect("it opens")).collect::<Vec<_>>());
            pool.retire_all();
        };
        let builder = Pool::builder().name("hangs").permits(&permits);
        let builder = builder.connect_timeout(Duration::from_secs(3_600));
        let hangs = builder.checkout_timeout(LONG_TIMEOUT).build_lazy(driver).expect("it agrees");
        warm_up(&hangs);
        until!(permits.used() == 0);
        script.always(At::Connect, Act::Hang(gate.clone()));
        let callers = [(); 6].map(|()| {
            let pool = hangs.clone();
            thread::spawn(move || drop(pool.get().expect("its turn comes")))
        });
        until!(
            hangs,
            hangs.snapshot().levels.pending == share && hangs.snapshot().levels.waiting == 6
        );
        let free = limit - share;
        let others = || (0..free).map(|index| pools[index as usize % 3].get().expect("it is free"));
        let held: Vec<_> = others().collect();
        assert_eq!(permits.used(), limit);
        drop(held);
        drop(others().collect::<Vec<_>>());
        assert_eq!(hangs.snapshot().levels.pending, share);
        gate.open();
        callers.into_iter().for_each(|caller| caller.join().expect("it is served"));
        drop(hangs);
        permits_balance_of_three(&permits, pools);
    }
}

#[track_caller]
fn permits_balance_of_three(permits: &SharedPermits, pools: [Pool<Fake>; 3]) {
    until!(permits.pools() == 3);
    permits_balance(permits, pools);
}

#[test]
fn a_changed_limit_is_followed() {
    let permits = permits(1);
    let (pools, _) = pools::<2>(&permits, |_, builder| builder);
    let held = pools[0].get().expect("it opens");
    let waiter = start_checkout(&pools[1], LONG_TIMEOUT);
    until_waiting(&pools[1], 1);
    permits.set_limit(3).expect("three are possible");
    let second = waiter.connection();
    let third = pools[1].get().expect("it opens");
    permits.set_limit(1).expect("one is possible");
    drop(third);
    until!(permits.used() == 2);
    drop((held, second));
    until!(permits.used() == 1);
    for pool in &pools {
        drop(pool.get().expect("one is enough"));
    }
    permits_balance(&permits, pools);
}

#[test]
fn a_closed_pool_leaves_its_permits_and_what_was_reserved_to_the_others() {
    let permits = permits(3);
    let (pools, _) = pools::<2>(&permits, |index, builder| match index {
        0 => builder.min_permits(2),
        _ => builder,
    });
    idle(&pools[0], 2);
    let own = pools[1].get().expect("one is not reserved");
    let waiter = start_checkout(&pools[1], LONG_TIMEOUT);
    until_waiting(&pools[1], 1);
    pools[0].close(LONG_TIMEOUT);
    let held = (waiter.connection(), pools[1].get().expect("both are free"));
    drop((held, own));
    permits_balance(&permits, pools);
}

#[test]
fn min_idle_is_refilled_when_no_caller_of_another_pool_wants_the_permits() {
    let permits = permits(2);
    let (pools, _) = pools::<2>(&permits, |index, builder| match index {
        0 => builder.min_idle(2),
        _ => builder.idle_timeout(Duration::from_millis(100)),
    });
    until!(pools[0], pools[0].snapshot().levels.idle == 2);
    let held = [(); 2].map(|()| pools[1].get().expect("idle connections are given up"));
    until!(pools[0], pools[0].snapshot().closed_by(CloseReason::GivenUp) == 2);
    drop(held);
    until!(pools[0], pools[0].snapshot().levels.idle == 2);
    permits_balance(&permits, pools);
}

#[test]
fn options_of_shared_permits_are_checked() {
    assert_eq!(SharedPermits::new(0).expect_err("none").kind(), ErrorKind::Config);
    let permits = permits(3);
    let refused = |configure: &dyn Fn(Builder<Fake>) -> Builder<Fake>| {
        let (driver, _) = Fake::new(Transport::InProcess);
        let error = configure(Pool::builder().name("tenant")).build_lazy(driver);
        error.expect_err("the options do not agree").to_string()
    };
    let text = refused(&|builder| builder.permits(&permits).min_permits(4));
    assert!(
        text.contains("min_permits 4: with this pool 4 shared permits would be needed of 3"),
        "{text}"
    );
    let text = refused(&|builder| builder.permits(&permits).max_size(1).min_permits(2));
    assert!(text.contains("min_permits 2 exceeds max_size 1"), "{text}");
    let text = refused(&|builder| builder.permits(&permits).permit_weight(0));
    assert!(text.contains("permit_weight 0: must be 1 to 1000"), "{text}");
    for text in [refused(&|builder| builder.min_permits(1)), refused(&|it| it.permit_weight(1))] {
        assert!(text.starts_with("pool tenant: ") && text.contains("without permits"), "{text}");
    }
    let (driver, _) = Fake::new(Transport::InProcess);
    let manager = Pool::builder().permits(&permits).manager(driver);
    assert_eq!(manager.map(drop).expect_err("it shares none").kind(), ErrorKind::Config);
    let (driver, _) = Fake::new(Transport::InProcess);
    let builder = Pool::builder().permits(&permits).min_permits(2);
    let pool = builder.build_lazy(driver).expect("two can be reserved");
    assert_eq!(permits.set_limit(1).expect_err("two are reserved").kind(), ErrorKind::Config);
    assert_eq!((permits.limit(), permits.pools()), (3, 1));
    drop(pool);
    until!(permits.pools() == 0);
    permits.set_limit(1).expect("nothing is reserved any more");
}
