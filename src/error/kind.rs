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
    /// A knob, or two knobs together, make no sense; the text names them.
    Config,
    /// A connection could not be opened; [`Error::connect_error`] has the class.
    ///
    /// [`Error::connect_error`]: crate::Error::connect_error
    Connect,
    /// The deadline of a check-out passed first.
    CheckoutTimeout,
    /// `max_waiting` callers were waiting already.
    QueueFull,
    /// The pool has been closed.
    Closed,
    /// The call would block inside an async runtime; move it to `spawn_blocking`.
    AsyncContext,
    /// The driver reported an error while one of the pool's own methods used it.
    Driver,
    /// A query returned more rows than `row_limit`.
    RowLimit,
    /// A query that must return one row returned none or several.
    RowCount,
    /// The connection was lost while the server may have done the work: during
    /// COMMIT, or during a write outside of a transaction.
    ///
    /// [`Error::connection`] tells which connection it was.
    ///
    /// [`Error::connection`]: crate::Error::connection
    OutcomeUnknown,
    /// The pool's `statement_timeout` cancelled a statement; the connection lives on.
    ///
    /// What the statement did is undone, except on tables without transactions.
    StatementTimeout,
    /// A statement went on after the pool's `statement_timeout` and a cancel, and its
    /// connection was shut down: it may go on in the server, and may have its effect.
    StatementAbandoned,
    /// Every attempt that a [`RetryPolicy`](crate::RetryPolicy) allowed has failed; the
    /// source is the error of the last one.
    RetriesExhausted,
    /// A request to cancel a statement could not be carried out; it may run on.
    Cancel,
    /// The caller's own error, from [`Error::caller`](crate::Error::caller).
    Caller,
}
