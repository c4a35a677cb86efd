//! What the dials of one driver have found out about its servers, so that the next one does
//! not find it out anew.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// For how long a server that did not respond is tried after the others. Without this
/// each new connection would wait for it first.
pub(super) const UNRESPONSIVE_FOR: Duration = Duration::from_secs(30);

/// For how long a server that was reached only without TLS is dialled without TLS: it does
/// not cost two dials for each connection.
pub(super) const PLAIN_FOR: Duration = Duration::from_secs(5 * 60);

/// The findings, by the name of an endpoint or the text of an address.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    unresponsive: Mutex<HashMap<String, Instant>>,
    /// Since when, and why TLS failed.
    plain: Mutex<HashMap<String, (Instant, String)>>,
}

impl Memory {
    /// Moves those to the end that have recently not responded.
    pub(super) fn responsive_first<T>(
        &self,
        candidates: &mut [T],
        name: impl Fn(&T) -> String,
        now: Instant,
    ) {
        let mut unresponsive = self.unresponsive.lock();
        unresponsive.retain(|_, since| now.saturating_duration_since(*since) < UNRESPONSIVE_FOR);
        candidates.sort_by_key(|candidate| unresponsive.contains_key(&name(candidate)));
    }

    pub(super) fn has_responded(&self, name: &str) {
        self.unresponsive.lock().remove(name);
    }

    pub(super) fn has_not_responded(&self, name: String, now: Instant) {
        self.unresponsive.lock().insert(name, now);
    }

    /// Returns why TLS failed, if the server was recently reached without it.
    pub(super) fn why_plain(&self, endpoint: &str, now: Instant) -> Option<String> {
        let plain = self.plain.lock();
        let (since, why) = plain.get(endpoint)?;
        (now.saturating_duration_since(*since) < PLAIN_FOR).then(|| why.clone())
    }

    pub(super) fn is_plain(&self, endpoint: String, why: String, now: Instant) {
        self.plain.lock().insert(endpoint, (now, why));
    }

    pub(super) fn may_have_tls(&self, endpoint: &str) {
        self.plain.lock().remove(endpoint);
    }
}
