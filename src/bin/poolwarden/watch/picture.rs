//! One picture of a pool, as lines of text.

use super::activity::Activity;
use poolwarden::driver::Driver;
use poolwarden::observe::{ConnectionInfo, ConnectionStatus};
use poolwarden::{Pool, Snapshot};
use std::time::Duration;

/// What the sparkline is drawn with, the lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How many characters an age bar has.
const AGE: u32 = 10;

/// What is shown of a pool at one instant.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) books: Snapshot,
    pub(super) connections: Vec<ConnectionInfo>,
    /// The longest waits, the oldest first.
    pub(super) waits: Vec<Duration>,
    /// The last events, the newest first.
    pub(super) events: Vec<String>,
}

impl Picture {
    /// Returns what a pool does now, and what its clients have met since the last picture.
    pub(super) fn of<D: Driver>(pool: &Pool<D>, activity: &Activity) -> Picture {
        Picture {
            books: pool.snapshot(),
            connections: pool.connections(),
            waits: activity.next_picture(),
            events: activity.events(),
        }
    }

    /// Returns the lines; `keys` is the last one.
    pub(super) fn lines(&self, keys: &str) -> Vec<String> {
        let books = &self.books;
        let levels = books.levels;
        let mut lines = vec![
            format!("poolwarden watch: {}", books.name),
            format!(
                "max size {}   open {}   in use {}   idle {}   pending {}   closing {}   waiting {}",
                levels.max_size,
                levels.open,
                levels.in_use,
                levels.idle,
                levels.pending,
                levels.closing,
                levels.waiting
            ),
            format!(
                "check-outs {}   timeouts {}   peeks {}   pings {}   opened {}   closed {}",
                books.checkouts,
                books.timeouts,
                books.peeks,
                books.pings,
                books.opened,
                books.closed()
            ),
            String::new(),
        ];
        lines.extend(self.connections.iter().map(row));
        lines.push(String::new());
        lines.push(self.wait_line());
        lines.push(String::new());
        lines.push("last closes and errors".into());
        lines.extend(self.events.iter().cloned());
        lines.push(String::new());
        lines.push(keys.into());
        lines
    }

    /// Returns the pool in one line, for an output that is no terminal.
    pub(super) fn one_line(&self) -> String {
        let longest = self.waits.last().copied().unwrap_or_default();
        format!("{}, longest wait {longest:.1?}", self.books)
    }

    fn wait_line(&self) -> String {
        let top = self.waits.iter().copied().max().unwrap_or_default();
        format!("longest waits {}  up to {top:.1?}", sparkline(&self.waits, top))
    }
}

fn sparkline(waits: &[Duration], top: Duration) -> String {
    let bar = |wait: &Duration| {
        let share = wait.as_secs_f64() / top.as_secs_f64().max(f64::MIN_POSITIVE);
        // A share of 0.0 to 1.0 is an index of 0 to 7.
        BARS[((share * 7.0).round() as usize).min(7)]
    };
    waits.iter().map(bar).collect()
}

fn row(connection: &ConnectionInfo) -> String {
    let status = match &connection.status {
        ConnectionStatus::Idle { .. } => "idle  ",
        ConnectionStatus::InUse { .. } => "in use",
        _ => "other ",
    };
    format!("{:>5}  {status}  {}  {}", connection.id, age_bar(connection), connection.status)
}

/// Returns the share of its lifetime that a connection has behind it; empty if it has none.
fn age_bar(connection: &ConnectionInfo) -> String {
    let lifetime = connection.retires_in.map(|left| left + connection.age);
    let share = lifetime
        .map_or(0.0, |all| connection.age.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE));
    let full = (1..=AGE).filter(|step| f64::from(*step) <= share * f64::from(AGE)).count();
    format!("[{}{}]", "#".repeat(full), ".".repeat(AGE as usize - full))
}
