//! Why a connection was closed.

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

            /// Returns the reason as a phrase for a log line about the connection.
            pub(crate) fn phrase(self) -> &'static str {
                match self { $(CloseReason::$name => $phrase,)+ }
            }

            /// Returns `true` if the pool or its user decided on this close.
            ///
            /// A close that was not planned is logged as a warning.
            pub fn is_planned(self) -> bool {
                match self { $(CloseReason::$name => $planned,)+ }
            }
        }
    };
}

close_reasons! {
    /// Its lifetime, shortened by its share of the jitter, had passed.
    MaxLifetime = "max_lifetime", true,
        "maximum lifetime reached";
    /// It was idle for longer than `idle_timeout`, and more than `min_idle` were idle.
    IdleTimeout = "idle_timeout", true,
        "idle timeout reached";
    /// The pool was closed, or its last handle dropped.
    PoolClosed = "pool_closed", true,
        "the pool was closed";
    /// It was checked in while the pool was over its maximum size.
    Surplus = "surplus", true,
        "pool is over its maximum size";
    /// It gave its slot to another session that waited for one, or lost it: see
    /// [`FleetCap`](crate::config::FleetCap).
    FleetTurn = "fleet_turn", true,
        "the fleet is at its cap, and another session waits for the slot";
    /// Its permit, which several pools share, went to another pool whose callers waited.
    GivenUp = "given_up", true,
        "shared permit went to another pool";
    /// All connections were retired after it had been opened.
    Retired = "retired", true,
        "all connections were retired";
    /// The user discarded it.
    Discarded = "discarded", true,
        "discarded by the caller";
    /// The user detached it: it left the pool without being closed.
    Detached = "detached", true,
        "detached from the pool by the caller";
    /// A bare `r2d2::Pool` dropped it.
    Released = "released", true,
        "dropped by the r2d2 pool";
    /// The server reported that an administrator ended the session or that it is
    /// shutting down.
    ServerShutdown = "server_shutdown", false,
        "the server ended the session";
    /// The server reported that one of its processes crashed.
    ServerCrash = "server_crash", false,
        "the server crashed";
    /// The server reported that the session exceeded the server's own idle timeout.
    ServerIdleTimeout = "server_idle_timeout", false,
        "the server ended an idle session";
    /// The server reported another error before it closed the connection.
    ServerError = "server_error", false,
        "the server ended the session with an error";
    /// The peer closed it without an error message (FIN).
    ServerClosed = "server_closed", false,
        "peer closed the connection unexpectedly";
    /// The peer, or a device on the path to it, reset the connection (RST).
    ConnectionReset = "connection_reset", false,
        "connection reset by the peer or on the way to the peer";
    /// The kernel gave up on the peer, which acknowledged nothing in time.
    NetworkTimeout = "network_timeout", false,
        "network timeout: the peer acknowledged nothing";
    /// Data arrived on an idle connection, on which none is expected.
    Unsolicited = "unsolicited_data", false,
        "unexpected data on the connection";
    /// A ping was not answered within its timeout.
    PingTimeout = "ping_timeout", false,
        "ping timed out";
    /// A ping failed with an error.
    PingFailed = "ping_failed", false,
        "ping failed";
    /// A ping of another connection timed out, and this one has not been verified since.
    SiblingPingTimeout = "sibling_ping_timeout", false,
        "not verified since a ping of another connection timed out";
    /// The server is read-only, and the pool requires a writable one.
    ReadOnly = "read_only", false,
        "server became read-only";
    /// The server is no standby any more, and the pool requires one.
    Promoted = "promoted", false,
        "server is no longer a standby";
    /// The driver reported that it is unusable.
    Broken = "broken", false,
        "reported as unusable by the driver";
    /// It was checked in with a session state that could not be reset.
    Dirty = "dirty", false,
        "session could not be reset";
    /// A query on it exceeded the row limit and was stopped.
    RowLimit = "row_limit", false,
        "a query exceeded the row limit";
    /// A query on it exceeded the byte limit and was stopped.
    ByteLimit = "byte_limit", false,
        "a query exceeded the byte limit";
    /// A statement kept running after its timeout and a cancel request, and the
    /// connection was shut down.
    StatementTimeout = "statement_timeout", false,
        "a statement kept running after its timeout, and was not cancelled";
    /// A hook did not accept it: it returned an error or took too long.
    Hook = "hook", false,
        "not accepted by a hook";
    /// The borrower's thread, the driver or a hook panicked.
    Panicked = "panicked", false,
        "the borrower, the driver or a hook panicked";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_and_an_index_of_its_own() {
        let mut names: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.as_str()).collect();
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }

    #[test]
    fn each_phrase_can_be_said_of_one_connection_and_of_several() {
        for reason in CloseReason::ALL {
            let words: Vec<_> = reason.phrase().split(' ').collect();
            let singular = words[0] == "its" || words.contains(&"it") || words.contains(&"this");
            assert!(!singular, "{}", reason.phrase());
        }
    }
}
