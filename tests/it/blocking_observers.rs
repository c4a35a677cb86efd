//! Observers that do not return: they hold up one thread each, and no other pool.

use crate::common::books::books;
use crate::common::fake::{Act, At, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, start_checkout, until};
use poolwarden::observe::{Closed, Opened};
use poolwarden::{CloseReason, ConnectError, ErrorKind, FaultClass, Observer, PooledConnection};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use support::shortage;

/// How long after the beginning of a call it counts as blocked; doubled.
const BLOCKED: Duration = Duration::from_secs(1);

/// Which calls of an observer last until a gate opens.
#[derive(Clone, Copy, PartialEq)]
enum Call {
    Opened,
    Failed,
    Closed,
}

/// The first call of a kind lasts until a gate opens.
struct Blocking {
    call: Mutex<Option<Call>>,
    gate: Gate,
}

impl Blocking {
    fn first(call: Call, gate: &Gate) -> Blocking {
        Blocking { call: Mutex::new(Some(call)), gate: gate.clone() }
    }

    fn called(&self, call: Call) {
        let is_first = self.call.lock().expect("no panic").take_if(|first| *first == call);
        if is_first.is_some() {
            self.gate.pass();
        }
    }
}

impl Observer for Blocking {
    fn opened(&self, _: &Opened<'_>) {
        self.called(Call::Opened);
    }

    fn connect_failed(&self, _: &str, _: &ConnectError) {
        self.called(Call::Failed);
    }

    fn closed(&self, _: &Closed<'_>) {
        self.called(Call::Closed);
    }
}

#[test]
fn a_callers_new_connection_does_not_wait_for_an_observer_that_never_returns() {
    let gate = Gate::shut();
    let observer = Blocking::first(Call::Opened, &gate);
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).observer(observer));
    let caller = start_checkout(&pool, LONG_TIMEOUT);
    gate.wait_for_arrivals(1);
    drop(caller.connection());
    let now = pool.snapshot();
    assert_eq!((now.levels.open, now.levels.pending), (1, 0), "{now}");
    assert!(now.left_behind > 0, "{now:?}");
    gate.open();
    books(&pool);
}

#[test]
fn a_caller_gets_its_connection_when_a_thread_can_start_though_an_observer_never_returns() {
    shortage::in_child(|limits| {
        let gate = Gate::shut();
        let observer = Blocking::first(Call::Opened, &gate);
        let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).observer(observer));
        let caller = start_checkout(&pool, LONG_TIMEOUT);
        gate.wait_for_arrivals(1);
        let no_threads = limits.threads();
        thread::sleep(2 * BLOCKED);
        drop(no_threads);
        drop(caller.connection());
        gate.open();
        books(&pool);
    });
}

#[test]
fn a_callers_error_does_not_wait_for_an_observer_that_never_returns() {
    let gate = Gate::shut();
    let observer = Blocking::first(Call::Failed, &gate);
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1).observer(observer));
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    let caller = start_checkout(&pool, LONG_TIMEOUT);
    gate.wait_for_arrivals(1);
    let error = caller.error();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    until!(&pool, pool.snapshot().left_behind > 0 && pool.snapshot().levels.pending == 0);
    gate.open();
    books(&pool);
}

#[test]
fn events_are_dropped_and_counted_while_an_observer_does_not_return() {
    let gate = Gate::shut();
    let observer = Blocking::first(Call::Closed, &gate);
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(8).observer(observer));
    let mut held: Vec<_> = (0..5).map(|_| pool.get().expect("it opens")).collect();
    let first = held.pop().expect("one of five");
    thread::scope(|scope| {
        scope.spawn(|| PooledConnection::discard(first));
        gate.wait_for_arrivals(1);
        thread::sleep(BLOCKED);
        held.into_iter().for_each(PooledConnection::discard);
        let now = pool.snapshot();
        assert_eq!((now.closed(), now.events_dropped), (5, 8), "{now}");
        assert!(now.to_string().contains("events dropped 8"), "{now}");
        drop(pool.get().expect("it opens"));
        let now = pool.snapshot();
        assert_eq!(now.events_dropped, 11, "the opening, the check-out and the check-in as well");
        gate.open();
    });
    PooledConnection::discard(pool.get().expect("it is idle"));
    assert_eq!(pool.snapshot().events_dropped, 11, "the observer has returned");
    books(&pool);
}

#[test]
fn the_connections_of_a_pool_are_maintained_though_its_observer_never_returns() {
    let gate = Gate::shut();
    let observer = Blocking::first(Call::Closed, &gate);
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(4).idle_timeout(Duration::from_millis(300)).observer(observer)
    });
    idle(&pool, 4);
    gate.wait_for_arrivals(1);
    until!(&pool, script.server().live() == 0);
    idle(&pool, 4);
    until!(&pool, script.server().live() == 0);
    gate.open();
    books(&pool);
}

/// Takes its time for each connection that was closed.
struct Slow;

impl Observer for Slow {
    fn closed(&self, _: &Closed<'_>) {
        thread::sleep(Duration::from_millis(60));
    }
}

#[test]
fn a_slow_observer_delays_the_housekeeping_of_no_other_pool() {
    // Alone in its process: the thread that takes over has no other pool to serve.
    shortage::in_child(|_| slow_and_other());
}

fn slow_and_other() {
    let timeout = Duration::from_millis(300);
    let (slow, _) =
        pool(Transport::Tcp, |options| options.max_size(100).idle_timeout(timeout).observer(Slow));
    let (other, _) = pool(Transport::Tcp, |options| options.max_size(2).idle_timeout(timeout));
    idle(&slow, 100);
    // A hundred closes take six seconds on the thread that reports them.
    until!(&slow, slow.snapshot().closed() > 0);
    idle(&other, 2);
    until!(&other, other.snapshot().closed_by(CloseReason::IdleTimeout) == 2);
    let now = slow.snapshot();
    assert!(now.closed() < 100, "the other pool waited for all of the first: {now}");
    books(&other);
    until!(&slow, slow.snapshot().closed() == 100);
    books(&slow);
}
