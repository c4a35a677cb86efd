//! Tries the candidates of an attempt until one accepts a connection.

use super::candidates::{Candidate, Candidates, Wanted};
use super::servers::Servers;
use crate::driver::attempt::Attempt;
use crate::error::{ConnectError, FaultClass};
use std::time::Duration;

impl Servers {
    /// Opens a connection to the first server that accepts one, within the attempt's
    /// deadline. `dial` opens one candidate.
    ///
    /// Each endpoint, and each address of it, has an equal share of the time that is left,
    /// so that one that does not respond leaves time for the others.
    ///
    /// # Errors
    ///
    /// That of the last candidate, or the first one by which no other candidate can do
    /// better, with what the earlier ones failed of.
    pub(crate) fn open<R: Copy, T>(
        &self,
        wanted: &Wanted<'_, R>,
        attempt: &Attempt,
        mut dial: impl FnMut(&Candidate<'_, R>) -> Result<T, ConnectError>,
    ) -> Result<T, ConnectError> {
        let mut candidates = Candidates::new(self, wanted, attempt)?;
        let mut failed: Vec<ConnectError> = Vec::new();
        while let Some(mut candidate) = candidates.next() {
            let error = match within_share(&mut candidate, attempt, &mut dial) {
                Ok(connected) => {
                    candidates.succeeded(&candidate);
                    return Ok(connected);
                }
                Err(error) => candidates.failed(&candidate, error),
            };
            match error.class() {
                _ if attempt.is_expired() => return Err(error.after(failed)),
                FaultClass::Tls | FaultClass::Authentication
                    if candidates.without_tls(&candidate, &error) => {}
                FaultClass::Authentication if candidates.as_another(&candidate) => {}
                // PostgreSQL documentation, "Specifying Multiple Hosts": after a failed
                // authentication the remaining hosts are not tried. Another address of the
                // same server would return the same error.
                FaultClass::Authentication
                | FaultClass::UnknownDatabase
                | FaultClass::Configuration => return Err(error.after(failed)),
                fault => {
                    failed.push(error);
                    if fault == FaultClass::TimedOut {
                        // It would not answer a close either.
                        drop(attempt.take_socket());
                    }
                }
            }
            let_go(attempt);
        }
        let none = || ConnectError::new(FaultClass::UnknownHost, self.label());
        Err(failed.pop().unwrap_or_else(none).after(failed))
    }
}

/// Dials one candidate within its share of the time.
fn within_share<R: Copy, T>(
    candidate: &mut Candidate<'_, R>,
    attempt: &Attempt,
    dial: &mut impl FnMut(&Candidate<'_, R>) -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    if let Some(error) = candidate.unresolved.take() {
        return Err(error);
    }
    if let Some(deadline) = candidate.deadline {
        attempt.begin_host(deadline);
    }
    let outcome = dial(candidate);
    let is_cut = attempt.end_host() && candidate.deadline.is_some();
    outcome.map_err(|error| if is_cut { error.into_timed_out() } else { error })
}

/// How long the next dial waits at most for the server to end the session of the last one.
const LET_GO_WITHIN: Duration = Duration::from_secs(2);

/// Closes the socket of the last dial and waits until the server has closed its end: to the
/// server an attempt is never more than one connection.
///
/// A driver that does not show its socket has closed it by itself.
fn let_go(attempt: &Attempt) {
    if let Some(socket) = attempt.take_socket() {
        socket.finish();
        socket.wait_ended_by_peer(LET_GO_WITHIN.min(attempt.remaining() / 2));
    }
}
