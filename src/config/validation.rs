//! How an idle connection is checked before it is handed out.

/// How an idle connection is checked before it is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validation {
    /// Peeks at the socket, one system call and no round trip, and pings only after an
    /// idle time of `ping_after` or after an unexpected loss of another connection.
    #[default]
    Peek,
    /// Peeks, then pings, one round trip, at every check-out.
    AlwaysPing,
    /// As `Peek` without the system call: asks whether a thread of the process, which the
    /// kernel tells of every end, has noticed one.
    ///
    /// A connection that the peer has closed is handed out within the moment that the notice
    /// takes: about 0.1 ms on a quiet computer, and for as long as that thread does not get a
    /// processor on a busy one: 5 ms (median) and 16 ms (95th percentile) while 8 threads used
    /// both of two processors up (`benches/watch_window.rs`). Data on an idle connection goes
    /// unnoticed. A connection that cannot be watched is peeked at: on systems other than Linux,
    /// or while the process can start no thread.
    Watch,
    /// Checks only the lifetime. A connection that the server closed is handed out: for
    /// benchmarks, and for servers that never close a connection.
    Off,
}
