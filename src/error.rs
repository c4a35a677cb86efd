//! The crate's error: what this layer was doing, with numbers; the driver's own
//! error is its `source()`.

mod connect;
pub(crate) mod fault;
mod kind;

pub use connect::{ConnectError, ConnectFault, Phase};
pub use fault::{Classify, Fault, FaultClass, Repeat, Usability, fault_of};
pub use kind::ErrorKind;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A foreign error as this crate carries it.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a pool, of its drivers or of a manager.
///
/// [`kind`](Error::kind) says what failed, [`source`](StdError::source) is the
/// driver's own error where there is one, so that
/// `error.source().and_then(|e| e.downcast_ref::<postgres::Error>())` works, and
/// the text holds the numbers of the pool at that moment. It is as small as a
/// pointer.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    levels: Option<Levels>,
    waited: Option<Duration>,
    down_for: Option<Duration>,
    source: Option<Source>,
    /// What is known of the fault beyond what kind and source tell.
    fault: Option<Fault>,
    connection: Option<ConnectionIdentity>,
    attempts: u32,
}

/// Which connection it was, for whoever looks it up in a server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionIdentity {
    /// The pool's name.
    pub pool: String,
    /// The connection's number, as log lines and events name it.
    pub number: u64,
    /// The server's own number of the session: PostgreSQL's process id, or MySQL's
    /// connection id; `None` where the driver does not tell.
    pub server_process: Option<u64>,
}

impl fmt::Display for ConnectionIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}: connection {}", self.pool, self.number)?;
        match self.server_process {
            Some(id) => write!(f, " (server process {id})"),
            None => Ok(()),
        }
    }
}

enum Source {
    Own(BoxError),
    Connect(ConnectError),
}

/// How full a pool was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Levels {
    /// Most connections that may be open, being opened and being closed.
    pub max_size: u32,
    /// Connections that are open: idle and in use.
    pub open: u32,
    /// Connections that are checked out.
    pub in_use: u32,
    /// Connections that wait in the pool for a caller.
    pub idle: u32,
    /// Connections that are being opened.
    pub pending: u32,
    /// Connections closed by us whose end the server has not confirmed yet.
    pub closing: u32,
    /// Callers that wait for a connection.
    pub waiting: u32,
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "max size {}, in use {}, idle {}, pending {}, closing {}, waiting {}",
            self.max_size, self.in_use, self.idle, self.pending, self.closing, self.waiting
        )
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        let message = message.into();
        Error(Box::new(Inner {
            kind,
            message,
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
        let message = cause.to_string();
        let mut error = Error::new(ErrorKind::Connect, message);
        error.0.source = Some(Source::Connect(cause));
        error
    }

    /// The driver's error while it did `what` for one of the pool's own methods.
    pub(crate) fn driver(what: impl Into<String>, cause: impl Into<BoxError>) -> Error {
        Error::new(ErrorKind::Driver, what).with_source(cause)
    }

    /// Wraps an error of your own, to leave a transaction's closure with it.
    ///
    /// The kind is [`ErrorKind::Caller`], and [`source`](StdError::source) gives
    /// your error back.
    ///
    /// ```
    /// use std::error::Error as _;
    /// let error = poolwarden::Error::caller("the account is empty");
    /// assert_eq!(error.kind(), poolwarden::ErrorKind::Caller);
    /// assert_eq!(error.source().unwrap().to_string(), "the account is empty");
    /// ```
    pub fn caller(cause: impl Into<BoxError>) -> Error {
        Error::new(ErrorKind::Caller, "the caller's own error").with_source(cause)
    }

    pub(crate) fn with_source(mut self, cause: impl Into<BoxError>) -> Error {
        self.0.source = Some(Source::Own(cause.into()));
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

    /// Adds for how long no attempt to open a connection has succeeded.
    pub(crate) fn with_down_for(mut self, time: Duration) -> Error {
        use std::fmt::Write as _;
        let _ = write!(self.0.message, "; no connection could be opened for {time:.1?}");
        self.0.down_for = Some(time);
        self
    }

    /// The same failure, of which more is known; the source stays.
    pub(crate) fn retold(mut self, kind: ErrorKind, message: String) -> Error {
        self.0.kind = kind;
        self.0.message = message;
        self.0.fault = None;
        self
    }

    pub(crate) fn with_connection(mut self, connection: ConnectionIdentity) -> Error {
        self.0.connection = Some(connection);
        self
    }

    /// Adds what else is known of the cause, and what follows from it.
    pub(crate) fn explained(mut self, more: &str, fault: Fault) -> Error {
        use std::fmt::Write as _;
        let _ = write!(self.0.message, "; {more}");
        self.with_fault(fault)
    }

    /// The same error of a connection that was lost while the server may have done
    /// the work.
    pub(crate) fn into_unknown(mut self, connection: ConnectionIdentity, when: &str) -> Error {
        let fault = self.fault().with_repeat(Repeat::OutcomeUnknown);
        self.0.message = format!(
            "{connection} was lost {when}: what was sent may or may not have been done: {}",
            self.0.message
        );
        self.0.kind = ErrorKind::OutcomeUnknown;
        self.with_connection(connection).with_fault(fault)
    }

    pub(crate) fn with_attempts(mut self, attempts: u32) -> Error {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn with_fault(mut self, fault: Fault) -> Error {
        self.0.fault = Some(fault);
        self
    }

    /// Says what the error means for the connection and for the work.
    ///
    /// Where the error wraps one of a driver, also by [`Error::caller`], it is that
    /// one's.
    pub fn fault(&self) -> Fault {
        self.0.fault.unwrap_or_else(|| self.fault_by_kind())
    }

    fn fault_by_kind(&self) -> Fault {
        let usable = |class, repeat| Fault::new(class, Usability::Usable, repeat);
        match self.0.kind {
            ErrorKind::Connect => match &self.0.source {
                Some(Source::Connect(cause)) => Fault::of_connect(cause.fault()),
                _ => usable(FaultClass::Other, Repeat::Permanent),
            },
            // Why no connection could be opened says more than that time was over.
            ErrorKind::CheckoutTimeout => match &self.0.source {
                Some(Source::Connect(cause)) => {
                    Fault::of_connect(cause.fault()).with_repeat(Repeat::NothingSent)
                }
                _ => usable(FaultClass::TimedOut, Repeat::NothingSent),
            },
            ErrorKind::QueueFull => usable(FaultClass::Saturated, Repeat::NothingSent),
            ErrorKind::Config => usable(FaultClass::Configuration, Repeat::Permanent),
            ErrorKind::Closed => usable(FaultClass::Other, Repeat::Permanent),
            // Not the class of the source: nobody but this pool has stopped it.
            ErrorKind::StatementTimeout => {
                let of_source = self.fault_of_source().map(Fault::repeat);
                usable(FaultClass::TimedOut, of_source.unwrap_or(Repeat::Permanent))
            }
            ErrorKind::StatementAbandoned => {
                Fault::new(FaultClass::TimedOut, Usability::Broken, Repeat::OutcomeUnknown)
            }
            ErrorKind::Cancel => usable(FaultClass::Other, Repeat::OutcomeUnknown),
            ErrorKind::AsyncContext | ErrorKind::RowCount | ErrorKind::RowLimit => {
                usable(FaultClass::Usage, Repeat::Permanent)
            }
            ErrorKind::OutcomeUnknown => self.fault_of_source().unwrap_or(Fault::new(
                FaultClass::Disconnected,
                Usability::Broken,
                Repeat::OutcomeUnknown,
            )),
            ErrorKind::RetriesExhausted | ErrorKind::Driver | ErrorKind::Caller => {
                let class = if self.0.kind == ErrorKind::Caller {
                    FaultClass::Caller
                } else {
                    FaultClass::Other
                };
                self.fault_of_source().unwrap_or(usable(class, Repeat::Permanent))
            }
        }
    }

    fn fault_of_source(&self) -> Option<Fault> {
        self.source().and_then(fault::in_chain)
    }

    /// Says what failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Tells how full the pool was, for errors of a check-out.
    pub fn levels(&self) -> Option<&Levels> {
        self.0.levels.as_ref()
    }

    /// Tells how long the caller had waited, for errors of a check-out.
    pub fn waited(&self) -> Option<Duration> {
        self.0.waited
    }

    /// Returns which connection was lost, for
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown).
    pub fn connection(&self) -> Option<&ConnectionIdentity> {
        self.0.connection.as_ref()
    }

    /// Returns how many attempts were made; 1 where no policy asked for more.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Tells for how long no connection could be opened, if that was known when the
    /// caller came: it was answered at once then.
    pub fn down_for(&self) -> Option<Duration> {
        self.0.down_for
    }

    /// Returns the failed attempt to open a connection behind this error.
    ///
    /// Present for [`ErrorKind::Connect`], and for a check-out that timed out
    /// while the last attempt to open a connection had failed.
    pub fn connect_error(&self) -> Option<&ConnectError> {
        match &self.0.source {
            Some(Source::Connect(cause)) => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(source) = self.source() {
            out.field("source", &format_args!("{source}"));
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

macro_rules! from_driver_error {
    ($feature:literal, $error:ty) => {
        #[cfg(feature = $feature)]
        impl From<$error> for Error {
            /// Lets `?` leave a transaction's closure with the driver's error.
            fn from(cause: $error) -> Error {
                Error::driver("a statement failed", cause)
            }
        }
    };
}

from_driver_error!("postgres", postgres::Error);
from_driver_error!("mysql", mysql::Error);
from_driver_error!("sqlite", rusqlite::Error);

/// A foreign error that several callers may be told of.
pub(crate) type SharedError = Arc<dyn StdError + Send + Sync + 'static>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_as_small_as_a_pointer_and_crosses_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        crosses::<ConnectError>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn the_text_says_what_this_layer_did_and_the_source_says_why() {
        let error = Error::driver("query failed", "relation does not exist");
        assert_eq!(error.to_string(), "query failed");
        assert_eq!(error.source().expect("a source").to_string(), "relation does not exist");
    }
}
