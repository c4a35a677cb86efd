//! A proxy that closes every connection at a certain age, under steady load.
//!
//! What can be promised: a connection that is closed while it idles is never felt,
//! and one that is closed in the middle of somebody's work is a true error of that
//! one caller. Only a lifetime below the proxy's keeps work and closing apart.

use super::{SOON, assert_all_places};
use crate::flavour::{Flavour, My, Ours, Pg, Subject, fill};
use poolwarden::{Builder, CloseReason, Pool};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::proxy::{Fault, Proxy};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// The 24 hours of the field.
const DAY: Duration = Duration::from_secs(2);
/// On a loaded computer a request may take a second.
const LIFETIME: Duration = Duration::from_millis(700);
const RUN: Duration = Duration::from_millis(4_500);
const SIZE: u32 = 4;

/// What the callers did and saw.
struct Report {
    requests: usize,
    errors: Vec<String>,
    /// How many connections the proxy closed.
    cuts: usize,
}

/// How the proxy treats a connection that is a day old.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proper {
    /// It waits until no request is under way, as one does that watches the protocol.
    Polite,
    /// It closes at once.
    Rude,
}

/// More threads than there are connections work all the time; each connection is
/// closed at the age of a day.
fn days<F: Flavour>(ours: &Ours<F>, proxy: &Proxy, proper: Proper) -> Report {
    let (stop, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Held for reading by each request, and for writing by a polite cut.
    let road = RwLock::new(());
    let work = || {
        let mut errors = Vec::new();
        while !stop.load(SeqCst) {
            let under_way = road.read().expect("no panic");
            errors.extend(ours.work().err());
            drop(under_way);
            requests.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
        errors
    };
    thread::scope(|scope| {
        let herd: Vec<_> = (0..SIZE + 2).map(|_| scope.spawn(work)).collect();
        let cuts = cut_by_age(proxy, proper, &road);
        stop.store(true, SeqCst);
        let errors = herd.into_iter().flat_map(|one| one.join().expect("no panic")).collect();
        Report { requests: requests.load(SeqCst), errors, cuts }
    })
}

fn cut_by_age(proxy: &Proxy, proper: Proper, road: &RwLock<()>) -> usize {
    let until = Instant::now() + RUN;
    let (mut cuts, mut next) = (0, 0);
    while Instant::now() < until {
        let born = proxy.accept_times();
        // They are accepted, and so reach their day, one after the other.
        while born.get(next).is_some_and(|born| born.elapsed() >= DAY) {
            let polite = (proper == Proper::Polite).then(|| road.write().expect("no panic"));
            cuts += usize::from(proxy.apply_to(next, &Fault::Fin));
            drop(polite);
            next += 1;
        }
        thread::sleep(Duration::from_millis(2));
    }
    cuts
}

fn pool<F: Flavour>(
    flavour: &F,
    knobs: impl FnOnce(Builder<F::Driver>) -> Builder<F::Driver>,
) -> Ours<F> {
    let ours: Ours<F> =
        Ours(knobs(Pool::builder().max_size(SIZE)).build(flavour.driver()).expect("it is there"));
    fill(&ours.0);
    ours
}

fn lifetime_below<F: Flavour>(flavour: &F, proxy: &Proxy) {
    let ours = pool(flavour, |knobs| knobs.max_lifetime(LIFETIME));
    let report = days(&ours, proxy, Proper::Rude);
    let books = ours.0.snapshot();
    assert_eq!(report.errors, Vec::<String>::new(), "{books}");
    assert_eq!(report.cuts, 0, "the proxy had nothing left to close: {books}");
    assert!(books.closed_by(CloseReason::MaxLifetime) >= u64::from(2 * SIZE), "{books}");
    assert!(report.requests > 200, "{}: {books}", report.requests);
    assert_all_places(&ours.0);
}

fn validation_alone<F: Flavour>(flavour: &F, proxy: &Proxy) {
    let ours = pool(flavour, |knobs| knobs);
    let report = days(&ours, proxy, Proper::Polite);
    let books = ours.0.snapshot();
    assert_eq!(report.errors, Vec::<String>::new(), "{books}");
    assert!(report.cuts >= 2 * SIZE as usize, "{}: {books}", report.cuts);
    let found = || ours.0.snapshot().closed_by(CloseReason::ServerClosed) >= report.cuts as u64;
    assert!(eventually(SOON, found), "{} cuts: {books}", report.cuts);
    assert_all_places(&ours.0);
}

fn cut_at_work<F: Flavour>(flavour: &F, proxy: &Proxy) {
    let ours = pool(flavour, |knobs| knobs);
    let report = days(&ours, proxy, Proper::Rude);
    let books = ours.0.snapshot();
    assert!(report.cuts >= 2 * SIZE as usize, "{}: {books}", report.cuts);
    assert!(report.errors.len() <= report.cuts, "more errors than cuts: {:?}", report.errors);
    assert_all_places(&ours.0);
}

/// Runs a body behind a proxy, on each server that is here, all at the same time.
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
fn a_lifetime_below_the_proxys_keeps_its_closing_away_from_all_work() {
    behind_a_proxy(lifetime_below, lifetime_below);
}

#[test]
fn without_a_lifetime_no_caller_feels_what_the_proxy_closes_while_it_idles() {
    behind_a_proxy(validation_alone, validation_alone);
}

#[test]
fn a_proxy_that_closes_in_the_middle_of_work_costs_one_error_at_most_for_each_close() {
    behind_a_proxy(cut_at_work, cut_at_work);
}
