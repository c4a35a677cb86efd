//! How connections are protected on their way to the server.

use std::fmt;

/// How well a connection is protected on its way to the server; the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Encryption {
    /// Nothing is encrypted.
    Plain = 0,
    /// TLS, but the other end may be anybody.
    Unverified = 1,
    /// TLS, and the server has shown who it is, as far as the `sslmode` asks for.
    Verified = 2,
}

impl Encryption {
    pub(super) const ALL: [Encryption; 3] =
        [Encryption::Plain, Encryption::Unverified, Encryption::Verified];

    /// Returns a word for it: `plain`, `unverified`, `verified`.
    pub fn as_str(self) -> &'static str {
        match self {
            Encryption::Plain => "plain",
            Encryption::Unverified => "unverified",
            Encryption::Verified => "verified",
        }
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one connection is protected, as its driver knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Protection {
    /// How well.
    pub encryption: Encryption,
    /// What people should be told, with the words that would make it safe; logged
    /// once by each pool. `None` where there is nobody on the way.
    pub warning: Option<String>,
}

impl Protection {
    /// Makes one that nobody need be told of.
    pub fn new(encryption: Encryption) -> Protection {
        Protection { encryption, warning: None }
    }

    /// Adds what people should be told.
    #[must_use]
    pub fn warn(mut self, text: impl Into<String>) -> Protection {
        self.warning = Some(text.into());
        self
    }
}
