//! The metrics of the pools for the `metrics` facade, with OpenTelemetry's names.
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use poolwarden::{Pool, Sqlite};
//! use poolwarden::observe::metrics;
//!
//! // After the program has installed its recorder, an exporter's.
//! metrics::describe();
//! let builder = Pool::builder().name("orders").observer(metrics::Times);
//! let pool = builder.build(Sqlite::memory())?;
//! // Every few seconds, or whenever the exporter is asked.
//! metrics::publish();
//! # }
//! # Ok::<(), poolwarden::Error>(())
//! ```
//!
//! The guide's page [`observability`](crate::guide::observability) lists the names. Without a
//! recorder all of this does nothing.

use super::event::{CheckedIn, CheckedOut, Observer, Opened};
use super::report::reports;
use super::samples::{Text, Value, samples};
use super::series::{CREATE_TIME, Kind, METRICS, Metric, POOL_LABEL, USE_TIME, WAIT_TIME};
use crate::sys::process;
use ::metrics::{Label, Unit};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Records how long connections take to open, how long check-outs wait, and how long
/// connections are in use: the three histograms.
///
/// Register it with each pool by [`Builder::observer`](crate::Builder::observer). The label is
/// the pool's name: give each pool its own. The pools of [`Tenants`](crate::Tenants) share one by
/// [`TimesUnder`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Times;

impl Observer for Times {
    fn opened(&self, event: &Opened<'_>) {
        record(&CREATE_TIME, event.pool, event.took);
    }

    fn checked_out(&self, event: &CheckedOut<'_>) {
        record(&WAIT_TIME, event.pool, event.waited);
    }

    fn checked_in(&self, event: &CheckedIn<'_>) {
        record(&USE_TIME, event.pool, event.used);
    }
}

/// Records as [`Times`], but under one name for several pools: those of tenants, each of which
/// would make series of its own.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{Pool, SharedPermits, Sqlite, Tenants};
/// use poolwarden::observe::metrics::TimesUnder;
///
/// let times = TimesUnder::new("customers");
/// let tenants = Tenants::new(&SharedPermits::new(40)?, move |tenant: &String| {
///     Ok((Pool::builder().name(tenant).observer(times.clone()), Sqlite::memory()))
/// });
/// let tenants = tenants.with_name("customers");
/// # drop(tenants);
/// # }
/// # Ok::<(), poolwarden::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TimesUnder {
    name: Arc<str>,
}

impl TimesUnder {
    /// Creates an observer that records under this name.
    pub fn new(name: impl Into<Arc<str>>) -> TimesUnder {
        TimesUnder { name: name.into() }
    }
}

impl Observer for TimesUnder {
    fn opened(&self, event: &Opened<'_>) {
        record(&CREATE_TIME, &self.name, event.took);
    }

    fn checked_out(&self, event: &CheckedOut<'_>) {
        record(&WAIT_TIME, &self.name, event.waited);
    }

    fn checked_in(&self, event: &CheckedIn<'_>) {
        record(&USE_TIME, &self.name, event.used);
    }
}

fn record(metric: &'static Metric, pool: &str, time: Duration) {
    ::metrics::histogram!(metric.name, labels(metric, pool, &[])).record(time.as_secs_f64());
}

/// Sets the levels and totals of all pools of this process: every metric but the histograms.
///
/// The levels of a pool that is gone since the last call, and of a tenant that has no series of
/// its own any more, are set to zero: a recorder would keep their last values.
///
/// # Blocking
///
/// Does not block, unless the recorder does.
pub fn publish() {
    if process::is_forked() {
        return;
    }
    let mut levels = BTreeSet::new();
    for report in reports() {
        for sample in samples(&report) {
            let labels = labels(sample.metric, &report.name, &sample.labels);
            if matches!(sample.value, Value::Number(_)) {
                levels.insert((sample.metric.name, labels.clone()));
            }
            set(sample.metric, labels, &sample.value);
        }
    }
    let before = std::mem::replace(&mut *PUBLISHED.lock(), levels.clone());
    for (name, labels) in before.difference(&levels) {
        ::metrics::gauge!(*name, labels.clone()).set(0.0);
    }
}

/// The levels that were set by the last [`publish`].
///
/// Law: no recorder is called under the lock.
static PUBLISHED: Mutex<BTreeSet<(&str, Vec<Label>)>> = Mutex::new(BTreeSet::new());

fn set(metric: &'static Metric, labels: Vec<Label>, value: &Value) {
    match value {
        Value::Number(number) => ::metrics::gauge!(metric.name, labels).set(*number),
        Value::Total(total) => ::metrics::counter!(metric.name, labels).absolute(*total),
        // The facade's counters are whole numbers.
        Value::Sum(time) => ::metrics::counter!(metric.name, labels).absolute(time.as_secs()),
        Value::Times(_) => {}
    }
}

/// Describes all metrics to the recorder, with their units.
pub fn describe() {
    for metric in METRICS {
        let unit = if metric.is_time { Unit::Seconds } else { Unit::Count };
        match metric.kind {
            Kind::Level => ::metrics::describe_gauge!(metric.name, unit, metric.help),
            Kind::Total => ::metrics::describe_counter!(metric.name, unit, metric.help),
            Kind::Times => ::metrics::describe_histogram!(metric.name, unit, metric.help),
        }
    }
}

fn labels(metric: &'static Metric, pool: &str, values: &[Text]) -> Vec<Label> {
    let own = metric.labels.iter().zip(values);
    let own = own.map(|(label, value)| Label::new(*label, value.clone().into_owned()));
    let pool = Label::new(POOL_LABEL, pool.to_owned());
    std::iter::once(pool).chain(own).collect()
}
