//! How a connection is encrypted and the server's identity checked: pure policy,
//! the same words for both server drivers.

use crate::error::Error;
use crate::secret::Secret;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How much TLS a connection must have, in libpq's words and with libpq's meaning
/// (PostgreSQL documentation, "SSL Support", "Protection Provided in Different
/// Modes"), for PostgreSQL, MySQL and MariaDB alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server has it, else plain; the certificate is not looked at.
    #[default]
    Prefer,
    /// TLS or no connection; the certificate is looked at only if a root
    /// certificate is given (then as `VerifyCa`).
    Require,
    /// TLS with a certificate of a trusted authority; the host name is not compared.
    VerifyCa,
    /// TLS with a certificate of a trusted authority for this very host.
    VerifyFull,
}

impl SslMode {
    /// Returns libpq's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SslMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<SslMode, Error> {
        match text {
            "disable" => Ok(SslMode::Disable),
            "prefer" => Ok(SslMode::Prefer),
            "require" => Ok(SslMode::Require),
            "verify-ca" => Ok(SslMode::VerifyCa),
            "verify-full" => Ok(SslMode::VerifyFull),
            "allow" => Err(Error::config(
                "sslmode allow is not supported: it tries plain first; use prefer or require",
            )),
            other => Err(Error::config(format!(
                "sslmode {other:?} is none of disable, prefer, require, verify-ca, verify-full"
            ))),
        }
    }
}

/// The certificate by which the client shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientIdentity {
    /// PEM files of the certificate chain and of its PKCS#8 key; PostgreSQL only.
    Pem {
        /// The certificate, with those in between behind it.
        certificate: PathBuf,
        /// The key: `-----BEGIN PRIVATE KEY-----`.
        key: PathBuf,
    },
    /// A PKCS#12 archive with both; PostgreSQL, MySQL and MariaDB.
    Pkcs12 {
        /// The archive.
        archive: PathBuf,
        /// Its passphrase, if it has one.
        passphrase: Option<Secret>,
    },
}

/// Whether PostgreSQL's authentication is bound to the TLS connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If both sides can.
    #[default]
    Prefer,
    /// Or no connection.
    Require,
}

/// How TLS begins with PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SslNegotiation {
    /// By asking the server first, one round trip; every version can.
    #[default]
    Postgres,
    /// At once, without asking; PostgreSQL 17 and later.
    Direct,
}

/// Everything about TLS that a driver can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// How much TLS a connection must have; default [`SslMode::Prefer`].
    pub mode: SslMode,
    /// A PEM file with the only authorities to trust; default those of the system.
    pub root_certificate: Option<PathBuf>,
    /// The client's own certificate; default none.
    pub identity: Option<ClientIdentity>,
    /// PostgreSQL only; default [`ChannelBinding::Prefer`].
    pub channel_binding: ChannelBinding,
    /// PostgreSQL only; default [`SslNegotiation::Postgres`].
    pub negotiation: SslNegotiation,
}

impl Tls {
    /// Makes one of this mode, with the system's authorities.
    pub fn new(mode: SslMode) -> Tls {
        Tls { mode, ..Tls::default() }
    }

    /// Trusts the authorities of this PEM file and no other.
    #[must_use]
    pub fn root_certificate(mut self, path: impl Into<PathBuf>) -> Tls {
        self.root_certificate = Some(path.into());
        self
    }

    /// Shows the server this certificate.
    #[must_use]
    pub fn identity(mut self, identity: ClientIdentity) -> Tls {
        self.identity = Some(identity);
        self
    }
}
