//! `sslmode=prefer`: TLS if it can be had, else a second dial without it.
//!
//! A failed handshake has used up its socket, so there is no going on without TLS
//! on the same one. What was found is remembered for a while, so that a server
//! without TLS does not cost two dials for each connection.

use crate::driver::Attempt;
use crate::error::{ConnectError, ConnectFault};
use crate::tls::{HAS_TLS, SslMode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// For how long a server that was reached without TLS only is not asked again.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// Which way a dial goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way<'a> {
    /// TLS, as the mode says.
    Tls,
    /// Plain; after a failed attempt at TLS, why that failed.
    Plain(Option<&'a str>),
}

/// What one driver has found about its servers, by host and port.
#[derive(Debug, Default)]
pub(crate) struct Preference(Mutex<HashMap<String, Finding>>);

#[derive(Clone, Debug)]
struct Finding {
    at: Instant,
    why: String,
}

impl Preference {
    /// Dials as the mode says: with `prefer` a second time, plain, if the first one
    /// failed for its TLS. Both share the attempt's deadline.
    pub(crate) fn dial<T>(
        &self,
        mode: SslMode,
        place: &str,
        attempt: &Attempt,
        mut dial: impl FnMut(Way<'_>) -> Result<T, ConnectError>,
    ) -> Result<T, ConnectError> {
        match mode {
            SslMode::Disable => return dial(Way::Plain(None)),
            SslMode::Prefer if !HAS_TLS => return dial(Way::Plain(None)),
            SslMode::Prefer => {}
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => return dial(Way::Tls),
        }
        if let Some(why) = self.remembered(place, Instant::now()) {
            let outcome = dial(Way::Plain(Some(&why)));
            // The server may want TLS by now.
            if let Err(error) = &outcome
                && matches!(error.fault(), ConnectFault::Authentication | ConnectFault::Config)
            {
                self.0.lock().remove(place);
            }
            return outcome;
        }
        let failure = match dial(Way::Tls) {
            Err(error) if is_for_tls(&error) && !attempt.is_expired() => error,
            outcome => return outcome,
        };
        drop(attempt.take_socket());
        let why = failure.full_text();
        match dial(Way::Plain(Some(&why))) {
            Ok(connected) => {
                let finding = Finding { at: Instant::now(), why };
                self.0.lock().insert(place.to_owned(), finding);
                Ok(connected)
            }
            // Refused for want of TLS: what went wrong is why there is none.
            Err(error) if error.code() == Some(REJECTED) => Err(failure),
            Err(error) => Err(error),
        }
    }

    fn remembered(&self, place: &str, now: Instant) -> Option<String> {
        let findings = self.0.lock();
        let finding = findings.get(place)?;
        let fresh = now.saturating_duration_since(finding.at) < REMEMBERED;
        fresh.then(|| finding.why.clone())
    }
}

/// PostgreSQL documentation, "Error Codes": invalid_authorization_specification,
/// which an entry of pg_hba.conf that takes no TLS gives. A wrong password is
/// 28P01: the second dial would only send it in the clear.
const REJECTED: &str = "28000";

fn is_for_tls(error: &ConnectError) -> bool {
    error.fault() == ConnectFault::Tls || error.code() == Some(REJECTED)
}

#[cfg(all(test, feature = "native-tls"))]
mod tests {
    use super::*;
    use crate::driver::Terms;

    fn attempt() -> Attempt {
        let timeout = Duration::from_secs(10);
        Attempt::new(Instant::now(), Terms { timeout, ..Terms::default() })
    }

    fn failed(fault: ConnectFault, code: &str) -> ConnectError {
        ConnectError::new(fault, "db.test").with_code(code)
    }

    /// Dials once; returns the ways that were tried and whether it succeeded.
    fn ways(preference: &Preference, mode: SslMode, first: &ConnectError) -> (Vec<bool>, bool) {
        let mut tried = Vec::new();
        let outcome = preference.dial(mode, "db.test", &attempt(), |way| {
            tried.push(way == Way::Tls);
            if way == Way::Tls { Err(first.clone()) } else { Ok(()) }
        });
        (tried, outcome.is_ok())
    }

    #[test]
    fn only_prefer_dials_again_and_only_after_a_failure_of_tls() {
        let table = [
            (SslMode::Prefer, ConnectFault::Tls, "", vec![true, false]),
            (SslMode::Prefer, ConnectFault::Authentication, "28000", vec![true, false]),
            (SslMode::Prefer, ConnectFault::Authentication, "28P01", vec![true]),
            (SslMode::Prefer, ConnectFault::Hangup, "", vec![true]),
            (SslMode::Require, ConnectFault::Tls, "", vec![true]),
            (SslMode::VerifyFull, ConnectFault::Authentication, "28000", vec![true]),
            (SslMode::Disable, ConnectFault::Tls, "", vec![false]),
        ];
        for (mode, fault, code, expected) in table {
            let (tried, _) = ways(&Preference::default(), mode, &failed(fault, code));
            assert_eq!(tried, expected, "{mode} {fault:?} {code}");
        }
    }

    #[test]
    fn what_was_found_is_remembered_until_it_is_refused() {
        let preference = Preference::default();
        let failure = failed(ConnectFault::Tls, "");
        assert_eq!(ways(&preference, SslMode::Prefer, &failure), (vec![true, false], true));
        assert_eq!(ways(&preference, SslMode::Prefer, &failure), (vec![false], true));
        assert!(preference.remembered("db.test", Instant::now() + REMEMBERED).is_none());
        let lost = preference.dial(SslMode::Prefer, "db.test", &attempt(), |way| {
            assert_ne!(way, Way::Tls);
            Err::<(), _>(failed(ConnectFault::Authentication, "28000"))
        });
        assert!(lost.is_err());
        assert_eq!(ways(&preference, SslMode::Prefer, &failure), (vec![true, false], true));
    }

    #[test]
    fn a_plain_dial_that_failed_too_is_not_remembered() {
        let preference = Preference::default();
        let error = |second: &ConnectError| {
            let outcome = preference.dial(SslMode::Prefer, "db.test", &attempt(), |way| {
                let tls = failed(ConnectFault::Tls, "");
                Err::<(), _>(if way == Way::Tls { tls } else { second.clone() })
            });
            outcome.expect_err("both fail").fault()
        };
        let refused = failed(ConnectFault::Authentication, "28000");
        assert_eq!(error(&refused), ConnectFault::Tls, "the server wants TLS");
        let full = failed(ConnectFault::Saturated, "53300");
        assert_eq!(error(&full), ConnectFault::Saturated);
    }
}
