//! The process has no thread or no descriptor left for a while.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, FakeManager, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, until};
use poolwarden::{CloseReason, FaultClass, Foreign, Pool, PooledConnection};
use r2d2::ManageConnection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::thread;
use std::time::{Duration, Instant};
use support::shortage;
use support::wait::{threads_named, within};

/// A call may end this much later than its deadline on a loaded computer.
const SLACK: Duration = Duration::from_secs(5);

fn until_no_closer() {
    until!(threads_named("poolwarden-closer").is_empty());
}

/// Waits for the end of every thread that releases descriptors.
fn until_all_is_released() {
    for thread in ["closer", "drop", "dial", "watcher"] {
        until!(threads_named(&format!("poolwarden-{thread}")).is_empty());
    }
}

#[test]
fn an_attempt_without_a_thread_to_run_on_is_an_error_and_costs_no_slot() {
    shortage::in_child(|limits| {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
        let no_threads = limits.threads();
        let error = pool.get().expect_err("nothing can open a connection");
        let fault = error.connect_error().map(|error| error.class());
        assert_eq!(fault, Some(FaultClass::LocalResource), "{error}");
        assert_eq!((pool.snapshot().levels.pending, script.calls(At::Connect)), (0, 0));
        drop(no_threads);
        books(&pool);
    });
}

#[test]
fn a_connection_is_not_opened_while_no_timer_could_bound_it() {
    shortage::in_child(|limits| {
        let (driver, script) = Fake::new(Transport::Tcp);
        let manager = Pool::builder().manager(driver).expect("the options agree");
        let no_threads = limits.threads();
        let error = manager.connect().expect_err("its connect would have no bound");
        let fault = error.connect_error().map(|error| error.class());
        assert_eq!(fault, Some(FaultClass::LocalResource), "{error}");
        assert_eq!(script.calls(At::Connect), 0);
        drop(no_threads);
        drop(manager.connect().expect("it opens"));
        until!(script.server().live() == 0);
    });
}

#[test]
fn min_idle_is_opened_once_the_housekeeper_that_could_not_start_can() {
    shortage::in_child(|limits| {
        let (driver, script) = Fake::new(Transport::Tcp);
        let no_threads = limits.threads();
        let pool = Pool::builder().max_size(4).min_idle(2).build_lazy(driver);
        let pool = pool.expect("the options agree");
        drop(no_threads);
        until!(pool, pool.snapshot().levels.idle == 2);
        assert_eq!(script.calls(At::Connect), 2);
        books(&pool);
    });
}

#[cfg(feature = "sqlite")]
#[test]
fn a_statement_timeout_holds_while_no_thread_can_start() {
    shortage::in_child(|limits| {
        let timeout = Duration::from_millis(200);
        let builder = Pool::builder().max_size(1).statement_timeout(timeout);
        let pool = builder.build(poolwarden::Sqlite::memory()).expect("a database in memory");
        // Longer than a thread without work stays.
        thread::sleep(Duration::from_secs(1));
        let no_threads = limits.threads();
        let endless = "with recursive t(n) as (select 1 union all select n + 1 from t where n < \
                       100000000) select count(*) from t";
        let began = Instant::now();
        let outcome = pool.query(endless, [], |row| row.get::<_, i64>(0));
        let took = began.elapsed();
        let error = outcome.expect_err("it is interrupted");
        assert_eq!(error.kind(), poolwarden::ErrorKind::StatementTimeout, "{error:?}");
        assert!(took >= timeout && took < timeout + SLACK, "{took:?}");
        drop(no_threads);
    });
}

#[test]
fn a_ping_that_gets_no_answer_is_bounded_without_a_descriptor_to_spare() {
    for transport in [Transport::Tcp, Transport::Unix] {
        shortage::in_child(|limits| {
            let bound = Duration::from_millis(300);
            let (pool, script) = pool(transport, |options| {
                let options = options.max_size(1).ping_after(Duration::from_millis(1));
                options.ping_timeout(bound)
            });
            idle(&pool, 1);
            thread::sleep(Duration::from_millis(10));
            let no_descriptors = limits.descriptors(0);
            script.server().mute();
            // The descriptors of the one that is closed are enough for another.
            let (_, took) = within(LONG_TIMEOUT, || pool.get_timeout(2 * bound).map(drop));
            assert!(took >= bound && took < 2 * bound + SLACK, "{took:?}");
            drop(no_descriptors);
            until!(pool, pool.snapshot().closed_by(CloseReason::PingTimeout) == 1);
            books(&pool);
        });
    }
}

#[test]
fn a_reset_that_gets_no_answer_is_bounded_without_a_descriptor_to_spare() {
    shortage::in_child(|limits| {
        let bound = Duration::from_millis(300);
        let (pool, script) =
            pool(Transport::Tcp, |options| options.max_size(1).ping_timeout(bound));
        let mut conn = pool.get().expect("it opens");
        conn.left = poolwarden::driver::SessionState::Dirty;
        let no_descriptors = limits.descriptors(0);
        script.server().mute();
        let ((), took) = within(LONG_TIMEOUT, || drop(conn));
        assert!(took < bound + SLACK, "{took:?}");
        drop(no_descriptors);
        books(&pool);
    });
}

#[test]
fn a_connection_without_a_descriptor_of_our_own_is_not_kept() {
    shortage::in_child(|limits| {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
        idle(&pool, 1);
        pool.retire_all();
        until!(pool, pool.snapshot().levels.open + pool.snapshot().levels.closing == 0);
        until_all_is_released();
        script.once(At::Connect, Act::SkipWatch);
        // The two ends of the connection, and no more.
        let two = limits.descriptors(2);
        let error = pool.get().expect_err("it could not be shut down");
        let fault = error.connect_error().map(|error| error.class());
        assert_eq!(fault, Some(FaultClass::LocalResource), "{error}");
        drop(two);
        books(&pool);
    });
}

#[test]
fn what_no_thread_could_close_is_closed_when_one_can_though_no_pool_is_left() {
    shortage::in_child(|limits| {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(3));
        idle(&pool, 3);
        until_no_closer();
        let no_threads = limits.threads();
        drop(pool);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(script.calls(At::Drop), 0);
        drop(no_threads);
        until!(script.server().live() == 0);
    });
}

#[test]
fn a_waiter_gets_its_connection_when_the_closer_can_start_though_housekeeping_is_blocked() {
    shortage::in_child(|limits| {
        let gate = Gate::shut();
        let (blocked, _) = pool(Transport::Tcp, |options| {
            let options = options.max_size(1).idle_timeout(Duration::from_millis(50));
            options.observer(BlockedObserver(gate.clone()))
        });
        let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
        let conn = pool.get().expect("it opens");
        until_no_closer();
        idle(&blocked, 1);
        gate.wait_for_arrivals(1);
        until_no_closer();
        let no_threads = limits.threads();
        PooledConnection::discard(conn);
        let waiter = pool.clone();
        drop(no_threads);
        let (outcome, took) = within(LONG_TIMEOUT, || waiter.get().map(drop));
        assert!(outcome.is_ok() && took < SLACK, "{outcome:?} after {took:?}");
        gate.open();
        books(&pool);
    });
}

/// Blocks in `closed`.
struct BlockedObserver(Gate);

impl poolwarden::Observer for BlockedObserver {
    fn closed(&self, _: &poolwarden::observe::Closed<'_>) {
        self.0.pass();
    }
}

#[test]
fn a_drop_that_hangs_and_had_to_wait_for_a_thread_holds_up_no_other_pool() {
    shortage::in_child(|limits| {
        let (manager, hanging) = FakeManager::new();
        let first = Pool::builder().max_size(2).build_lazy(Foreign::new(manager));
        let first = first.expect("the options agree");
        let (second, _) = pool(Transport::Hidden, |options| options.max_size(2));
        let (one, two) = (first.get().expect("it opens"), first.get().expect("it opens"));
        let (three, four) = (second.get().expect("it opens"), second.get().expect("it opens"));
        PooledConnection::discard(three);
        until!(second, second.snapshot().levels.closing == 0);
        let gate = Gate::shut();
        hanging.once(At::Drop, Act::Hang(gate.clone()));
        let no_threads = limits.threads();
        PooledConnection::discard(one);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(hanging.calls(At::Drop), 0);
        drop(no_threads);
        gate.wait_for_arrivals(1);
        PooledConnection::discard(four);
        until!(second, second.snapshot().levels.closing == 0);
        PooledConnection::discard(two);
        until!(first, first.snapshot().levels.closing == 1);
        gate.open();
        until!(first, first.snapshot().levels.closing == 0);
    });
}

#[test]
fn a_close_waits_for_the_thread_that_drops() {
    shortage::in_child(|limits| {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
        let (other, _) = crate::common::pool(Transport::Hidden, |options| options.max_size(1));
        let conn = pool.get().expect("it opens");
        // Starts the closer, but no thread that drops what has a socket.
        PooledConnection::discard(other.get().expect("it opens"));
        until!(other, other.snapshot().levels.closing == 0);
        assert!(!threads_named("poolwarden-closer").is_empty());
        let no_threads = limits.threads();
        PooledConnection::discard(conn);
        thread::sleep(Duration::from_millis(100));
        assert_eq!((pool.snapshot().levels.closing, script.calls(At::Drop)), (1, 0));
        drop(no_threads);
        until!(pool, pool.snapshot().levels.closing == 0);
        assert_eq!(script.threads(At::Drop), ["poolwarden-drop"]);
    });
}

/// The processor time that this process has used.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("/proc is mounted");
    let fields = text.rsplit(')').next().expect("a name ends with a parenthesis");
    // proc(5): utime and stime are fields 14 and 15, the state after the name is field 3.
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_limit_below_the_number_of_closing_sockets_makes_the_closer_no_busy_loop() {
    shortage::in_child(|_| {
        let (pool, script) = pool(Transport::Tcp, |options| {
            options.max_size(32).close_grace(Duration::from_secs(20))
        });
        let held: Vec<_> = (0..32).map(|_| pool.get().expect("it opens")).collect();
        script.server().freeze();
        held.into_iter().for_each(PooledConnection::discard);
        until!(pool, script.calls(At::Drop) == 32);
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(8), ..before }).expect("a lower limit");
        let (began, used) = (Instant::now(), processor_time());
        thread::sleep(Duration::from_secs(1));
        let (took, used) = (began.elapsed(), processor_time() - used);
        setrlimit(Resource::Nofile, before).expect("the limit of before");
        assert!(used < took / 4, "{used:?} of {took:?}");
        assert_eq!(pool.snapshot().levels.closing, 32);
        script.server().thaw();
        until!(pool, pool.snapshot().levels.closing == 0);
    });
}

#[test]
fn waiters_sleep_until_something_happens() {
    shortage::in_child(|_| {
        let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
        let held = pool.get().expect("it opens");
        thread::scope(|scope| {
            for _ in 0..400 {
                scope.spawn(|| drop(pool.get().expect("its turn comes")));
            }
            until!(pool, pool.snapshot().levels.waiting == 400);
            let used = processor_time();
            thread::sleep(Duration::from_secs(2));
            let used = processor_time() - used;
            assert!(used < Duration::from_millis(60), "{used:?} in two seconds");
            drop(held);
        });
        books(&pool);
    });
}

#[test]
fn one_of_many_waiters_wakes_for_each_attempt_while_the_server_starts() {
    const WAITERS: u32 = 4_000;
    shortage::in_child(|_| {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4));
        script.always(At::Connect, Act::Fault(FaultClass::Starting));
        thread::scope(|scope| {
            let wait = || drop(pool.get_timeout(6 * LONG_TIMEOUT));
            let begin = |_| {
                let thread = thread::Builder::new().stack_size(256 << 10);
                thread.spawn_scoped(scope, wait).ok()
            };
            // A computer may allow fewer threads.
            let waiters = u32::try_from((0..WAITERS).map_while(begin).count()).expect("few");
            assert!(waiters > WAITERS / 10, "{waiters} threads");
            until!(pool, pool.snapshot().levels.waiting == waiters);
            let (attempts, used) = (pool.snapshot().connect_attempts, processor_time());
            thread::sleep(Duration::from_secs(4));
            let used = processor_time() - used;
            let attempts = pool.snapshot().connect_attempts - attempts;
            println!("{waiters} waiters: {used:?} in four seconds, {attempts} attempts");
            assert!(attempts > 4, "{attempts} attempts in four seconds");
            // All waiters at each attempt: six seconds.
            assert!(used < Duration::from_millis(200), "{used:?}, {attempts} attempts");
            script.clear();
        });
        books(&pool);
    });
}
