//! What a pool reports of itself.

use super::engine::Engine;
use crate::driver::Driver;
use crate::observe::{PoolReport, Reporting};
use std::time::Instant;

impl<D: Driver> Reporting for Engine<D> {
    fn report(&self) -> Option<PoolReport> {
        if self.shared.is_forked() || self.core.is_closed() && !self.core.has_open() {
            return None;
        }
        let now = Instant::now();
        let report = self.shared.report_with(self.snapshot());
        let longest_wait = self.core.first_arrival();
        Some(PoolReport {
            is_suspended: self.is_suspended(),
            longest_wait: longest_wait.map(|since| now.saturating_duration_since(since)),
            connections: self.connections(now),
            ..report
        })
    }
}
