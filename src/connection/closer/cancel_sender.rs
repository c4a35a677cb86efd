//! Sends one request to cancel a statement: bounded in time, and within the permits.

use super::close_job::{CloseJob, CloseMode};
use super::close_queue::submit;
use crate::config::TcpOptions;
use crate::connection::permits::{Permit, Permits};
use crate::driver::{Attempt, AttemptOptions, Cancelled, Canceller, bound};
use crate::error::BoxError;
use crate::sys::catch_panic::catch_panic;
use crate::sys::human_duration::HumanDuration;
use crate::sys::sockets::Descriptor;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Cancels the statement of one connection; clones cancel the same connection's.
#[derive(Clone)]
pub(crate) struct Stop {
    pub(crate) canceller: Canceller,
    /// The permits that the request's own connection counts against, if it is a session
    /// of the server.
    pub(crate) permits: Option<Arc<Permits>>,
    pub(crate) tcp: TcpOptions,
    /// How long the request's permit is held for the server to confirm the close.
    pub(crate) grace: Duration,
}

/// There is no permit for the connection that the request needs.
#[derive(Debug)]
struct NoPermit;

impl fmt::Display for NoPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no permit was free for the cancel request's own connection; with statement_timeout, \
             and a max_size and shared permits above 1, one is reserved for it",
        )
    }
}

impl std::error::Error for NoPermit {}

/// The request did not end in time.
#[derive(Debug)]
struct TimedOut(Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cancel request did not end within {}", HumanDuration(self.0))
    }
}

impl std::error::Error for TimedOut {}

impl Stop {
    /// Returns `true` if the statement runs in this process and no request is sent.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.canceller, Canceller::Local(_))
    }

    /// Returns `true` if nothing of a failed request can have reached the server.
    pub(crate) fn was_never_sent(error: &BoxError) -> bool {
        error.is::<NoPermit>()
    }

    /// Sends one request. Blocks for at most `timeout`; where no permit is reserved for
    /// requests, waits for one for at most `permit_timeout`.
    pub(crate) fn send(
        &self,
        timeout: Duration,
        permit_timeout: Duration,
    ) -> Result<Cancelled, BoxError> {
        let request = match &self.canceller {
            Canceller::Local(stop) => {
                catch_panic(|| stop())?;
                return Ok(Cancelled::Done);
            }
            Canceller::Remote(request) => request,
        };
        let now = Instant::now();
        let attempt = Arc::new(Attempt::new(
            now,
            AttemptOptions { timeout, tcp: self.tcp, ..AttemptOptions::default() },
        ));
        let permit = match &self.permits {
            Some(permits) => {
                let any = attempt.deadline().min(now + permit_timeout);
                Some(permits.take_control_until(attempt.deadline(), any).ok_or(NoPermit)?)
            }
            None => None,
        };
        let watch = bound(&attempt);
        let outcome = catch_panic(|| request(&attempt));
        drop(watch);
        if let Some(permit) = permit {
            self.close(permit, attempt.take_socket(), attempt.is_expired());
        }
        if attempt.is_expired() {
            // The driver's error about a socket that we shut down would mislead.
            return Err(TimedOut(timeout).into());
        }
        outcome?
    }

    /// The permit is released when the server has closed the request's connection.
    fn close(&self, permit: Permit, socket: Option<Descriptor>, aborted: bool) {
        submit(CloseJob {
            connection: Box::new(()),
            socket,
            permit: Some(permit),
            grace: self.grace,
            mode: if aborted { CloseMode::Abort } else { CloseMode::Graceful },
        });
    }
}
