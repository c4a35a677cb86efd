//! Why a connection was closed.

use std::borrow::Cow;
use std::fmt;

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $planned:literal, $phrase:literal;)+) => {
        /// Why a connection was closed. Every close has exactly one reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum CloseReason {
            $($(#[$doc])* $name,)+
        }

        impl CloseReason {
            /// All reasons, in the order in which a snapshot prints them.
            pub const ALL: &'static [CloseReason] = &[$(CloseReason::$name,)+];

            /// Returns the reason's name for logs and metrics, in snake case.
            pub fn as_str(self) -> &'static str {
                match self { $(CloseReason::$name => $text,)+ }
            }

            /// Says it in words, for a log line about a connection.
            pub(crate) fn phrase(self) -> &'static str {
                match self { $(CloseReason::$name => $phrase,)+ }
            }

            /// Tells whether the pool or its user decided on this close.
            ///
            /// A close that was not planned is logged as a warning.
            pub fn is_planned(self) -> bool {
                match self { $(CloseReason::$name => $planned,)+ }
            }
        }
    };
}

close_reasons! {
    /// Its lifetime, less its share of the jitter, was over.
    MaxLifetime = "max_lifetime", true,
        "its lifetime was over";
    /// It idled longer than `idle_timeout` beyond `min_idle`.
    IdleTimeout = "idle_timeout", true,
        "it idled too long";
    /// The pool was closed, or its last handle dropped.
    PoolClosed = "pool_closed", true,
        "the pool was closed";
    /// It came back while more connections were open than the pool may have.
    Surplus = "surplus", true,
        "more were open than may be";
    /// All connections were retired after its birth.
    Retired = "retired", true,
        "all connections were retired";
    /// The user discarded it.
    Discarded = "discarded", true,
        "its user discarded it";
    /// The user detached it: it left the pool open.
    Detached = "detached", true,
        "its user took it out of the pool";
    /// A bare `r2d2::Pool` dropped it.
    Released = "released", true,
        "the r2d2 pool dropped it";
    /// The server said that it ended the session by order or is shutting down.
    ServerShutdown = "server_shutdown", false,
        "the server ended the session";
    /// The server said that one of its processes crashed.
    ServerCrash = "server_crash", false,
        "the server crashed";
    /// The server said that the session idled too long for its own limit.
    ServerIdleTimeout = "server_idle_timeout", false,
        "the server ended an idle session";
    /// The server said something else before it closed.
    ServerError = "server_error", false,
        "the server ended the session";
    /// The other side closed it without a word (FIN).
    ServerClosed = "server_closed", false,
        "the other side closed it without a word";
    /// The other side, or something between, reset it (RST).
    ConnectionReset = "connection_reset", false,
        "the other side, or something between, reset it";
    /// The kernel gave up on the other side: no answer at all.
    NetworkTimeout = "network_timeout", false,
        "the network gave no answer at all";
    /// Data arrived on an idle connection that must not be there.
    Unsolicited = "unsolicited_data", false,
        "data arrived while it was idle";
    /// A ping got no answer in time.
    PingTimeout = "ping_timeout", false,
        "a ping was not answered in time";
    /// A ping was answered by an error.
    PingFailed = "ping_failed", false,
        "a ping failed";
    /// A sibling's ping timed out and nothing has proven this one since.
    Condemned = "condemned", false,
        "a ping of another one was not answered in time, and nothing has proven this one since";
    /// The server takes no writes, and the pool wants one that does.
    ReadOnly = "read_only", false,
        "its server takes no writes any more";
    /// The driver knows that it is unusable.
    Broken = "broken", false,
        "the driver found it unusable";
    /// It came back in a state that could not be cleaned.
    Dirty = "dirty", false,
        "it could not be cleaned";
    /// A query on it went over the row limit and was stopped.
    RowLimit = "row_limit", false,
        "a query on it went over the row limit";
    /// A statement on it went on after its time-out and a cancel, and it was shut down.
    StatementTimeout = "statement_timeout", false,
        "a statement on it went on after its time-out and a cancel";
    /// Its borrower's thread, its driver or a hook panicked.
    Panicked = "panicked", false,
        "its thread, its driver or a hook panicked";
}

impl CloseReason {
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A server's own words, as found in front of the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Words {
    /// The server's code: a SQLSTATE or a MySQL error number; may be empty.
    pub code: Cow<'static, str>,
    /// The server's text.
    pub text: String,
    /// The reason that this code stands for.
    pub reason: CloseReason,
}

impl Words {
    /// Makes the words of a driver whose server said `text` with `code`.
    pub fn new(code: impl Into<Cow<'static, str>>, text: String, reason: CloseReason) -> Words {
        Words { code: code.into(), text, reason }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.code {
            "" => f.write_str(&self.text),
            code => write!(f, "the server said {code} {}", self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_place() {
        let mut names: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.as_str()).collect();
        for (place, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
