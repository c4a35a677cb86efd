//! How many connections a pool may have at the moment: the smallest of what its user
//! set, what the server's limits allow, and what the server gave when it was full.

use crate::config::SizePolicy;
use std::time::{Duration, Instant};

/// How long a size stays reduced after the server reported too many connections, and
/// how long each step back up takes.
const STEP: Duration = Duration::from_secs(1);

/// The numbers behind a pool's size; the smallest of them is in force.
#[derive(Clone, Debug)]
pub(crate) struct EffectiveSize {
    rule: SizePolicy,
    /// The bound that the user set, if the rule is not a number itself.
    most: Option<u32>,
    /// The size where it should be derived, but the server's limits are unknown.
    fallback: u32,
    asked: bool,
    /// The size that the rule derives from the server's limits, once they are known.
    allowance: Option<u32>,
    reduction: Option<Reduction>,
}

/// The server was full: the size is reduced, and grows back step by step.
#[derive(Clone, Copy, Debug)]
struct Reduction {
    limit: u32,
    next_step: Instant,
}

impl EffectiveSize {
    pub(super) fn new(rule: SizePolicy, most: Option<u32>, fallback: u32) -> EffectiveSize {
        EffectiveSize { rule, most, fallback, asked: false, allowance: None, reduction: None }
    }

    pub(super) fn rule(&self) -> SizePolicy {
        self.rule
    }

    pub(super) fn allow(&mut self, allowance: Option<u32>) {
        self.asked = true;
        self.allowance = allowance;
    }

    /// Sets the user's number: the size itself, or a bound on a derived one.
    pub(super) fn set_max_size(&mut self, count: u32) {
        if self.rule.is_derived() {
            self.most = Some(count);
        } else {
            self.rule = SizePolicy::Fixed(count);
        }
    }

    /// Reduces the size: the server is full while this many of its connections are ours.
    pub(super) fn reduce(&mut self, held: u32, now: Instant) {
        self.reduction = Some(Reduction { limit: held.max(1), next_step: now + STEP });
    }

    /// Ends a reduction.
    pub(super) fn restore(&mut self) {
        self.reduction = None;
    }

    /// Grows back by one if a step is due; returns `true` if the size changed.
    pub(super) fn grow(&mut self, now: Instant) -> bool {
        let goal = self.goal();
        let Some(reduction) = self.reduction.as_mut().filter(|it| it.next_step <= now) else {
            return false;
        };
        reduction.limit += 1;
        reduction.next_step = now + STEP;
        if reduction.limit >= goal {
            self.reduction = None;
        }
        true
    }

    pub(super) fn next_step(&self) -> Option<Instant> {
        self.reduction.map(|reduction| reduction.next_step)
    }

    /// Returns the size while the server is not full.
    pub(super) fn goal(&self) -> u32 {
        let wanted = match self.rule {
            SizePolicy::Fixed(count) => Some(count),
            // Until the server's limits were read, a derived size is one.
            _ => self.allowance.or(Some(if self.asked { self.fallback } else { 1 })),
        };
        let numbers = [wanted, self.most, self.allowance];
        numbers.into_iter().flatten().min().unwrap_or(1).max(1)
    }

    pub(super) fn effective(&self) -> u32 {
        let reduced = self.reduction.map_or(u32::MAX, |reduction| reduction.limit);
        self.goal().min(reduced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_number_is_in_force() {
        let mut effective_size = EffectiveSize::new(SizePolicy::Fixed(10), None, 10);
        assert_eq!(effective_size.effective(), 10);
        effective_size.allow(Some(7));
        assert_eq!(effective_size.effective(), 7);
        effective_size.set_max_size(5);
        assert_eq!(effective_size.effective(), 5);
    }

    #[test]
    fn a_derived_size_is_one_until_the_limits_were_read_and_never_exceeds_its_bound() {
        let mut effective_size =
            EffectiveSize::new(SizePolicy::Share { of_server: 0.5 }, Some(20), 10);
        assert_eq!(effective_size.effective(), 1);
        effective_size.allow(None);
        assert_eq!(effective_size.effective(), 10);
        effective_size.allow(Some(43));
        assert_eq!(effective_size.effective(), 20);
        effective_size.set_max_size(30);
        assert_eq!(effective_size.effective(), 30);
    }

    #[test]
    fn a_reduced_size_grows_back_by_one_a_second() {
        let (mut effective_size, start) =
            (EffectiveSize::new(SizePolicy::Fixed(5), None, 10), Instant::now());
        effective_size.reduce(0, start);
        assert_eq!(effective_size.effective(), 1);
        assert!(!effective_size.grow(start + Duration::from_millis(999)));
        for (second, limit) in [(1, 2), (2, 3), (3, 4), (4, 5)] {
            assert!(effective_size.grow(start + Duration::from_secs(second)));
            assert_eq!(effective_size.effective(), limit);
        }
        assert_eq!(effective_size.next_step(), None);
    }
}
