//! How well connections are encrypted on the path to the server.

use std::fmt;

/// How well a connection is protected on the path to the server, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Encryption {
    /// Nothing is encrypted.
    Plain = 0,
    /// TLS, but the identity of the peer was not verified.
    Unverified = 1,
    /// TLS, and the server's identity was verified as far as the `sslmode` requires.
    Verified = 2,
}

impl Encryption {
    pub(super) const ALL: [Encryption; 3] =
        [Encryption::Plain, Encryption::Unverified, Encryption::Verified];

    /// Returns the name for logs and metrics: `plain`, `unverified`, `verified`.
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

/// How one connection is protected, as reported by its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Protection {
    /// The level of encryption.
    pub encryption: Encryption,
    /// A warning for the operator that names the option which would make the
    /// connection safe; each pool logs it once. `None` where nothing lies between the
    /// pool and the server.
    pub warning: Option<String>,
}

impl Protection {
    /// Creates a protection without a warning.
    pub fn new(encryption: Encryption) -> Protection {
        Protection { encryption, warning: None }
    }

    /// Adds a warning for the operator.
    #[must_use]
    pub fn warn(mut self, text: impl Into<String>) -> Protection {
        self.warning = Some(text.into());
        self
    }
}
