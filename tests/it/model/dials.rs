//! Which waiter an attempt serves, and how many attempts may run at a time.

use crate::core::{Core, DialOrder, Failure, Handover, Join, Take, Ticket};
use crate::permits::Permits;
use std::time::{Duration, Instant};

type Numbers = Core<u32, &'static str>;

/// More than the interval between attempts while no attempt has succeeded.
const LATER: Duration = Duration::from_millis(200);

/// Another caller joins the queue and finds no idle connection.
fn join(core: &Numbers, now: Instant) -> (Ticket, Vec<DialOrder>) {
    match core.join(None, None, now) {
        Join::Queued(ticket, orders) => (ticket, orders),
        _ => panic!("nothing is idle and there is room"),
    }
}

/// A pool in which two callers wait, with an attempt for each.
fn two_waiting(now: Instant) -> (Numbers, [Ticket; 2], [DialOrder; 2]) {
    let core = Core::new(Permits::new(4));
    let (first, mut orders) = join(&core, now);
    let (second, none) = join(&core, now);
    assert!(none.is_empty(), "attempts are spaced while none has succeeded");
    orders.extend(core.plan(now + LATER));
    let orders = orders.try_into().unwrap_or_else(|_| panic!("an attempt for each"));
    (core, [first, second], orders)
}

#[test]
fn a_waiter_whose_attempt_served_another_fails_with_the_next_failure() {
    let now = Instant::now();
    let (core, [first, second], [for_first, for_second]) = two_waiting(now);
    assert!(core.dial_succeeded(for_second.id, 7, now + LATER).late.is_none());
    let served = core.leave(&first);
    assert!(matches!(served, Some(Handover::Connection(7))), "the head of the queue gets it");
    let (orders, _) = core.dial_failed(for_first.id, &"refused", Failure::Refused, now + LATER);
    let [next] = orders.try_into().unwrap_or_else(|_| panic!("one attempt for the one waiter"));
    core.removed();
    assert!(core.dial_failed(next.id, &"refused", Failure::Refused, now + 2 * LATER).0.is_empty());
    let handover = core.leave(&second);
    assert!(
        matches!(handover, Some(Handover::Failed("refused"))),
        "it would wait until its deadline"
    );
}

#[test]
fn a_waiter_whose_attempt_failed_for_a_temporary_cause_fails_with_the_next_failure() {
    let now = Instant::now();
    let (core, [first, second], [for_first, for_second]) = two_waiting(now);
    let _ = core.dial_succeeded(for_first.id, 7, now + LATER);
    assert!(matches!(core.leave(&first), Some(Handover::Connection(7))));
    let (orders, _) = core.dial_failed(for_second.id, &"starting", Failure::Waits, now + LATER);
    let [next] = orders.try_into().unwrap_or_else(|_| panic!("one attempt for the one waiter"));
    core.removed();
    assert!(core.dial_failed(next.id, &"refused", Failure::Refused, now + 2 * LATER).0.is_empty());
    let handover = core.leave(&second);
    assert!(
        matches!(handover, Some(Handover::Failed("refused"))),
        "it would wait until its deadline"
    );
}

#[test]
fn after_a_sign_of_an_outage_one_attempt_runs_before_the_others() {
    let now = Instant::now();
    let attempts_of_three = |outage: bool| {
        let core: Numbers = Core::new(Permits::new(8));
        for number in 0..4 {
            let order = core.refill(8, now + number * LATER).expect("an attempt is due");
            let _ = core.dial_succeeded(order.id, number, now + number * LATER);
        }
        while let Take::Idle(_) = core.take(|| now) {}
        if outage {
            core.forbid_extra_attempts();
        }
        (0..3).map(|_| join(&core, now).1.len()).sum::<usize>()
    };
    assert_eq!(attempts_of_three(false), 3, "the server answers");
    assert_eq!(attempts_of_three(true), 1);
}

/// A pool with one connection, which is in use.
fn one_in_use(now: Instant) -> Numbers {
    let core = Core::new(Permits::new(8));
    let order = core.refill(1, now).expect("an attempt is due");
    let _ = core.dial_succeeded(order.id, 1, now);
    assert!(matches!(core.take(|| now), Take::Idle(1)));
    core
}

#[test]
fn a_waiter_does_not_fail_with_an_attempt_while_a_connection_is_open() {
    let now = Instant::now();
    let core = one_in_use(now);
    let (ticket, orders) = join(&core, now);
    let [order] = orders.try_into().unwrap_or_else(|_| panic!("one attempt"));
    let _ = core.dial_failed(order.id, &"refused", Failure::Refused, now + LATER);
    assert_eq!(core.counts().waiting, 1);
    assert_eq!(core.last_failure().map(|(error, _)| error), Some("refused"));
    assert!(core.check_in(1, || now + LATER).is_none());
    assert!(matches!(core.leave(&ticket), Some(Handover::Connection(1))), "it was waited for");
}

#[test]
fn a_stalled_attempt_leaves_a_waiter_unserved_and_another_follows_ever_more_slowly() {
    let (now, core) = (Instant::now(), Numbers::new(Permits::new(8)));
    let (_ticket, first) = join(&core, now);
    let mut dials = first;
    let mut begun = Vec::new();
    for millis in (0..5_000).step_by(100) {
        let orders = core.plan(now + Duration::from_millis(millis));
        begun.extend(orders.iter().map(|_| millis));
        dials.extend(orders);
    }
    assert_eq!(begun, [500, 1_500, 3_000]);
}

#[test]
fn an_attempt_that_failed_after_a_later_one_succeeded_is_no_outage() {
    let now = Instant::now();
    let (core, [first, _second], [hung, other]) = two_waiting(now);
    let _ = core.dial_succeeded(other.id, 7, now + 2 * LATER);
    assert!(matches!(core.leave(&first), Some(Handover::Connection(7))));
    let _ = core.dial_failed(hung.id, &"timed out", Failure::Fails, now + 3 * LATER);
    assert_eq!(core.last_failure(), None);
    assert_eq!(core.counts().waiting, 1, "its waiter waits for the next attempt");
}

#[test]
fn after_a_new_connection_was_lost_attempts_are_spaced_until_one_has_served() {
    let now = Instant::now();
    let core = one_in_use(now);
    core.removed();
    core.new_connection_lost(now);
    let (_ticket, orders) = join(&core, now);
    assert!(orders.is_empty(), "the server may refuse the next one as well");
    assert_eq!(core.plan(now + Duration::from_millis(100)).len(), 1);
    let core = one_in_use(now);
    core.new_connection_lost(now);
    core.new_connection_served();
    assert_eq!(join(&core, now).1.len(), 1, "the server serves callers");
}

#[test]
fn a_check_of_idle_connections_leaves_half_of_them_for_callers() {
    let now = Instant::now();
    let core = Numbers::new(Permits::new(8));
    for number in 0..8 {
        let order = core.refill(8, now + number * LATER).expect("an attempt is due");
        let _ = core.dial_succeeded(order.id, number, now + number * LATER);
    }
    assert_eq!(core.borrow_idle(0, 16).len(), 4);
    assert!(matches!(core.take(|| now), Take::Idle(7)));
}

/// An error whose destructor looks at the pool that reports it.
#[derive(Clone)]
struct Looks(std::sync::Arc<Core<u32, Looks>>);

/// How many of those errors were dropped, and looked without waiting for the lock.
static LOOKED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

impl Drop for Looks {
    fn drop(&mut self) {
        let core = std::sync::Arc::clone(&self.0);
        let (report, looked) = std::sync::mpsc::channel();
        std::thread::spawn(move || report.send(core.counts()));
        if looked.recv_timeout(Duration::from_secs(2)).is_ok() {
            LOOKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

#[test]
fn no_error_is_dropped_under_the_lock() {
    let now = Instant::now();
    let core: std::sync::Arc<Core<u32, Looks>> = std::sync::Arc::new(Core::new(Permits::new(8)));
    let error = || Looks(std::sync::Arc::clone(&core));
    let attempt = |later: u32| core.refill(1, now + later * LATER).expect("an attempt is due");
    for later in 0..2 {
        let order = attempt(later);
        drop(core.dial_failed(order.id, &error(), Failure::Fails, now + later * LATER));
    }
    let order = attempt(2);
    drop(core.dial_succeeded(order.id, 7, now + 2 * LATER));
    let dropped = LOOKED.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(dropped, 4, "two errors and the two that the core kept of them");
}

/// Returns the milliseconds at which attempts begin in this time, if each fails like this and
/// callers ask all the time.
fn attempts_while(failure: Failure, seconds: u64) -> Vec<u64> {
    let (start, core) = (Instant::now(), Numbers::new(Permits::new(8)));
    let mut begun = Vec::new();
    for millis in 0..seconds * 1_000 {
        let now = start + Duration::from_millis(millis);
        if let Some(order) = core.refill(1, now) {
            begun.push(millis);
            drop(core.dial_failed(order.id, &"down", failure, now));
        }
    }
    begun
}

#[test]
fn attempts_follow_each_other_closely_during_a_restart_and_slowly_in_a_long_outage() {
    let gaps = |begun: &[u64]| begun.windows(2).map(|two| two[1] - two[0]).collect::<Vec<_>>();
    for (failure, gap, close) in [(Failure::Refused, 30, 100), (Failure::Starting, 40, 10)] {
        let gaps = gaps(&attempts_while(failure, 60));
        assert_eq!(gaps[..close], vec![gap; close], "{failure:?}");
        assert!(gaps[close..].iter().all(|gap| *gap == 100), "{failure:?}: {gaps:?}");
    }
    for failure in [Failure::Waits, Failure::Fails] {
        let gaps = gaps(&attempts_while(failure, 10));
        assert!(gaps.iter().all(|gap| *gap == 100), "{failure:?}: {gaps:?}");
    }
}

#[test]
fn each_outage_begins_with_close_attempts() {
    let (start, core) = (Instant::now(), Numbers::new(Permits::new(8)));
    let at = |millis| start + Duration::from_millis(millis);
    let attempt = |millis| core.refill(2, at(millis)).expect("an attempt is due");
    for index in 0..110 {
        drop(core.dial_failed(attempt(index * 100).id, &"down", Failure::Refused, at(index * 100)));
    }
    assert!(core.refill(2, at(10_900 + 99)).is_none(), "the close attempts are used up");
    let _ = core.dial_succeeded(attempt(11_000).id, 7, at(11_000));
    drop(core.dial_failed(attempt(12_000).id, &"down", Failure::Refused, at(12_000)));
    assert!(core.refill(2, at(12_029)).is_none());
    drop(attempt(12_030));
}
