//! A key with its value, as the user wrote them.

/// How the pool's options are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// With the prefix `pool_`, in a URL or a connection string.
    Prefixed,
    /// Without a prefix, in a file or in the environment.
    Bare,
}

/// One key with its value as they were written, percent-decoded.
pub(super) struct KeyValue {
    pub(super) key: String,
    pub(super) value: String,
    /// `false` if the key may be part of a password that was not escaped.
    pub(super) may_be_shown: bool,
}
