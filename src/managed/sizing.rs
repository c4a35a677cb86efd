//! How many connections a pool may have at the moment: what its user wants, what
//! the server can give, and what it gave when it was full.

use crate::cap::Cap;
use std::time::{Duration, Instant};

/// How long a cap stays down after the server said that it is full, and how long
/// each step back up takes.
const STEP: Duration = Duration::from_secs(1);

/// The numbers behind a pool's cap; the smallest of them holds.
#[derive(Clone, Debug)]
pub(crate) struct Sizing {
    rule: Cap,
    /// What the user set as a bound, if the rule is not a number itself.
    most: Option<u32>,
    /// What a derived cap is where the server was asked and told nothing.
    fallback: u32,
    asked: bool,
    /// What the rule makes of the server's limits, once they are known.
    allowance: Option<u32>,
    squeeze: Option<Squeeze>,
}

/// The server was full: the cap is down, and grows again step by step.
#[derive(Clone, Copy, Debug)]
struct Squeeze {
    limit: u32,
    next_step: Instant,
}

impl Sizing {
    pub(super) fn new(rule: Cap, most: Option<u32>, fallback: u32) -> Sizing {
        Sizing { rule, most, fallback, asked: false, allowance: None, squeeze: None }
    }

    pub(super) fn rule(&self) -> Cap {
        self.rule
    }

    pub(super) fn allow(&mut self, allowance: Option<u32>) {
        self.asked = true;
        self.allowance = allowance;
    }

    /// Sets the user's number: the cap itself, or a bound on a derived one.
    pub(super) fn set_max_size(&mut self, count: u32) {
        if self.rule.is_derived() {
            self.most = Some(count);
        } else {
            self.rule = Cap::Fixed(count);
        }
    }

    /// The server is full while it holds so many of ours.
    pub(super) fn squeeze(&mut self, held: u32, now: Instant) {
        self.squeeze = Some(Squeeze { limit: held.max(1), next_step: now + STEP });
    }

    /// Grows back by one if it is time; tells whether the cap changed.
    pub(super) fn grow(&mut self, now: Instant) -> bool {
        let goal = self.goal();
        let Some(squeeze) = self.squeeze.as_mut().filter(|squeeze| squeeze.next_step <= now) else {
            return false;
        };
        squeeze.limit += 1;
        squeeze.next_step = now + STEP;
        if squeeze.limit >= goal {
            self.squeeze = None;
        }
        true
    }

    pub(super) fn next_step(&self) -> Option<Instant> {
        self.squeeze.map(|squeeze| squeeze.next_step)
    }

    /// What the cap is when the server is not full.
    pub(super) fn goal(&self) -> u32 {
        let wanted = match self.rule {
            Cap::Fixed(count) => Some(count),
            // Until the server has been asked, a derived cap opens one.
            _ => self.allowance.or(Some(if self.asked { self.fallback } else { 1 })),
        };
        let numbers = [wanted, self.most, self.allowance];
        numbers.into_iter().flatten().min().unwrap_or(1).max(1)
    }

    pub(super) fn effective(&self) -> u32 {
        let squeezed = self.squeeze.map_or(u32::MAX, |squeeze| squeeze.limit);
        self.goal().min(squeezed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_number_holds() {
        let mut sizing = Sizing::new(Cap::Fixed(10), None, 10);
        assert_eq!(sizing.effective(), 10);
        sizing.allow(Some(7));
        assert_eq!(sizing.effective(), 7);
        sizing.set_max_size(5);
        assert_eq!(sizing.effective(), 5);
    }

    #[test]
    fn a_derived_cap_is_one_until_the_server_was_asked_and_keeps_below_a_bound() {
        let mut sizing = Sizing::new(Cap::Share { of_server: 0.5 }, Some(20), 10);
        assert_eq!(sizing.effective(), 1);
        sizing.allow(None);
        assert_eq!(sizing.effective(), 10);
        sizing.allow(Some(43));
        assert_eq!(sizing.effective(), 20);
        sizing.set_max_size(30);
        assert_eq!(sizing.effective(), 30);
    }

    #[test]
    fn a_squeezed_cap_grows_back_by_one_a_second() {
        let (mut sizing, start) = (Sizing::new(Cap::Fixed(5), None, 10), Instant::now());
        sizing.squeeze(0, start);
        assert_eq!(sizing.effective(), 1);
        assert!(!sizing.grow(start + Duration::from_millis(999)));
        for (second, limit) in [(1, 2), (2, 3), (3, 4), (4, 5)] {
            assert!(sizing.grow(start + Duration::from_secs(second)));
            assert_eq!(sizing.effective(), limit);
        }
        assert_eq!(sizing.next_step(), None);
    }
}
