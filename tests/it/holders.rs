//! Who holds which connection, and for too long.

use crate::common::books::books;
use crate::common::fake::{Fake, Transport};
use crate::common::recorder::{Recorded, Recorder};
use crate::common::{idle, pool, until};
use poolwarden::driver::SessionState;
use poolwarden::observe::{ConnectionStatus, HolderThread};
use poolwarden::{Pool, PooledConnection, Validation};
use std::thread;
use std::time::Duration;
use support::logs;

const MS: Duration = Duration::from_millis(1);

#[test]
fn every_open_connection_is_listed_with_what_it_is_doing() {
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(4).max_lifetime(Duration::from_secs(600)).lifetime_jitter(0.0)
    });
    assert!(pool.connections().is_empty());
    idle(&pool, 2);
    let line = line!() + 1;
    let held = pool.get().expect("it is idle");
    thread::sleep(20 * MS);
    let all = pool.connections();
    assert_eq!(all.len(), 2);
    assert!(all[0].age >= all[1].age, "the oldest first");
    for info in &all {
        let left = info.retires_in.expect("there is a lifetime");
        assert!(info.age >= 20 * MS && left + info.age <= Duration::from_secs(600), "{info}");
        match &info.status {
            ConnectionStatus::Idle { since } => assert!(since.expect("it rests") >= 20 * MS),
            ConnectionStatus::InUse { since, site, thread } => {
                assert_eq!(info.id, PooledConnection::id(&held));
                assert!(*since >= 20 * MS && *since <= info.age);
                let site = site.expect("a call site");
                assert_eq!((site.file(), site.line()), (file!(), line));
                let name = thread::current().name().map(str::to_owned);
                assert_eq!(*thread, HolderThread::Running { name });
            }
            other => panic!("{other:?}"),
        }
    }
    drop(held);
    let idles = |info: &poolwarden::observe::ConnectionInfo| {
        matches!(info.status, ConnectionStatus::Idle { since: Some(_) })
    };
    until!(pool, pool.connections().iter().all(idles));
    books(&pool);
}

#[test]
fn of_each_connection_it_is_known_how_often_it_was_used_peeked_at_pinged_and_reset() {
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(1).validation(Validation::AlwaysPing).ping_timeout(20_000 * MS)
    });
    let counts = || {
        let info = pool.connections().remove(0);
        (info.checkouts, info.pings, info.resets)
    };
    let mut first = pool.get().expect("it opens");
    assert_eq!(counts(), (1, 0, 0));
    first.left = SessionState::Dirty;
    drop(first);
    assert_eq!(counts(), (1, 0, 1));
    let peeks = pool.connections()[0].peeks;
    thread::sleep(1_100 * MS);
    let second = pool.get().expect("it answers");
    assert_eq!(counts(), (2, 1, 1));
    assert!(pool.connections()[0].peeks > peeks, "at the check-out at least");
    assert_eq!(pool.connections()[0].peeks, pool.snapshot().peeks);
    assert_eq!(pool.connections()[0].server_process, None, "this driver does not tell");
    drop(second);
    books(&pool);
}

#[test]
fn a_connection_that_is_held_too_long_is_logged_while_it_is_held_and_when_it_comes_back() {
    let (log, recorder) = (logs::mark(), Recorder::default());
    let (pool, _) = pool(Transport::Tcp, |options| {
        let options = options.max_size(2).name("held").observer(recorder.clone());
        options.held_warning(50 * MS)
    });
    let line = line!() + 1;
    let held = pool.get().expect("it opens");
    let id = PooledConnection::id(&held);
    let texts = || -> Vec<String> {
        log.records_of("pool", "held")
            .into_iter()
            .filter(|record| record.level == log::Level::Warn)
            .map(|record| record.message)
            .collect()
    };
    until!(pool, !texts().is_empty());
    thread::sleep(1200 * MS);
    let logged = texts();
    assert_eq!(logged.len(), 1, "once for each check-out: {logged:?}");
    let begin = format!("pool held: connection {id} has been in use for ");
    assert!(logged[0].starts_with(&begin), "{logged:?}");
    assert!(logged[0].contains(&format!(" from {}:{line} by thread ", file!())), "{logged:?}");
    assert!(logged[0].ends_with("(held_warning 50 ms)"), "{logged:?}");
    drop(held);
    until!(pool, texts().len() == 2);
    let returned = texts().pop().expect("a line");
    assert!(returned.starts_with(&format!("pool held: connection {id} was returned after ")));
    assert!(returned.ends_with(&format!("it had been checked out at {}:{line}", file!())));
    let reported = |event: &Recorded| match event {
        Recorded::HeldTooLong { connection, .. } => *connection == id,
        Recorded::ReturnedLate { connection, held } => *connection == id && *held >= 50 * MS,
        _ => false,
    };
    assert_eq!(recorder.events().iter().filter(|event| reported(event)).count(), 2);
    drop(pool.get().expect("it is idle"));
    assert_eq!(texts().len(), 2, "this one was short");
    books(&pool);
}

#[inline(never)]
fn checked_out_for_a_report(pool: &Pool<Fake>) -> PooledConnection<Fake> {
    pool.get().expect("it opens")
}

#[test]
fn one_in_so_many_check_outs_records_the_calls_for_the_warning() {
    let log = logs::mark();
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(1).name("called").held_warning(50 * MS).held_backtrace(2)
    });
    let texts = || -> Vec<String> {
        let records = log.records_of("pool", "called").into_iter();
        let texts = records.map(|record| record.message);
        texts.filter(|text| text.contains("(held_warning 50 ms)")).collect()
    };
    for number in 0..3 {
        let held = checked_out_for_a_report(&pool);
        until!(pool, texts().len() == number + 1);
        drop(held);
    }
    let texts = texts();
    for number in [0, 2] {
        let (_, calls) = texts[number]
            .split_once("(held_warning 50 ms), checked out by ")
            .unwrap_or_else(|| panic!("no calls: {texts:?}"));
        assert!(calls.contains("holders::checked_out_for_a_report"), "{calls}");
        assert!(!calls.contains("poolwarden::"), "{calls}");
    }
    assert!(texts[1].ends_with("(held_warning 50 ms)"), "{texts:?}");
}

#[test]
fn recording_calls_needs_a_warning_to_write_them_in() {
    let (driver, _) = Fake::new(Transport::Tcp);
    let error = Pool::builder().held_backtrace(100).build(driver).expect_err("it has no effect");
    let text = "held_backtrace 100 has no effect without held_warning; set that too";
    assert!(error.to_string().ends_with(text), "{error}");
}

#[test]
fn of_a_connection_whose_thread_has_ended_the_warning_says_so() {
    let recorder = Recorder::default();
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(1).observer(recorder.clone()).held_warning(MS)
    });
    let held = thread::scope(|scope| {
        scope.spawn(|| pool.get().expect("it opens")).join().expect("no panic")
    });
    let ended = |event: &Recorded| match event {
        Recorded::HeldTooLong { status, .. } => status.ends_with("by a thread that has ended"),
        _ => false,
    };
    until!(pool, recorder.events().iter().any(ended));
    PooledConnection::discard(held);
    let late = |event: &Recorded| matches!(event, Recorded::ReturnedLate { .. });
    assert!(recorder.events().iter().any(late), "a discarded one has come back as well");
    books(&pool);
}
