//! How a connection can be checked without a round trip.

/// How a connection can be checked without a round trip.
#[derive(Debug)]
#[non_exhaustive]
pub enum SocketAccess<'a> {
    /// A socket that can be peeked, and shut down to end a blocking call on it.
    #[cfg(unix)]
    Socket(std::os::fd::BorrowedFd<'a>),
    /// No connection that could be lost: the database is in this process.
    InProcess,
    /// There is a connection, but its socket is not accessible: it is pinged instead.
    Unavailable,
}

/// What to do with bytes that arrived on an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsolicited {
    /// They are harmless: hand the connection out.
    Keep,
    /// They are unexpected, or could be taken for a later reply: discard.
    Close,
    /// Unknown: ping the server.
    Ping,
}
