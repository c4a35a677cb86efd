//! The knobs: what is refused when a pool is built, and in which words.

use crate::common::books::books;
use crate::common::fake::{At, Fake, Wire};
use crate::common::pool;
use poolwarden::{Builder, ErrorKind, Pool};
use std::time::Duration;

/// What `build` and `manager` say to these knobs.
fn refusal(turn: impl Fn(Builder<Fake>) -> Builder<Fake>) -> String {
    let (driver, script) = Fake::new(Wire::InProcess);
    let error = turn(Pool::builder()).build(driver).expect_err("the knobs make no sense");
    assert_eq!((error.kind(), script.calls(At::Connect)), (ErrorKind::Config, 0));
    let (driver, _) = Fake::new(Wire::InProcess);
    let same = turn(Pool::builder()).manager(driver).expect_err("nor for a manager");
    assert_eq!(same.to_string(), error.to_string());
    error.to_string()
}

#[test]
fn a_pool_of_nothing_is_refused() {
    assert!(refusal(|knobs| knobs.max_size(0)).starts_with("max_size is 0"));
}

#[test]
fn more_idle_connections_than_connections_are_refused_naming_both_knobs() {
    let text = refusal(|knobs| knobs.max_size(5).min_idle(8));
    assert_eq!(text, "min_idle 8 exceeds max_size 5");
}

#[test]
fn a_knob_out_of_range_is_refused_with_its_value() {
    let (never, ages) = (Duration::ZERO, Duration::from_secs(400 * 24 * 3600));
    let refusals = [
        ("checkout_timeout 0ns", refusal(|knobs| knobs.checkout_timeout(never))),
        ("connect_timeout 0ns", refusal(|knobs| knobs.connect_timeout(never))),
        ("max_lifetime 34560000s", refusal(|knobs| knobs.max_lifetime(ages))),
        ("idle_timeout 0ns", refusal(|knobs| knobs.idle_timeout(never))),
        ("ping_timeout 0ns", refusal(|knobs| knobs.ping_timeout(never))),
        ("close_grace 34560000s", refusal(|knobs| knobs.close_grace(ages))),
        ("lifetime_jitter 1", refusal(|knobs| knobs.lifetime_jitter(1.0))),
        ("lifetime_jitter -0.1", refusal(|knobs| knobs.lifetime_jitter(-0.1))),
        ("row_limit is 0", refusal(|knobs| knobs.row_limit(0))),
        ("max_waiting is 0", refusal(|knobs| knobs.max_waiting(0))),
    ];
    for (beginning, text) in refusals {
        assert!(text.starts_with(beginning), "{text}");
    }
}

#[test]
fn time_outs_that_contradict_one_another_are_refused() {
    let text = refusal(|knobs| knobs.ping_timeout(Duration::from_secs(60)));
    assert!(text.contains("ping_timeout 60s exceeds checkout_timeout 30s"), "{text}");
    let (idle, life) = (Duration::from_secs(50), Duration::from_secs(40));
    let text = refusal(|knobs| knobs.idle_timeout(idle).max_lifetime(life));
    assert!(text.contains("idle_timeout 50s exceeds max_lifetime 40s"), "{text}");
}

#[test]
fn every_limit_that_may_be_off_can_be_switched_off() {
    let (pool, _) = pool(Wire::Tcp, |knobs| {
        let knobs = knobs.max_lifetime(None).idle_timeout(None).ping_after(None);
        knobs.row_limit(None).max_waiting(None)
    });
    drop(pool.get().expect("it opens"));
    books(&pool);
}

#[test]
fn a_pool_is_called_what_it_was_named_or_what_its_driver_says() {
    let (named, _) = pool(Wire::Tcp, |knobs| knobs.name("orders"));
    let (unnamed, _) = pool(Wire::Tcp, |knobs| knobs);
    assert_eq!((named.name(), unnamed.name()), ("orders", "fake:1"));
    assert_eq!(named.snapshot().name, "orders");
}

#[test]
fn what_is_not_set_has_its_documented_default() {
    let (driver, _) = Fake::new(Wire::Tcp);
    let pool = Pool::builder().build_lazy(driver).expect("the defaults agree");
    assert_eq!(pool.snapshot().max_size, poolwarden::config::DEFAULT_MAX_SIZE);
    books(&pool);
}
