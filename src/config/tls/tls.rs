//! How a connection is encrypted and the server's identity verified: pure policy, the
//! same terms for both server drivers.

use crate::error::Error;
use crate::sys::secret::Secret;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How much TLS a connection must have, with libpq's names and semantics
/// (PostgreSQL documentation, "SSL Support", "Protection Provided in Different
/// Modes"), for PostgreSQL, MySQL and MariaDB alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server supports it, else plain; the certificate is not verified.
    #[default]
    Prefer,
    /// TLS or no connection; the certificate is verified only if a root certificate is
    /// given (then as with `VerifyCa`).
    Require,
    /// TLS with a certificate of a trusted authority; the host name is not verified.
    VerifyCa,
    /// TLS with a certificate of a trusted authority for this host name.
    VerifyFull,
}

impl SslMode {
    /// Returns libpq's name of the mode.
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
                "sslmode allow is not supported, because it tries plain first; use prefer or require",
            )),
            other => Err(Error::config(format!(
                "sslmode must be one of disable, prefer, require, verify-ca, verify-full, not {other:?}"
            ))),
        }
    }
}

/// The client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientIdentity {
    /// PEM files of the certificate chain and of its PKCS#8 key; PostgreSQL only.
    Pem {
        /// The certificate, followed by the intermediate ones.
        certificate: PathBuf,
        /// The key: `-----BEGIN PRIVATE KEY-----`.
        key: PathBuf,
    },
    /// A PKCS#12 archive with both; for PostgreSQL, MySQL and MariaDB.
    Pkcs12 {
        /// The archive.
        archive: PathBuf,
        /// Its passphrase, if it has one.
        passphrase: Option<Secret>,
    },
}

impl ClientIdentity {
    /// Creates an identity from the PEM files of a certificate and its key.
    pub fn pem(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> ClientIdentity {
        ClientIdentity::Pem { certificate: certificate.into(), key: key.into() }
    }

    /// Creates an identity from a PKCS#12 archive, with its passphrase if it has one.
    pub fn pkcs12(archive: impl Into<PathBuf>, passphrase: Option<Secret>) -> ClientIdentity {
        ClientIdentity::Pkcs12 { archive: archive.into(), passphrase }
    }
}

/// Whether PostgreSQL's authentication is bound to the TLS connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If client and server support it.
    #[default]
    Prefer,
    /// Always; otherwise the connection is refused.
    Require,
}

/// How TLS starts with PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SslNegotiation {
    /// By a request first, one round trip; supported by every version.
    #[default]
    Postgres,
    /// Immediately, without a request; PostgreSQL 17 and later.
    Direct,
}

/// All TLS options of a driver.
///
/// ```
/// use poolwarden::{SslMode, Tls};
///
/// let tls = Tls::new(SslMode::VerifyFull).root_certificate("/etc/ssl/our-authority.pem");
/// assert_eq!(tls.mode.as_str(), "verify-full");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// How much TLS a connection must have; default [`SslMode::Prefer`].
    pub mode: SslMode,
    /// A PEM file with the only trusted authorities (libpq's `sslrootcert`); default those
    /// of the system. The `mysql` driver trusts the system's as well.
    pub root_certificate: Option<PathBuf>,
    /// The client certificate (libpq's `sslcert` and `sslkey`); default none.
    pub identity: Option<ClientIdentity>,
    /// PostgreSQL only; default [`ChannelBinding::Prefer`].
    pub channel_binding: ChannelBinding,
    /// PostgreSQL only; default [`SslNegotiation::Postgres`].
    pub negotiation: SslNegotiation,
}

/// What is verified of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    Nothing,
    Authority,
    Host,
}

impl Tls {
    /// Creates the options for this mode, with the system's authorities.
    pub fn new(mode: SslMode) -> Tls {
        Tls { mode, ..Tls::default() }
    }

    /// Sets a PEM file with the only trusted authorities.
    #[must_use]
    pub fn root_certificate(mut self, path: impl Into<PathBuf>) -> Tls {
        self.root_certificate = Some(path.into());
        self
    }

    /// Sets the client certificate.
    #[must_use]
    pub fn identity(mut self, identity: ClientIdentity) -> Tls {
        self.identity = Some(identity);
        self
    }

    /// Sets whether PostgreSQL's authentication is bound to the TLS connection.
    #[must_use]
    pub fn channel_binding(mut self, binding: ChannelBinding) -> Tls {
        self.channel_binding = binding;
        self
    }

    /// Sets how TLS starts with PostgreSQL.
    #[must_use]
    pub fn negotiation(mut self, negotiation: SslNegotiation) -> Tls {
        self.negotiation = negotiation;
        self
    }

    /// Returns what is verified of the server's certificate.
    ///
    /// libpq documentation, "SSL Support", "Client Verification of Server
    /// Certificates": with a root certificate, `require` is `verify-ca`.
    pub(crate) fn verification(&self) -> Verification {
        match self.mode {
            SslMode::VerifyFull => Verification::Host,
            SslMode::VerifyCa => Verification::Authority,
            SslMode::Require if self.root_certificate.is_some() => Verification::Authority,
            SslMode::Require | SslMode::Prefer | SslMode::Disable => Verification::Nothing,
        }
    }

    /// Rejects options that no server can satisfy.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), with the option and its value.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_feature()?;
        let mode = self.mode;
        let weak = matches!(mode, SslMode::Disable | SslMode::Prefer);
        if mode == SslMode::VerifyCa && self.root_certificate.is_none() {
            return Err(Error::config(
                "sslmode=verify-ca without sslrootcert would accept any host with a certificate of \
                 a public authority: add sslrootcert, or use verify-full",
            ));
        }
        if self.negotiation == SslNegotiation::Direct && weak {
            return Err(Error::config(format!(
                "sslnegotiation=direct requires TLS, and sslmode={mode} does not: use \
                 sslmode=require, verify-ca or verify-full"
            )));
        }
        if self.channel_binding == ChannelBinding::Require && mode == SslMode::Disable {
            return Err(Error::config(
                "channel_binding=require requires TLS, and sslmode=disable disables it",
            ));
        }
        Ok(())
    }

    /// Without the feature there is no TLS, and options that require it are rejected.
    fn check_feature(&self) -> Result<(), Error> {
        if HAS_TLS {
            return Ok(());
        }
        let option = if !matches!(self.mode, SslMode::Disable | SslMode::Prefer) {
            format!("sslmode={}", self.mode)
        } else if self.identity.is_some() {
            "a client certificate".to_owned()
        } else if self.channel_binding == ChannelBinding::Require {
            "channel_binding=require".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::config(format!(
            "{option} requires TLS, which this build of poolwarden does not support: enable its \
             feature native-tls"
        )))
    }
}

/// Whether this build supports TLS.
pub(crate) const HAS_TLS: bool = cfg!(feature = "native-tls");

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(tls: &Tls) -> String {
        tls.check().expect_err("rejected").to_string()
    }

    #[test]
    fn each_mode_parses_from_its_name() {
        for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
            assert_eq!(mode.parse::<SslMode>().expect("a mode").to_string(), mode);
        }
        let text = |mode: &str| mode.parse::<SslMode>().expect_err("no mode").to_string();
        assert!(text("allow").contains("use prefer or require"));
        assert!(text("on").contains("must be one of disable"));
    }

    #[test]
    fn with_a_root_certificate_require_verifies_the_authority_and_prefer_nothing() {
        let found = |mode| Tls::new(mode).root_certificate("ca.pem").verification();
        assert_eq!(found(SslMode::Prefer), Verification::Nothing);
        assert_eq!(found(SslMode::Require), Verification::Authority);
        assert_eq!(Tls::new(SslMode::Require).verification(), Verification::Nothing);
        assert_eq!(Tls::new(SslMode::VerifyFull).verification(), Verification::Host);
    }

    #[cfg(feature = "native-tls")]
    #[test]
    fn options_that_no_server_can_satisfy_are_rejected_with_their_values() {
        assert!(refusal(&Tls::new(SslMode::VerifyCa)).contains("sslrootcert"));
        let direct = Tls::default().negotiation(SslNegotiation::Direct);
        assert!(refusal(&direct).contains("sslmode=prefer"));
        let bound = Tls::new(SslMode::Disable).channel_binding(ChannelBinding::Require);
        assert!(refusal(&bound).contains("channel_binding=require"));
        assert!(Tls::new(SslMode::VerifyFull).check().is_ok());
    }

    #[cfg(not(feature = "native-tls"))]
    #[test]
    fn without_the_feature_options_that_require_tls_are_rejected_and_the_feature_is_named() {
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            let text = refusal(&Tls::new(mode));
            assert!(text.contains("native-tls") && text.contains(mode.as_str()), "{text}");
        }
        assert!(Tls::default().check().is_ok() && Tls::new(SslMode::Disable).check().is_ok());
    }
}
