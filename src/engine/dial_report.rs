//! What the log and the observers are told about one attempt to connect.

use crate::connection::{Managed, Shared};
use crate::driver::Driver;
use crate::error::ConnectError;
use crate::sys::catch_panic::drop_catching;
use std::time::Instant;

/// Logged once if the connections cannot be peeked at.
const NO_SOCKET: &str = "the sockets of this driver's connections are not accessible: every \
                         check-out pings (one round trip) instead of peeking";

/// The report of one attempt; sending it calls foreign code, which may never return.
#[must_use]
pub(crate) struct DialReport {
    began: Instant,
    ended: Instant,
    outcome: Outcome,
}

enum Outcome {
    Opened {
        connection: u64,
        /// About its encryption, with what tells warnings apart.
        warning: Option<(&'static str, String)>,
        hides_socket: bool,
    },
    Failed(ConnectError),
}

impl DialReport {
    pub(super) fn opened<D: Driver>(
        managed: &mut Managed<D>,
        began: Instant,
        ended: Instant,
    ) -> DialReport {
        let outcome = Outcome::Opened {
            connection: managed.id(),
            warning: managed.record_protection(),
            hides_socket: managed.socket_is_unavailable(),
        };
        DialReport { began, ended, outcome }
    }

    pub(super) fn failed(error: ConnectError, began: Instant, ended: Instant) -> DialReport {
        DialReport { began, ended, outcome: Outcome::Failed(error) }
    }

    /// Logs the outcome and calls the observers.
    pub(crate) fn send<D: Driver>(self, shared: &Shared<D>) {
        let DialReport { began, ended, outcome } = self;
        let (log, totals) = (shared.event_log(), shared.totals());
        match outcome {
            Outcome::Opened { connection, warning, hides_socket } => {
                let took = ended.saturating_duration_since(began);
                log.opened(totals, connection, took, ended);
                if let Some((id, warning)) = warning {
                    log.warn_once(totals, id, &warning, ended);
                }
                if hides_socket {
                    log.mention_once(totals, "no_socket", NO_SOCKET, ended);
                }
            }
            Outcome::Failed(error) => {
                log.connect_failed(totals, &error, began, ended);
                // It may be the last handle of a driver's error, whose destructor is foreign.
                if drop_catching(error).is_err() {
                    totals.count_panic();
                }
            }
        }
    }
}
