//! What failed, as a value to match on.

/// What failed.
///
/// ```
/// use poolwarden::ErrorKind;
/// # let kind = ErrorKind::CheckoutTimeout;
/// let status = match kind {
///     ErrorKind::CheckoutTimeout | ErrorKind::QueueFull | ErrorKind::Connect => 503,
///     _ => 500,
/// };
/// # assert_eq!(status, 503);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option is out of range, or two options contradict each other; the text names
    /// them.
    Config,
    /// A connection could not be opened; [`Error::connect_error`] has the class.
    ///
    /// [`Error::connect_error`]: crate::Error::connect_error
    Connect,
    /// The deadline of a check-out passed first.
    CheckoutTimeout,
    /// `max_waiting` callers were already waiting.
    QueueFull,
    /// The pool has been closed.
    Closed,
    /// This process was forked from one that has used this crate: the connections belong to
    /// the parent process, and no pool can be built here.
    Forked,
    /// The call would block a thread of an async runtime; move it to `spawn_blocking`. Or the
    /// thread is ending, and the driver cannot be used on it any more.
    AsyncContext,
    /// A hook did not accept the connection: that of
    /// [`Builder::on_checkout`](crate::Builder::on_checkout), or the closure of
    /// [`Pool::get_with`](crate::Pool::get_with). Its error is the source.
    Hook,
    /// The driver reported an error while one of the pool's own methods used it.
    Driver,
    /// A query that does not write returned more rows than `row_limit`.
    RowLimit,
    /// A query that does not write returned more bytes than `byte_limit`.
    ByteLimit,
    /// A query that does not write returned no row or several, where it must return one.
    RowCount,
    /// The server may have done the work, or a part of it: the connection was lost during
    /// COMMIT or during a statement that may write; the result of a write cannot be
    /// returned; a procedure, or a text of several statements, failed in its middle; or the
    /// closure of a transaction ended it by its own statement.
    ///
    /// [`Error::connection`] identifies the connection if it was lost.
    ///
    /// [`Error::connection`]: crate::Error::connection
    OutcomeUnknown,
    /// The pool's `statement_timeout` cancelled a statement; the connection stays open.
    ///
    /// The statement's changes are undone, except on tables without transactions.
    StatementTimeout,
    /// A statement kept running after the pool's `statement_timeout` and a cancel
    /// request, and the pool shut its connection down. The server may complete the
    /// statement.
    StatementAbandoned,
    /// Every attempt that a [`RetryPolicy`](crate::RetryPolicy) allows failed; the
    /// source is the error of the last one.
    RetriesExhausted,
    /// A cancel request failed; the statement may still be running.
    Cancel,
    /// The caller's own error, from [`Error::caller`](crate::Error::caller).
    Caller,
}
