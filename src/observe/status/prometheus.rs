//! The metrics of pools as text, in the exposition format of Prometheus, version 0.0.4.

use crate::observe::histogram::Histogram;
use crate::observe::report::PoolReport;
use crate::observe::samples::{Sample, Value, samples};
use crate::observe::series::{METRICS, Metric, POOL_LABEL};
use std::fmt::Write as _;

/// Returns the text of these reports. Every name appears once, with all its series.
pub(super) fn text(reports: &[PoolReport]) -> String {
    let all: Vec<_> = reports.iter().map(|report| (&*report.name, samples(report))).collect();
    let mut out = String::new();
    for metric in METRICS {
        let series = all.iter().flat_map(|(pool, samples)| {
            let of_metric = samples.iter().filter(|sample| std::ptr::eq(sample.metric, *metric));
            of_metric.map(move |sample| (*pool, sample))
        });
        let mut series = series.peekable();
        if series.peek().is_some() {
            heading(&mut out, metric);
            series.for_each(|(pool, sample)| write(&mut out, pool, sample));
        }
    }
    out
}

fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

fn heading(out: &mut String, metric: &Metric) {
    let (name, help) = (metric.prometheus_name(), metric.help);
    let kind = metric.kind.as_str();
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn write(out: &mut String, pool: &str, sample: &Sample) {
    let name = sample.metric.prometheus_name();
    let mut labels = format!("{}=\"{}\"", underscored(POOL_LABEL), escaped(pool));
    for (label, value) in sample.metric.labels.iter().zip(&sample.labels) {
        let _ = write!(labels, ",{}=\"{}\"", underscored(label), escaped(value));
    }
    let _ = match &sample.value {
        Value::Number(number) => writeln!(out, "{name}{{{labels}}} {number}"),
        Value::Total(total) => writeln!(out, "{name}{{{labels}}} {total}"),
        Value::Sum(time) => writeln!(out, "{name}{{{labels}}} {}", time.as_secs_f64()),
        Value::Times(times) => write_times(out, &name, &labels, times),
    };
}

fn write_times(out: &mut String, name: &str, labels: &str, times: &Histogram) -> std::fmt::Result {
    let mut count = 0;
    for (bound, total) in times.buckets() {
        let bound = bound.map_or("+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
        writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}")?;
        count = total;
    }
    writeln!(out, "{name}_sum{{{labels}}} {}", times.sum().as_secs_f64())?;
    writeln!(out, "{name}_count{{{labels}}} {count}")
}

/// Escapes a label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_labels_value_ends_no_line_and_no_label() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
