//! The events of check-outs, outages and limits, and the times of a snapshot.

use crate::common::books::books;
use crate::common::fake::{Act, At, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, start_checkout, until};
use poolwarden::driver::SessionState;
use poolwarden::observe::{CheckedIn, CheckedOut, Closed, LimitChanged, OutageEnded};
use poolwarden::{ConnectError, FaultClass, Observer, PooledConnection, Snapshot};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use support::logs;

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Out { connection: u64, waited: Duration, line: u32 },
    In { connection: u64, used: Duration },
    Slow { waited: Duration },
    Began(FaultClass),
    Ended { lasted: Duration, failed: u64, lost: u64 },
    Limit(u32, u32),
    Dropped(u64),
    Closed(u64),
}

#[derive(Clone, Default)]
struct Events {
    list: Arc<Mutex<Vec<Event>>>,
    /// Each close waits for it.
    gate: Option<Gate>,
}

impl Events {
    fn add(&self, event: Event) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn all(&self) -> Vec<Event> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.all().iter().any(wanted)
    }
}

impl Observer for Events {
    fn checked_out(&self, event: &CheckedOut<'_>) {
        let (connection, waited, line) = (event.connection, event.waited, event.site.line());
        self.add(Event::Out { connection, waited, line });
    }

    fn checked_in(&self, event: &CheckedIn<'_>) {
        self.add(Event::In { connection: event.connection, used: event.used });
    }

    fn slow_checkout(&self, event: &CheckedOut<'_>) {
        self.add(Event::Slow { waited: event.waited });
    }

    fn outage_began(&self, _: &str, error: &ConnectError) {
        self.add(Event::Began(error.class()));
    }

    fn outage_ended(&self, event: &OutageEnded<'_>) {
        let (lasted, failed, lost) = (event.lasted, event.failed, event.lost);
        self.add(Event::Ended { lasted, failed, lost });
    }

    fn limit_changed(&self, event: &LimitChanged<'_>) {
        self.add(Event::Limit(event.before, event.max_size));
    }

    fn events_dropped(&self, _: &str, count: u64) {
        self.add(Event::Dropped(count));
    }

    fn closed(&self, event: &Closed<'_>) {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        self.add(Event::Closed(event.connection));
    }
}

#[test]
fn every_check_out_is_observed_and_so_is_its_end_whatever_ends_it() {
    let events = Events::default();
    let (pool, _) = pool(Transport::Tcp, |o| o.max_size(4).observer(events.clone()));
    let mut ids = Vec::new();
    let line = line!() + 2;
    for end in 0..4 {
        let mut conn = pool.get().expect("it opens");
        ids.push(PooledConnection::id(&conn));
        thread::sleep(2 * MS);
        match end {
            0 => drop(conn),
            1 => conn.left = SessionState::Dirty,
            2 => conn.broken = true,
            _ => drop(PooledConnection::detach(conn)),
        }
    }
    let id = ids[0];
    assert_eq!(ids[..3], [id; 3], "one connection is used again until it breaks");
    until!(pool, events.all().iter().filter(|e| matches!(e, Event::In { .. })).count() == 4);
    let all = events.all();
    assert!(all.iter().all(|event| match event {
        Event::Out { line: at, .. } => *at == line,
        Event::In { used, .. } => *used >= 2 * MS,
        _ => true,
    }));
    let of = |wanted: u64| {
        let is_wanted = |event: &&Event| match event {
            Event::Out { connection, .. } | Event::In { connection, .. } => *connection == wanted,
            Event::Closed(connection) => *connection == wanted,
            _ => false,
        };
        let letter = |event: &Event| match event {
            Event::Out { .. } => 'o',
            Event::In { .. } => 'i',
            _ => 'c',
        };
        all.iter().filter(is_wanted).map(letter).collect::<String>()
    };
    assert_eq!((of(id).as_str(), of(ids[3]).as_str()), ("oioioic", "oic"), "{all:?}");
    books(&pool);
}

#[test]
fn a_check_out_that_finds_an_idle_connection_has_not_waited() {
    let events = Events::default();
    let (pool, _) = pool(Transport::Tcp, |o| o.max_size(1).observer(events.clone()));
    idle(&pool, 1);
    drop(pool.get().expect("it is idle"));
    let waits = |event: Event| match event {
        Event::Out { waited, .. } => Some(waited),
        _ => None,
    };
    let waits: Vec<_> = events.all().into_iter().filter_map(waits).collect();
    assert!(waits[0] > Duration::ZERO && waits[1] == Duration::ZERO, "{waits:?}");
    books(&pool);
}

#[test]
fn a_slow_check_out_is_logged_with_its_place_and_observed() {
    let (events, log) = (Events::default(), logs::mark());
    let (pool, _) = pool(Transport::Tcp, |options| {
        let options = options.max_size(1).name("a slow check-out").observer(events.clone());
        options.slow_checkout(300 * MS).min_idle(1)
    });
    // Opening one may be slow, too.
    until!(pool, pool.snapshot().levels.idle == 1);
    let held = pool.get().expect("it is idle");
    let caller = start_checkout(&pool, LONG_TIMEOUT);
    until!(pool, pool.snapshot().levels.waiting == 1);
    thread::sleep(320 * MS);
    drop(held);
    let conn = caller.connection();
    let is_slow = |event: &Event| matches!(event, Event::Slow { waited } if *waited >= 320 * MS);
    assert!(events.has(is_slow), "{:?}", events.all());
    let line = log.records_of("pool", "a slow check-out").pop().expect("a line");
    let begin = format!(
        "pool a slow check-out: the check-out of connection {} at ",
        PooledConnection::id(&conn)
    );
    assert!(line.message.starts_with(&begin), "{line:?}");
    assert!(line.message.contains("mod.rs:"), "{line:?}");
    assert!(line.message.contains("(slow_checkout 300 ms)"), "{line:?}");
    assert!(pool.snapshot().slow_checkouts >= 1);
    drop(conn);
    books(&pool);
}

#[test]
fn an_outage_is_observed_once_when_it_begins_and_once_when_it_ends() {
    let events = Events::default();
    let (pool, script) = pool(Transport::Tcp, |o| o.max_size(2).observer(events.clone()));
    for number in idle(&pool, 2) {
        script.server().close(number);
    }
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    pool.get().expect_err("the server is down");
    thread::sleep(120 * MS);
    pool.get().expect_err("the server is down");
    let began = |event: &&Event| matches!(event, Event::Began(FaultClass::Refused));
    assert_eq!(events.all().iter().filter(began).count(), 1, "{:?}", events.all());
    assert_eq!(pool.snapshot().outages, 1);
    script.clear();
    until!(pool, pool.get().is_ok());
    let ended = events.all().into_iter().find_map(|event| match event {
        Event::Ended { lasted, failed, lost } => Some((lasted, failed, lost)),
        _ => None,
    });
    let (lasted, failed, lost) = ended.expect("it has ended");
    assert!(lasted >= 120 * MS && failed >= 2 && lost == 2, "{lasted:?} {failed} {lost}");
    assert_eq!(events.all().iter().filter(began).count(), 1);
    assert_eq!(pool.snapshot().outages, 1);
    books(&pool);
}

#[test]
fn a_changed_limit_is_observed() {
    let events = Events::default();
    let (pool, _) = pool(Transport::Tcp, |o| o.max_size(3).observer(events.clone()));
    pool.set_max_size(3).expect("a size");
    assert_eq!(events.all(), []);
    pool.set_max_size(5).expect("a size");
    assert_eq!(events.all(), [Event::Limit(3, 5)]);
    books(&pool);
}

#[test]
fn an_observer_that_blocked_is_told_how_many_events_it_has_missed() {
    let gate = Gate::shut();
    let events = Events { gate: Some(gate.clone()), ..Events::default() };
    let (pool, _) = pool(Transport::Tcp, |o| o.max_size(2).observer(events.clone()));
    let conn = pool.get().expect("it opens");
    let closer = thread::spawn(move || PooledConnection::discard(conn));
    gate.wait_for_arrivals(1);
    until!(pool, {
        drop(pool.get().expect("it opens"));
        pool.snapshot().events_dropped >= 3
    });
    gate.open();
    closer.join().expect("no panic");
    drop(pool.get().expect("one is idle"));
    let told = |event: &Event| match event {
        Event::Dropped(count) => Some(*count),
        _ => None,
    };
    let told: u64 = events.all().iter().filter_map(told).sum();
    assert_eq!(told, pool.snapshot().events_dropped);
    books(&pool);
}

/// Every time is counted, and the sums are those of the events.
#[test]
fn a_snapshot_has_the_times_of_waits_uses_and_connects() {
    let events = Events::default();
    let (pool, script) = pool(Transport::Tcp, |o| o.max_size(1).observer(events.clone()));
    script.once(At::Connect, Act::Sleep(5 * MS));
    let first = pool.get().expect("it opens");
    let waiting = start_checkout(&pool, LONG_TIMEOUT);
    until!(pool, pool.snapshot().levels.waiting == 1);
    thread::sleep(12 * MS);
    drop(first);
    PooledConnection::discard(waiting.connection());
    (0..3).for_each(|_| drop(pool.get().expect("it opens")));
    let now = pool.snapshot();
    let (wait, usage, connect) = (&now.wait, &now.usage, &now.connect);
    assert_eq!((wait.count(), usage.count()), (now.checkouts, now.checkouts));
    assert_eq!((now.checkouts, connect.count()), (5, now.opened));
    let no_longer = |bound: Duration| {
        move |snapshot: &Snapshot| {
            let mut buckets = snapshot.usage.buckets();
            buckets.find(|(at, _)| *at == Some(bound)).expect("a bucket").1
        }
    };
    assert!(no_longer(10 * MS)(&now) < 5, "the first was held for longer");
    assert!(connect.sum() >= 5 * MS && wait.sum() >= 12 * MS + 5 * MS, "{now:?}");
    let (mut waited, mut used) = (Duration::ZERO, Duration::ZERO);
    for event in events.all() {
        match event {
            Event::Out { waited: more, .. } => waited += more,
            Event::In { used: more, .. } => used += more,
            _ => {}
        }
    }
    assert_eq!((wait.sum(), usage.sum()), (waited, used));
    books(&pool);
    let now = pool.snapshot();
    assert_eq!(now.usage.count(), now.checkouts, "those that were closed are counted once");
}
