//! The feature `metrics`, with a recorder that keeps everything.

use metrics::{
    Counter, CounterFn, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use poolwarden::{Pool, SharedPermits, Sqlite, Tenants};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Held by each test that publishes: what is gone is set to zero once.
static PUBLISHING: Mutex<()> = Mutex::new(());

#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct Series(Recorded, String);

impl Series {
    fn new(kept: &Recorded, key: &Key) -> Arc<Series> {
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
        let name = format!("{} {}", key.name(), labels.collect::<Vec<_>>().join(" "));
        Arc::new(Series(kept.clone(), name))
    }

    fn add(&self, value: f64) {
        let mut all = self.0.0.lock().expect("no panic");
        all.entry(self.1.clone()).or_default().push(value);
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        self.add(value as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.add(value);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        let name = format!("{} in {unit:?}", key.as_str());
        self.0.lock().expect("no panic").entry(name).or_default();
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(key, unit, text);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(key, unit, text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Series::new(self, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(Series::new(self, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Series::new(self, key))
    }
}

#[test]
fn the_facade_gets_the_metrics_under_opentelemetrys_names() {
    let _alone = PUBLISHING.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = Recorded::default();
    let builder = Pool::builder().name("to the facade").max_size(2);
    let facade = kept.clone();
    // The pool's connection is opened on another thread: a recorder of this thread only sees
    // what this one does.
    metrics::with_local_recorder(&facade, || {
        poolwarden::observe::metrics::describe();
        let builder = builder.observer(poolwarden::observe::metrics::Times);
        let pool = builder.build(Sqlite::memory()).expect("a database in memory");
        drop(pool.get().expect("a connection"));
        let _held = pool.get().expect("a connection");
        poolwarden::observe::metrics::publish();
    });
    let all = kept.0.lock().expect("no panic").clone();
    let pool = "db.client.connection.pool.name=to the facade";
    let last = |series: &str| *all[series].last().expect("a value");
    let of = |name: &str| format!("{name} {pool}");
    let state = |state: &str| {
        last(&format!("{} db.client.connection.state={state}", of("db.client.connection.count")))
    };
    assert_eq!((state("idle"), state("used")), (0.0, 1.0), "{:?}", all.keys());
    assert_eq!(last(&of("db.client.connection.max")), 2.0);
    assert_eq!(last(&of("poolwarden.checkouts")), 3.0);
    assert_eq!(last(&format!("{} reason=retired", of("poolwarden.closed"))), 0.0);
    assert_eq!(all[&of("db.client.connection.wait_time")].len(), 3);
    assert_eq!(all[&of("db.client.connection.use_time")].len(), 3);
    assert!(all.contains_key("db.client.connection.wait_time in Some(Seconds)"));
    assert!(all.contains_key("poolwarden.opened in Some(Count)"));
}

#[test]
fn the_facade_gets_the_busiest_tenants_and_levels_of_zero_for_those_that_lost_their_series() {
    let _alone = PUBLISHING.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = Recorded::default();
    let permits = SharedPermits::new(4).expect("one or more");
    let tenants = Tenants::new(&permits, |tenant: &String| {
        Ok((Pool::builder().name(tenant), Sqlite::memory()))
    });
    let tenants = tenants.with_name("tenants of the facade").with_series(1);
    let facade = kept.clone();
    metrics::with_local_recorder(&facade, || {
        let _held = tenants.get("first").expect("a connection");
        drop(tenants.get("second").expect("a connection"));
        poolwarden::observe::metrics::publish();
        // Its connection outlives its place among the tenants.
        tenants.remove("first");
        let tenants = tenants.clone().with_series(0);
        poolwarden::observe::metrics::publish();
        drop(tenants);
    });
    let all = kept.0.lock().expect("no panic").clone();
    let of = |name: &str, tenant: &str| {
        let pool = "db.client.connection.pool.name=tenants of the facade";
        all[&format!("{name} {pool} tenant={tenant}")].clone()
    };
    assert_eq!(of("poolwarden.tenant.checkouts", "first"), [1.0]);
    assert_eq!(of("poolwarden.tenant.checkouts", "other"), [1.0, 1.0]);
    let pool = "db.client.connection.pool.name=tenants of the facade";
    let used = |tenant: &str| {
        let labels = format!("tenant={tenant} db.client.connection.state=used");
        all[&format!("poolwarden.tenant.connections {pool} {labels}")].clone()
    };
    assert_eq!((used("first"), used("other")), (vec![1.0, 0.0], vec![0.0, 1.0]));
    assert_eq!(all[&format!("poolwarden.permits.max {pool}")], [4.0, 4.0]);
}

#[test]
fn the_levels_of_a_pool_that_is_gone_become_zero_and_its_totals_stay() {
    let _alone = PUBLISHING.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = Recorded::default();
    metrics::with_local_recorder(&kept, || {
        let builder = Pool::builder().name("gone soon").max_size(3);
        let pool = builder.build(Sqlite::memory()).expect("a database in memory");
        poolwarden::observe::metrics::publish();
        drop(pool);
        poolwarden::observe::metrics::publish();
        poolwarden::observe::metrics::publish();
    });
    let all = kept.0.lock().expect("no panic").clone();
    let of = |name: &str| all[&format!("{name} db.client.connection.pool.name=gone soon")].clone();
    assert_eq!(of("db.client.connection.max"), [3.0, 0.0], "once");
    assert_eq!(of("poolwarden.checkouts"), [1.0]);
}

#[test]
fn the_times_of_several_pools_are_recorded_under_one_name() {
    let kept = Recorded::default();
    let times = poolwarden::observe::metrics::TimesUnder::new("together");
    metrics::with_local_recorder(&kept, || {
        for name in ["one of several", "another of several"] {
            let builder = Pool::builder().name(name).observer(times.clone());
            let pool = builder.build(Sqlite::memory()).expect("a database in memory");
            drop(pool.get().expect("a connection"));
        }
    });
    let all = kept.0.lock().expect("no panic").clone();
    let label = "db.client.connection.pool.name";
    assert_eq!(all[&format!("db.client.connection.wait_time {label}=together")].len(), 4);
    assert!(all.keys().all(|key| !key.contains("several")), "{:?}", all.keys());
}
