//! The options: which values are refused when a pool is built, and the error texts.

use crate::common::books::books;
use crate::common::fake::{At, Fake, Transport};
use crate::common::pool;
use poolwarden::{Builder, ErrorKind, Pool, PoolOptions};
use std::time::Duration;

/// Returns the text of the error of `build` and `manager` with these options.
fn config_error(configure: impl Fn(Builder<Fake>) -> Builder<Fake>) -> String {
    let (driver, script) = Fake::new(Transport::InProcess);
    let error = configure(Pool::builder()).build(driver).expect_err("the options are invalid");
    assert_eq!((error.kind(), script.calls(At::Connect)), (ErrorKind::Config, 0));
    let (driver, _) = Fake::new(Transport::InProcess);
    let same = configure(Pool::builder()).manager(driver).expect_err("invalid for a manager too");
    assert_eq!(same.to_string(), error.to_string());
    let text = error.to_string();
    text.strip_prefix("pool fake:1: ").expect("the pool's name").to_owned()
}

#[test]
fn a_max_size_of_zero_is_rejected() {
    assert!(
        config_error(|options| options.max_size(0))
            .starts_with("max_size must be at least 1, not 0")
    );
}

#[test]
fn a_min_idle_above_max_size_is_refused_naming_both_options() {
    let text = config_error(|options| options.max_size(5).min_idle(8));
    assert_eq!(text, "min_idle 8 exceeds max_size 5");
}

#[test]
fn an_option_out_of_range_is_rejected_with_its_value() {
    let (zero, too_long) = (Duration::ZERO, Duration::from_secs(400 * 24 * 3600));
    let errors = [
        ("checkout_timeout 0ns", config_error(|options| options.checkout_timeout(zero))),
        ("connect_timeout 0ns", config_error(|options| options.connect_timeout(zero))),
        ("max_lifetime 34560000s", config_error(|options| options.max_lifetime(too_long))),
        ("idle_timeout 0ns", config_error(|options| options.idle_timeout(zero))),
        ("ping_timeout 0ns", config_error(|options| options.ping_timeout(zero))),
        ("close_grace 34560000s", config_error(|options| options.close_grace(too_long))),
        ("lifetime_jitter 1", config_error(|options| options.lifetime_jitter(1.0))),
        ("lifetime_jitter -0.1", config_error(|options| options.lifetime_jitter(-0.1))),
        ("row_limit must be at least 1, not 0", config_error(|options| options.row_limit(0))),
        ("max_waiting must be at least 1, not 0", config_error(|options| options.max_waiting(0))),
    ];
    for (beginning, text) in errors {
        assert!(text.starts_with(beginning), "{text}");
    }
}

#[test]
fn timeouts_that_contradict_each_other_are_rejected() {
    let text = config_error(|options| options.ping_timeout(Duration::from_secs(60)));
    assert!(text.contains("ping_timeout 60s exceeds checkout_timeout 30s"), "{text}");
    let (idle, life) = (Duration::from_secs(50), Duration::from_secs(40));
    let text = config_error(|options| options.idle_timeout(idle).max_lifetime(life));
    assert!(text.contains("idle_timeout 50s exceeds max_lifetime 40s"), "{text}");
}

#[test]
fn every_optional_limit_can_be_switched_off() {
    let (pool, _) = pool(Transport::Tcp, |options| {
        let options = options.max_lifetime(None).idle_timeout(None).ping_after(None);
        options.row_limit(None).max_waiting(None)
    });
    drop(pool.get().expect("it opens"));
    books(&pool);
}

#[test]
fn a_pool_has_the_name_it_was_given_or_its_drivers_label() {
    let (named, _) = pool(Transport::Tcp, |options| options.name("orders"));
    let (unnamed, _) = pool(Transport::Tcp, |options| options);
    assert_eq!((named.name(), unnamed.name()), ("orders", "fake:1"));
    assert_eq!(named.snapshot().name, "orders");
}

#[test]
fn an_option_that_is_not_set_has_its_documented_default() {
    let (driver, _) = Fake::new(Transport::Tcp);
    let pool = Pool::builder().build_lazy(driver).expect("the defaults agree");
    assert_eq!(pool.snapshot().levels.max_size, poolwarden::config::DEFAULT_MAX_SIZE);
    books(&pool);
}

/// Returns the documentation of each method of the builder, with its name.
fn documented_methods() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/pool");
    for entry in std::fs::read_dir(folder).expect("the crate's source").flatten() {
        if !entry.file_name().to_string_lossy().starts_with("builder") {
            continue;
        }
        let mut doc = String::new();
        for line in std::fs::read_to_string(entry.path()).expect("source is text").lines() {
            let line = line.trim();
            if let Some(text) = line.strip_prefix("///") {
                doc += text;
            } else if let Some(name) = line.strip_prefix("pub fn ") {
                let name = name.split(['(', '<']).next().unwrap_or_default();
                found.push((name.to_owned(), std::mem::take(&mut doc)));
            } else if !line.starts_with("#[") {
                doc.clear();
            }
        }
    }
    found
}

#[test]
fn each_option_has_a_method_of_its_name_that_says_its_default() {
    let methods = documented_methods();
    for name in PoolOptions::NAMES {
        let method = methods.iter().find(|(method, _)| method == name);
        let (_, doc) = method.unwrap_or_else(|| panic!("there is no method {name}"));
        assert!(doc.to_lowercase().contains("default"), "{name}: {doc}");
    }
}
