//! The crate's error: what this layer was doing, with numbers; the driver's own
//! error is its `source()`.

use super::cause;
use super::connect_error::ConnectError;
use super::connection_identity::ConnectionIdentity;
use super::foreign::BoxError;
use super::kind::ErrorKind;
use super::levels::Levels;
use crate::error::fault::{Fault, FaultClass, RetrySafety, Usability, of_driver};
use crate::sys::human_duration::HumanDuration;
use crate::sys::one_line::one_line;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a pool, of its drivers or of a manager.
///
/// [`kind`](Error::kind) is the operation that failed, [`source`](StdError::source) is
/// the driver's own error where there is one, so that
/// `error.source().and_then(|e| e.downcast_ref::<postgres::Error>())` works, and
/// the text holds the pool's numbers at that moment. It has the size of a pointer.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    /// The name of the pool, for the beginning of the text.
    pool: Option<String>,
    /// What this layer was doing.
    message: String,
    /// The text of the source; fixed here, so that no foreign code runs in `Display`.
    cause: Option<String>,
    /// What follows the cause in the text.
    remark: String,
    /// The callers that hold connections, one entry each.
    holders: Vec<String>,
    levels: Option<Levels>,
    waited: Option<Duration>,
    down_for: Option<Duration>,
    source: Option<Source>,
    /// The fault, where more is known than kind and source imply.
    fault: Option<Fault>,
    connection: Option<ConnectionIdentity>,
    attempts: u32,
}

enum Source {
    Own(BoxError),
    Connect(ConnectError),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        // It may contain a file's or a host's name.
        let message = one_line(&message.into()).into_owned();
        Error(Box::new(Inner {
            kind,
            pool: None,
            message,
            cause: None,
            remark: String::new(),
            holders: Vec::new(),
            levels: None,
            waited: None,
            down_for: None,
            source: None,
            fault: None,
            connection: None,
            attempts: 1,
        }))
    }

    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Config, message)
    }

    pub(crate) fn connect(cause: ConnectError) -> Error {
        Error::new(ErrorKind::Connect, String::new()).with_connect_source(cause)
    }

    /// Creates the error of a driver call; `what` is what the pool was doing.
    pub(crate) fn driver(what: impl Into<String>, cause: impl Into<BoxError>) -> Error {
        Error::new(ErrorKind::Driver, what).with_source(cause)
    }

    /// Wraps an error of your own, to return it from a transaction's closure.
    ///
    /// The kind is [`ErrorKind::Caller`], and [`source`](StdError::source) returns
    /// your error.
    ///
    /// ```
    /// use std::error::Error as _;
    /// let error = poolwarden::Error::caller("the account is empty");
    /// assert_eq!(error.kind(), poolwarden::ErrorKind::Caller);
    /// assert_eq!(error.source().unwrap().to_string(), "the account is empty");
    /// ```
    pub fn caller(cause: impl Into<BoxError>) -> Error {
        Error::new(ErrorKind::Caller, "caller's error").with_source(cause)
    }

    pub(crate) fn with_source(mut self, cause: impl Into<BoxError>) -> Error {
        let cause = cause.into();
        self.0.cause = Some(cause::text(&*cause));
        if let Some(own) = cause.downcast_ref::<Error>() {
            self.0.pool = self.0.pool.take().or_else(|| own.0.pool.clone());
        }
        self.0.source = Some(Source::Own(cause));
        self
    }

    /// Sets the pool whose name begins the text, unless one is set.
    pub(crate) fn in_pool(mut self, name: &str) -> Error {
        self.0.pool.get_or_insert_with(|| one_line(name).into_owned());
        self
    }

    /// Sets the callers that hold connections, one entry each.
    pub(crate) fn with_holders(mut self, holders: Vec<String>) -> Error {
        self.0.holders = holders;
        self
    }

    pub(crate) fn with_connect_source(mut self, cause: ConnectError) -> Error {
        self.0.source = Some(Source::Connect(cause));
        self
    }

    pub(crate) fn with_levels(mut self, levels: Levels) -> Error {
        self.0.levels = Some(levels);
        self
    }

    pub(crate) fn with_waited(mut self, waited: Duration) -> Error {
        self.0.waited = Some(waited);
        self
    }

    /// Sets for how long every attempt to open a connection has failed.
    pub(crate) fn with_down_for(mut self, time: Duration) -> Error {
        self.0.down_for = Some(time);
        self.with_remark(&format!("connecting has failed for {}", HumanDuration(time)))
    }

    /// Replaces kind and text, and keeps the source.
    pub(crate) fn reworded(mut self, kind: ErrorKind, message: String) -> Error {
        self.0.kind = kind;
        self.0.message = message;
        self.0.fault = None;
        self
    }

    pub(crate) fn with_connection(mut self, connection: ConnectionIdentity) -> Error {
        self.0.connection = Some(connection);
        self
    }

    /// Appends a remark to the text.
    pub(crate) fn with_remark(mut self, remark: &str) -> Error {
        self.0.remark += "; ";
        self.0.remark += &one_line(remark);
        self
    }

    /// Appends another part of the cause to the text, and sets the fault.
    pub(crate) fn explained(self, more: &str, fault: Fault) -> Error {
        self.with_remark(more).with_fault(fault)
    }

    /// Turns the error into an unknown outcome: the connection was lost, and the server
    /// may have done the work.
    pub(crate) fn into_unknown(mut self, connection: ConnectionIdentity, when: &str) -> Error {
        let fault = self.fault().with_retry_safety(RetrySafety::OutcomeUnknown);
        self.0.message = format!(
            "{connection} was lost {when}; the work may have taken effect: {}",
            self.0.message
        );
        self.0.kind = ErrorKind::OutcomeUnknown;
        self.with_connection(connection).with_fault(fault)
    }

    /// Turns the error into an unknown outcome of work that is not reported as done,
    /// although the server may have done it; `why` says how that can be.
    pub(crate) fn may_stand(mut self, pool: &str, why: &str) -> Error {
        let fault = self.fault().with_retry_safety(RetrySafety::OutcomeUnknown);
        self.0.message = format!("{why}: {}", self.0.message);
        self.0.kind = ErrorKind::OutcomeUnknown;
        self.in_pool(pool).with_fault(fault)
    }

    pub(crate) fn with_attempts(mut self, attempts: u32) -> Error {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn with_fault(mut self, fault: Fault) -> Error {
        self.0.fault = Some(fault);
        self
    }

    /// Returns what the error means for the connection and for the work.
    ///
    /// An error that wraps a driver's error, also one from [`Error::caller`], has the
    /// driver error's fault.
    pub fn fault(&self) -> Fault {
        self.0.fault.unwrap_or_else(|| self.fault_by_kind())
    }

    fn fault_by_kind(&self) -> Fault {
        let usable = |class, repeat| Fault::new(class, Usability::Usable, repeat);
        match self.0.kind {
            ErrorKind::Connect => match &self.0.source {
                Some(Source::Connect(cause)) => cause.fault(),
                _ => usable(FaultClass::Other, RetrySafety::Permanent),
            },
            // The cause of the failed connect says more than the timeout.
            ErrorKind::CheckoutTimeout => match &self.0.source {
                Some(Source::Connect(cause)) => {
                    cause.fault().with_retry_safety(RetrySafety::NothingSent)
                }
                _ => usable(FaultClass::TimedOut, RetrySafety::NothingSent),
            },
            ErrorKind::QueueFull => usable(FaultClass::Saturated, RetrySafety::NothingSent),
            ErrorKind::Config => usable(FaultClass::Configuration, RetrySafety::Permanent),
            ErrorKind::Closed => usable(FaultClass::Other, RetrySafety::Permanent),
            // Not the class of the source: the pool itself stopped the statement.
            ErrorKind::StatementTimeout => {
                let of_source = self.fault_of_source().map(Fault::retry_safety);
                usable(FaultClass::TimedOut, of_source.unwrap_or(RetrySafety::Permanent))
            }
            ErrorKind::StatementAbandoned => {
                Fault::new(FaultClass::TimedOut, Usability::Broken, RetrySafety::OutcomeUnknown)
            }
            ErrorKind::Cancel => usable(FaultClass::Other, RetrySafety::OutcomeUnknown),
            ErrorKind::AsyncContext
            | ErrorKind::Forked
            | ErrorKind::RowCount
            | ErrorKind::RowLimit
            | ErrorKind::ByteLimit => usable(FaultClass::Usage, RetrySafety::Permanent),
            ErrorKind::OutcomeUnknown => self.fault_of_source().unwrap_or(Fault::new(
                FaultClass::Disconnected,
                Usability::Broken,
                RetrySafety::OutcomeUnknown,
            )),
            // The caller's work had not begun.
            ErrorKind::Hook => match self.fault_of_source() {
                Some(fault) if fault.retry_safety() == RetrySafety::Permanent => fault,
                Some(fault) => fault.with_retry_safety(RetrySafety::NothingSent),
                None => usable(FaultClass::Other, RetrySafety::Permanent),
            },
            ErrorKind::RetriesExhausted | ErrorKind::Driver | ErrorKind::Caller => {
                let class = if self.0.kind == ErrorKind::Caller {
                    FaultClass::Caller
                } else {
                    FaultClass::Other
                };
                self.fault_of_source().unwrap_or(usable(class, RetrySafety::Permanent))
            }
        }
    }

    fn fault_of_source(&self) -> Option<Fault> {
        self.source().and_then(fault_in_chain)
    }

    /// Returns which operation failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns how full the pool was, for errors of a check-out.
    pub fn levels(&self) -> Option<&Levels> {
        self.0.levels.as_ref()
    }

    /// Returns how long the caller had waited, for errors of a check-out.
    pub fn waited(&self) -> Option<Duration> {
        self.0.waited
    }

    /// Returns the connection that was lost, for
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown).
    pub fn connection(&self) -> Option<&ConnectionIdentity> {
        self.0.connection.as_ref()
    }

    /// Returns how many attempts were made; 1 without a retry policy.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns for how long every attempt to connect had failed, if the pool knew it when
    /// the call began: the call failed fast then.
    pub fn down_for(&self) -> Option<Duration> {
        self.0.down_for
    }

    /// Returns the failed attempt to open a connection behind this error.
    ///
    /// Present for [`ErrorKind::Connect`], and for a check-out that timed out after
    /// the last attempt to open a connection had failed.
    pub fn connect_error(&self) -> Option<&ConnectError> {
        match &self.0.source {
            Some(Source::Connect(cause)) => Some(cause),
            _ => None,
        }
    }
}

/// One line: the pool, what it was doing, the server's primary message and code (or the
/// driver's own text), and the callers that hold connections. The alternate form (`{:#}`)
/// leaves out the cause, for printers of the whole chain, and has a line for each holder.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let prefix = inner.pool.as_ref().map(|name| format!("pool {name}: ")).unwrap_or_default();
        if !inner.message.starts_with(&prefix) {
            f.write_str(&prefix)?;
        }
        match &inner.source {
            Some(Source::Connect(cause)) if inner.kind == ErrorKind::Connect => {
                fmt::Display::fmt(cause, f)?;
            }
            Some(Source::Connect(cause)) => {
                write!(f, "{}; last connect error: ", inner.message)?;
                fmt::Display::fmt(cause, f)?;
            }
            _ => f.write_str(&inner.message)?,
        }
        if let Some(cause) = inner.cause.as_ref().filter(|_| !f.alternate()) {
            let cause = cause.strip_prefix(&prefix).unwrap_or(cause);
            if !inner.message.contains(cause) {
                write!(f, ": {cause}")?;
            }
        }
        f.write_str(&inner.remark)?;
        match &*inner.holders {
            [] => Ok(()),
            holders if f.alternate() => holders.iter().try_for_each(|one| write!(f, "\n  {one}")),
            holders => write!(f, "; held: {}", holders.join(", ")),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("message", &self.to_string());
        if let Some(source) = self.source() {
            out.field("chain", &cause::chain(source));
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.0.source.as_ref()? {
            Source::Own(cause) => Some(&**cause),
            Source::Connect(cause) => cause.source(),
        }
    }
}

/// Returns the fault of the first error in a chain of causes whose fault is known.
fn fault_in_chain(mut error: &(dyn StdError + 'static)) -> Option<Fault> {
    loop {
        let own = || error.downcast_ref::<Error>().map(Error::fault);
        if let Some(fault) = of_driver(error).or_else(own) {
            return Some(fault);
        }
        error = error.source()?;
    }
}

macro_rules! from_driver_error {
    ($feature:literal, $error:ty) => {
        #[cfg(feature = $feature)]
        impl From<$error> for Error {
            /// Lets `?` return the driver's error from a transaction's closure.
            fn from(cause: $error) -> Error {
                Error::driver("the statement failed", cause)
            }
        }
    };
}

from_driver_error!("postgres", postgres::Error);
from_driver_error!("mysql", mysql::Error);
from_driver_error!("sqlite", rusqlite::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_size_of_a_pointer_and_is_send_and_sync() {
        fn is_send_and_sync<T: Send + Sync + 'static>() {}
        is_send_and_sync::<Error>();
        is_send_and_sync::<ConnectError>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn the_text_ends_with_the_cause_and_the_source_is_the_drivers_error() {
        let error = Error::driver("query failed", "relation does not exist").in_pool("p");
        assert_eq!(error.to_string(), "pool p: query failed: relation does not exist");
        assert_eq!(format!("{error:#}"), "pool p: query failed");
        assert_eq!(error.source().expect("a source").to_string(), "relation does not exist");
    }
}
