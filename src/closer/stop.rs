//! One request to stop a statement: bounded in time, and within the cap.

use super::{Farewell, Manner};
use crate::budget::{Budget, Permit};
use crate::driver::{Attempt, Cancelled, Canceller, Terms};
use crate::error::BoxError;
use crate::fence::fence;
use crate::liveness::Descriptor;
use crate::tcp::TcpOptions;
use crate::watchdog;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What stops the statement of one connection; clones stop the same.
#[derive(Clone)]
pub(crate) struct Stop {
    pub(crate) canceller: Canceller,
    /// The cap that the request's own connection counts against, if it is a session
    /// of the server.
    pub(crate) budget: Option<Arc<Budget>>,
    pub(crate) tcp: TcpOptions,
    /// How long a request's permit waits for the server to let go.
    pub(crate) grace: Duration,
}

/// There is no permit for the connection that the request needs.
#[derive(Debug)]
struct NoPermit;

impl fmt::Display for NoPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the cap has no connection left for the request; with statement_timeout and a \
             max_size above 1 one is kept",
        )
    }
}

impl std::error::Error for NoPermit {}

/// The request did not end in time.
#[derive(Debug)]
struct TooLate(Duration);

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request to cancel did not end within {:?}", self.0)
    }
}

impl std::error::Error for TooLate {}

impl Stop {
    /// Tells whether it stops in this process, without a request.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.canceller, Canceller::Local(_))
    }

    /// Tells of a failed request that nothing of it can have reached the server.
    pub(crate) fn was_never_sent(error: &BoxError) -> bool {
        error.is::<NoPermit>()
    }

    /// Sends one request. Blocks for at most the time given, once its connection is
    /// made; where no permit is
    /// kept for requests, waits for one for as long as `patience`.
    pub(crate) fn send(
        &self,
        timeout: Duration,
        patience: Duration,
    ) -> Result<Cancelled, BoxError> {
        let request = match &self.canceller {
            Canceller::Local(stop) => {
                fence(|| stop())?;
                return Ok(Cancelled::Done);
            }
            Canceller::Remote(request) => request,
        };
        let now = Instant::now();
        let attempt =
            Arc::new(Attempt::new(now, Terms { timeout, tcp: self.tcp, ..Terms::default() }));
        let permit = match &self.budget {
            Some(budget) => {
                let any = attempt.deadline().min(now + patience);
                Some(budget.take_control_until(attempt.deadline(), any).ok_or(NoPermit)?)
            }
            None => None,
        };
        let watch = watchdog::bound(&attempt);
        let outcome = fence(|| request(&attempt));
        drop(watch);
        if let Some(permit) = permit {
            self.part(permit, attempt.take_socket(), attempt.is_expired());
        }
        if attempt.is_expired() {
            // What the driver says of a socket that we cut would only mislead.
            return Err(TooLate(timeout).into());
        }
        outcome?
    }

    /// The permit goes back when the server has let go of the request's connection.
    fn part(&self, permit: Permit, socket: Option<Descriptor>, cut: bool) {
        super::submit(Farewell {
            connection: Box::new(()),
            socket,
            permit: Some(permit),
            grace: self.grace,
            manner: if cut { Manner::Cut } else { Manner::Orderly },
        });
    }
}
