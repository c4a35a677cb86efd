//! What a person on call reads: the end of an outage, of a burst, and of a wait.

use crate::common::books::books;
use crate::common::fake::{Act, At, Conn, Transport};
use crate::common::recorder::{Recorded, Recorder};
use crate::common::{idle, pool, until};
use poolwarden::{ErrorKind, FaultClass, Pool, RetryPolicy};
use std::thread;
use std::time::Duration;
use support::logs;

const MS: Duration = Duration::from_millis(1);

/// Returns the messages at this level of the pool with this name.
fn lines(log: &logs::Mark, pool: &str, level: log::Level) -> Vec<String> {
    let records = log.records_of("pool", pool).into_iter();
    records.filter(|line| line.level == level).map(|line| line.message).collect()
}

#[test]
fn the_end_of_an_outage_is_one_line_with_its_length_its_attempts_and_its_losses() {
    let log = logs::mark();
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4).name("an outage"));
    for number in idle(&pool, 4) {
        script.server().close(number);
    }
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    for _ in 0..3 {
        pool.get().expect_err("the server is down");
        thread::sleep(120 * MS);
    }
    assert!(lines(&log, "an outage", log::Level::Info).is_empty(), "it has not ended");
    script.clear();
    drop(pool.get().expect("the server is back"));
    let failed = pool.snapshot().connect_failures;
    let ends = lines(&log, "an outage", log::Level::Info);
    assert_eq!(ends.len(), 1, "{ends:?}");
    let begin = "pool an outage: the server accepts connections again after ";
    let end = format!(" ({failed} attempts failed, 4 connections lost)");
    assert!(ends[0].starts_with(begin) && ends[0].ends_with(&end), "{ends:?}");
    let idle = |pool: &Pool<_>| drop((pool.get(), pool.get()));
    idle(&pool);
    assert_eq!(lines(&log, "an outage", log::Level::Info).len(), 1, "only once");
    books(&pool);
}

#[test]
fn a_burst_ends_by_time_with_the_number_of_events_that_were_not_logged() {
    let log = logs::mark();
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(6).name("a long burst"));
    // At their check-ins, where each is one event: the sweep counts those that it finds together.
    let mut held: Vec<_> = (0..6).map(|_| pool.get().expect("it opens")).collect();
    held.iter_mut().for_each(|conn| conn.broken = true);
    drop(held);
    let last = || lines(&log, "a long burst", log::Level::Warn).last().cloned();
    let text =
        "pool a long burst: 5 more connections lost: reported as unusable by the driver (within ";
    until!(&pool, last().is_some_and(|line| line.starts_with(text)));
    books(&pool);
}

#[test]
fn a_burst_in_a_pool_that_maintains_nothing_any_more_ends_as_well() {
    let log = logs::mark();
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(4).name("a late burst"));
    let mut held: Vec<_> = (0..4).map(|_| pool.get().expect("it opens")).collect();
    held.iter_mut().for_each(|conn| conn.broken = true);
    pool.close(Duration::ZERO);
    // It has looked at the closed pool, and has no reason to look again.
    thread::sleep(1_500 * MS);
    drop(held);
    let last = || lines(&log, "a late burst", log::Level::Warn).last().cloned();
    let text =
        "pool a late burst: 3 more connections lost: reported as unusable by the driver (within ";
    until!(&pool, last().is_some_and(|line| line.starts_with(text)));
}

#[test]
fn check_outs_that_time_out_are_one_line_with_the_holders() {
    let log = logs::mark();
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).name("a shortage"));
    let held = pool.get().expect("it opens");
    for _ in 0..3 {
        pool.get_timeout(10 * MS).expect_err("it is in use");
    }
    let timeouts = lines(&log, "a shortage", log::Level::Warn);
    assert_eq!(timeouts.len(), 1, "{timeouts:?}");
    assert!(timeouts[0].contains("no connection within 10 ms"), "{timeouts:?}");
    assert!(timeouts[0].contains("held: connection"), "{timeouts:?}");
    until!(&pool, lines(&log, "a shortage", log::Level::Warn).len() == 2);
    let ended = lines(&log, "a shortage", log::Level::Warn).remove(1);
    assert!(ended.starts_with("pool a shortage: 2 more check-outs timed out"), "{ended}");
    drop(held);
    books(&pool);
}

#[test]
fn a_connection_that_is_closed_at_check_in_was_not_idle() {
    let recorder = Recorder::default();
    let observer = recorder.clone();
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).observer(observer));
    let mut held = pool.get().expect("it opens");
    held.broken = true;
    thread::sleep(20 * MS);
    drop(held);
    let idle = |event| match event {
        Recorded::Closed { idle, .. } => Some(idle),
        _ => None,
    };
    until!(&pool, pool.snapshot().closed() == 1);
    let times: Vec<_> = recorder.events().into_iter().filter_map(idle).collect();
    assert_eq!(times, [Duration::ZERO]);
    books(&pool);
}

#[test]
fn no_foreign_text_begins_a_line_in_a_log_or_an_error() {
    let log = logs::mark();
    let init = |_: &mut Conn| Err("no\nschema \u{1b}[2J\u{2028}".into());
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(1).name("foreign text").init(init));
    let error = pool.get().expect_err("the hook fails");
    let timeout = pool.get_timeout(Duration::ZERO).expect_err("the hook fails");
    let full = error.connect_error().expect("a connect error");
    let texts = [
        error.to_string(),
        format!("{error:?}"),
        full.to_string(),
        format!("{full:?}"),
        timeout.to_string(),
        lines(&log, "foreign text", log::Level::Warn).concat(),
    ];
    for text in texts {
        let is_control = |c: char| c.is_control() || c == '\u{2028}';
        assert!(!text.contains(is_control), "{text:?}");
    }
    assert_eq!(script.calls(At::Connect), 1);
}

#[test]
fn a_pool_name_with_a_control_character_is_refused() {
    for name in ["a\nb", "a\u{1b}[2Jb", "a\0", "a\u{2028}b"] {
        let builder = Pool::builder().name(name);
        let error = builder.build_lazy(crate::common::fake::Fake::new(Transport::Tcp).0);
        let error = error.map(drop).expect_err("it would forge log lines");
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains(": name \"a") && !text.contains(char::is_control), "{text}");
    }
}

#[test]
fn a_timeout_is_shown_as_the_user_gave_it() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let policy = RetryPolicy::none().within(60 * MS);
    let error = pool.run(policy, |_, _| Ok(())).expect_err("it is in use");
    assert!(error.to_string().contains("no connection within 60 ms"), "{error}");
    drop(held);
    books(&pool);
}
