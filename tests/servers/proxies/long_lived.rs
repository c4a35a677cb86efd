//! A proxy that closes every connection at a certain age, under steady load.
//!
//! The guarantee: a connection that is closed while idle is never noticed by a caller,
//! and one that is closed during a caller's work is a real error of that
//! one caller. Only a lifetime below the proxy's keeps work and closing apart.

use super::{SOON, assert_all_places};
use crate::variant::{My, Ours, Pg, Subject, Variant, fill};
use poolwarden::{Builder, CloseReason, Pool};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::proxy::{Fault, Proxy};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// Stands for the 24 hours of real proxies.
const DAY: Duration = Duration::from_secs(2);
/// The number of closes that a test waits for.
const CLOSES: usize = 2 * SIZE as usize;
/// On a loaded computer a request may take seconds: there the day is longer.
const LIFETIME: Duration = Duration::from_millis(900);
const LONG_DAY: Duration = Duration::from_secs(4);
const RUN: Duration = Duration::from_millis(4_500);
const TIME_LIMIT: Duration = Duration::from_secs(60);
const SIZE: u32 = 4;

/// The callers' work and errors.
struct Report {
    requests: usize,
    errors: Vec<String>,
    /// The number of connections that the proxy closed.
    closes: usize,
}

/// How the proxy closes a connection at its age limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClosePolicy {
    /// It waits until no request is running, as a proxy that parses the protocol does.
    BetweenRequests,
    /// It closes immediately.
    Immediate,
}

/// More threads than connections work all the time, while the proxy closes connections.
fn days<F: Variant>(ours: &Ours<F>, proxy: impl FnOnce(&RwLock<()>) -> usize) -> Report {
    let (stop, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Held for reading by each request, and for writing by a close between requests.
    let between_requests = RwLock::new(());
    let work = || {
        let mut errors = Vec::new();
        while !stop.load(SeqCst) {
            let under_way = between_requests.read().expect("no panic");
            errors.extend(ours.work().err());
            drop(under_way);
            requests.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
        errors
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..SIZE + 2).map(|_| scope.spawn(work)).collect();
        let closes = proxy(&between_requests);
        stop.store(true, SeqCst);
        let errors = workers.into_iter().flat_map(|one| one.join().expect("no panic")).collect();
        Report { requests: requests.load(SeqCst), errors, closes }
    })
}

/// Closes each connection at its age limit, until the end.
fn close_by_age(
    proxy: &Proxy,
    (policy, day): (ClosePolicy, Duration),
    between_requests: &RwLock<()>,
    is_over: impl Fn(usize, Duration) -> bool,
) -> usize {
    let began = Instant::now();
    let (mut closes, mut next) = (0, 0);
    while !is_over(closes, began.elapsed()) {
        let born = proxy.accept_times();
        // They are accepted, and so reach their age limit, one after the other.
        while born.get(next).is_some_and(|born| born.elapsed() >= day) {
            let pause = (policy == ClosePolicy::BetweenRequests)
                .then(|| between_requests.write().expect("no panic"));
            closes += usize::from(proxy.apply_to(next, &Fault::Fin));
            drop(pause);
            next += 1;
        }
        thread::sleep(Duration::from_millis(2));
    }
    closes
}

/// Closes connections at the age limit, until enough were closed.
fn close_enough(proxy: &Proxy, policy: ClosePolicy, between_requests: &RwLock<()>) -> usize {
    close_by_age(proxy, (policy, DAY), between_requests, |closes, time| {
        closes >= CLOSES || time >= TIME_LIMIT
    })
}

fn pool<F: Variant>(
    variant: &F,
    options: impl FnOnce(Builder<F::Driver>) -> Builder<F::Driver>,
) -> Ours<F> {
    let ours: Ours<F> = Ours(
        options(Pool::builder().max_size(SIZE))
            .build(variant.driver())
            .expect("the server accepts"),
    );
    fill(&ours.0);
    ours
}

fn lifetime_below<F: Variant>(variant: &F, proxy: &Proxy) {
    let ours = pool(variant, |options| options.max_lifetime(LIFETIME));
    let report = days(&ours, |between_requests| {
        close_by_age(proxy, (ClosePolicy::Immediate, LONG_DAY), between_requests, |_, time| {
            time >= RUN
        })
    });
    let books = ours.0.snapshot();
    assert_eq!(report.errors, Vec::<String>::new(), "{books}");
    assert_eq!(report.closes, 0, "the proxy closed no connection: {books}");
    assert!(books.closed_by(CloseReason::MaxLifetime) >= u64::from(2 * SIZE), "{books}");
    assert!(report.requests > 50, "{}: {books}", report.requests);
    assert_all_places(&ours.0);
}

fn validation_alone<F: Variant>(variant: &F, proxy: &Proxy) {
    let ours = pool(variant, |options| options);
    let report = days(&ours, |between_requests| {
        close_enough(proxy, ClosePolicy::BetweenRequests, between_requests)
    });
    let books = ours.0.snapshot();
    assert_eq!(report.errors, Vec::<String>::new(), "{books}");
    assert!(report.closes >= CLOSES, "{}: {books}", report.closes);
    let found = || ours.0.snapshot().closed_by(CloseReason::ServerClosed) >= report.closes as u64;
    assert!(eventually(SOON, found), "{} closes: {books}", report.closes);
    assert_all_places(&ours.0);
}

fn closed_during_work<F: Variant>(variant: &F, proxy: &Proxy) {
    let ours = pool(variant, |options| options);
    let report = days(&ours, |between_requests| {
        close_enough(proxy, ClosePolicy::Immediate, between_requests)
    });
    let books = ours.0.snapshot();
    assert!(report.closes >= CLOSES, "{}: {books}", report.closes);
    assert!(report.errors.len() <= report.closes, "more errors than closes: {:?}", report.errors);
    assert_all_places(&ours.0);
}

/// Runs a body behind a proxy, on each installed server, all at the same time.
fn behind_a_proxy(pg: impl Fn(&Pg, &Proxy) + Sync, my: impl Fn(&My, &Proxy) + Sync) {
    thread::scope(|scope| {
        if pg::available() {
            scope.spawn(|| {
                let database = pg::shared().fresh_database();
                let proxy = Proxy::to_port(pg::shared().port());
                pg(&Pg::new(database.url_via(proxy.port())), &proxy);
            });
        }
        if mariadb::available() {
            scope.spawn(|| {
                let database = mariadb::shared().fresh_database();
                let proxy = Proxy::to_port(mariadb::shared().port());
                my(&My::new(database.url_via(proxy.port())), &proxy);
            });
        }
    });
}

#[test]
fn with_a_lifetime_below_the_proxys_limit_no_caller_meets_its_closes() {
    behind_a_proxy(lifetime_below, lifetime_below);
}

#[test]
fn without_a_lifetime_no_caller_notices_the_proxys_closes_of_idle_connections() {
    behind_a_proxy(validation_alone, validation_alone);
}

#[test]
fn each_close_of_a_proxy_during_work_costs_one_error_at_most() {
    behind_a_proxy(closed_during_work, closed_during_work);
}
