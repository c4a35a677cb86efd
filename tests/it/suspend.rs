//! A suspended pool hands out nothing, and its callers wait.

use crate::common::books::books;
use crate::common::fake::Transport;
use crate::common::{LONG_TIMEOUT, idle, pool, start_checkout, until, until_waiting};
use poolwarden::{ErrorKind, Health};
use std::time::Duration;
use support::logs;

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn callers_of_a_suspended_pool_wait_until_it_is_resumed() {
    let log = logs::mark();
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(3).name("suspended"));
    idle(&pool, 1);
    let held = pool.get().expect("it is idle");
    pool.suspend();
    drop(held);
    assert!(pool.try_get().is_none());
    let callers: Vec<_> = (0..3).map(|_| start_checkout(&pool, LONG_TIMEOUT)).collect();
    until_waiting(&pool, 3);
    let now = pool.snapshot();
    assert_eq!((now.levels.idle, now.levels.in_use, now.opened), (1, 0, 1), "{now}");
    assert_eq!(pool.health(LONG_TIMEOUT), Health::Suspended);
    pool.resume();
    callers.into_iter().for_each(|caller| drop(caller.connection()));
    assert!(pool.health(LONG_TIMEOUT).is_ready());
    let lines = log.records_of("pool", "suspended");
    let has = |text: &str| lines.iter().any(|line| line.message.starts_with(text));
    assert!(has("pool suspended: suspended: it hands out") && has("pool suspended: resumed"));
    books(&pool);
}

#[test]
fn a_caller_of_a_suspended_pool_waits_no_longer_than_its_timeout() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_waiting(1));
    pool.suspend();
    let error = pool.get_timeout(SHORT).expect_err("it is suspended");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    assert!(error.to_string().contains("the pool is suspended"), "{error}");
    assert!(error.waited().expect("it waited") >= SHORT);
    let waiting = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    assert_eq!(pool.get().expect_err("one waits").kind(), ErrorKind::QueueFull);
    pool.resume();
    drop(waiting.connection());
    books(&pool);
}

#[test]
fn closing_a_suspended_pool_ends_the_waits() {
    let (pool, _) = pool(Transport::Tcp, |options| options);
    pool.suspend();
    let caller = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    pool.close(LONG_TIMEOUT);
    assert_eq!(caller.error().kind(), ErrorKind::Closed);
    until!(pool, !pool.is_suspended());
    pool.suspend();
    assert_eq!(pool.get_timeout(SHORT).expect_err("it is closed").kind(), ErrorKind::Closed);
}
