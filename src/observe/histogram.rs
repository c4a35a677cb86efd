//! Times in fixed buckets, counted without a lock.

use crate::sys::clock::nanos_of;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the buckets; the last bucket has none.
const BOUNDS: [Duration; 16] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// A distribution of times: how many were no longer than each of a few fixed bounds, from
/// 100 µs to 30 s.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum: Duration,
}

impl Histogram {
    /// Returns how many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all times.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Returns for each bucket its upper bound, in ascending order, and how many times were no
    /// longer than that. The last bucket has no bound, `None`, and counts all.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
        let mut total = 0;
        bounds.zip(&self.counts).map(move |(bound, count)| {
            total += count;
            (bound, total)
        })
    }

    /// Returns the bound within which this share of all times is, from 0.0 to 1.0.
    ///
    /// `None` if nothing was counted, or if no bound holds for so many.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.count();
        let wanted = total as f64 * share;
        self.buckets().find(|(_, count)| total > 0 && *count as f64 >= wanted)?.0
    }

    /// Counts everything that the other has counted.
    pub(crate) fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    /// Counts this many more times that took nothing.
    pub(crate) fn with_zeros(mut self, count: u64) -> Histogram {
        self.counts[0] += count;
        self
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count()).field("sum", &self.sum).finish()
    }
}

/// The counters behind a [`Histogram`].
#[derive(Debug)]
pub(crate) struct HistogramCells {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl HistogramCells {
    pub(crate) const fn new() -> HistogramCells {
        HistogramCells { counts: [const { AtomicU64::new(0) }; BUCKETS], nanos: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, time: Duration) {
        let nanos = nanos_of(time);
        self.counts[bucket(nanos)].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// As `record`, without locked instructions. Law: one thread at a time calls it.
    #[inline]
    pub(crate) fn record_alone(&self, nanos: u64) {
        let add = |cell: &AtomicU64, more| {
            cell.store(cell.load(Relaxed).wrapping_add(more), Relaxed);
        };
        add(&self.counts[bucket(nanos)], 1);
        add(&self.nanos, nanos);
    }

    /// Counts everything that the other has counted.
    pub(crate) fn add(&self, other: &HistogramCells) {
        for (cell, more) in self.counts.iter().zip(&other.counts) {
            cell.fetch_add(more.load(Relaxed), Relaxed);
        }
        self.nanos.fetch_add(other.nanos.load(Relaxed), Relaxed);
    }

    pub(crate) fn load(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|index| self.counts[index].load(Relaxed)),
            sum: Duration::from_nanos(self.nanos.load(Relaxed)),
        }
    }
}

#[inline]
fn bucket(nanos: u64) -> usize {
    BOUNDS_IN_NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len())
}

const BOUNDS_IN_NANOS: [u64; BOUNDS.len()] = {
    let mut nanos = [0; BOUNDS.len()];
    let mut index = 0;
    while index < BOUNDS.len() {
        nanos[index] = BOUNDS[index].as_nanos() as u64;
        index += 1;
    }
    nanos
};

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_time_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let cells = HistogramCells::new();
        cells.record(Duration::ZERO);
        cells.record(MS);
        cells.record_alone(nanos_of(MS) + 1);
        cells.record(Duration::from_secs(31));
        let times = cells.load();
        let of = |bound| times.buckets().find(|(b, _)| *b == bound).expect("a bucket").1;
        assert_eq!(of(Some(MS / 10)), 1);
        assert_eq!((of(Some(MS / 2)), of(Some(MS)), of(Some(5 * MS / 2))), (1, 2, 3));
        assert_eq!((of(Some(Duration::from_secs(30))), of(None)), (3, 4));
        assert_eq!((times.count(), times.buckets().count()), (4, 17));
        assert_eq!(times.sum(), 31 * 1_000 * MS + 2 * MS + Duration::from_nanos(1));
    }

    #[test]
    fn a_quantile_is_the_bound_within_which_so_many_times_are() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        let cells = HistogramCells::new();
        (0..9).for_each(|_| cells.record(2 * MS));
        cells.record(Duration::from_secs(60));
        let times = cells.load();
        assert_eq!(times.quantile(0.0), Some(MS / 10));
        assert_eq!(times.quantile(0.9), Some(5 * MS / 2));
        assert_eq!(times.quantile(0.95), None);
        assert_eq!(times.with_zeros(90).quantile(0.9), Some(MS / 10));
    }

    #[test]
    fn added_counters_are_counted_together() {
        let (all, one) = (HistogramCells::new(), HistogramCells::new());
        all.record(MS);
        one.record_alone(nanos_of(3 * MS));
        all.add(&one);
        assert_eq!((all.load().count(), all.load().sum()), (2, 4 * MS));
    }
}
