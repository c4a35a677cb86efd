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
use super::series::{
    CREATE_TIME, Kind, METRICS, Metric, POOL_LABEL, USE_TIME, Value, WAIT_TIME, samples,
};
use ::metrics::{Label, Unit};
use std::time::Duration;

/// Records how long connections take to open, how long check-outs wait, and how long
/// connections are in use: the three histograms.
///
/// Register it with each pool by [`Builder::observer`](crate::Builder::observer). The label is
/// the pool's name: give each pool its own.
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

fn record(metric: &'static Metric, pool: &str, time: Duration) {
    ::metrics::histogram!(metric.name, labels(metric, pool, None)).record(time.as_secs_f64());
}

/// Sets the levels and totals of all pools of this process: every metric but the histograms.
///
/// # Blocking
///
/// Does not block, unless the recorder does.
pub fn publish() {
    for report in reports() {
        for sample in samples(&report) {
            let (metric, labels) =
                (sample.metric, labels(sample.metric, &report.name, sample.label));
            match sample.value {
                Value::Number(number) => ::metrics::gauge!(metric.name, labels).set(number),
                Value::Total(total) => ::metrics::counter!(metric.name, labels).absolute(total),
                Value::Times(_) => {}
            }
        }
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

fn labels(metric: &'static Metric, pool: &str, value: Option<&'static str>) -> Vec<Label> {
    let own = metric.label.zip(value).map(|(label, value)| Label::from_static_parts(label, value));
    let pool = Label::new(POOL_LABEL, pool.to_owned());
    std::iter::once(pool).chain(own).collect()
}
