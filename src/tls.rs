//! How a connection is encrypted and the server's identity checked: pure policy,
//! the same words for both server drivers.

#[cfg(feature = "native-tls")]
mod files;

#[cfg(feature = "native-tls")]
pub(crate) use files::{identity, roots};

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

impl ClientIdentity {
    /// Names the PEM files of a certificate and of its key.
    pub fn pem(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> ClientIdentity {
        ClientIdentity::Pem { certificate: certificate.into(), key: key.into() }
    }

    /// Names a PKCS#12 archive, with its passphrase if it has one.
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
    /// A PEM file with the only authorities to trust (libpq's `sslrootcert`);
    /// default those of the system. The `mysql` driver trusts the system's besides.
    pub root_certificate: Option<PathBuf>,
    /// The client's own certificate (libpq's `sslcert` and `sslkey`); default none.
    pub identity: Option<ClientIdentity>,
    /// PostgreSQL only; default [`ChannelBinding::Prefer`].
    pub channel_binding: ChannelBinding,
    /// PostgreSQL only; default [`SslNegotiation::Postgres`].
    pub negotiation: SslNegotiation,
}

/// What is looked at in a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    Nothing,
    Authority,
    Host,
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

    /// Binds PostgreSQL's authentication to the TLS connection, or does not.
    #[must_use]
    pub fn channel_binding(mut self, binding: ChannelBinding) -> Tls {
        self.channel_binding = binding;
        self
    }

    /// Begins TLS with PostgreSQL this way.
    #[must_use]
    pub fn negotiation(mut self, negotiation: SslNegotiation) -> Tls {
        self.negotiation = negotiation;
        self
    }

    /// What is looked at in the server's certificate.
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

    /// Refuses what can work with no server.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), with the knob and its value.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_feature()?;
        let mode = self.mode;
        let weak = matches!(mode, SslMode::Disable | SslMode::Prefer);
        if mode == SslMode::VerifyCa && self.root_certificate.is_none() {
            return Err(Error::config(
                "sslmode=verify-ca without sslrootcert would accept every host that has a \
                 certificate of a public authority: add sslrootcert, or use verify-full",
            ));
        }
        if self.negotiation == SslNegotiation::Direct && weak {
            return Err(Error::config(format!(
                "sslnegotiation=direct cannot go on without TLS, which sslmode={mode} may: use \
                 sslmode=require, verify-ca or verify-full"
            )));
        }
        if self.channel_binding == ChannelBinding::Require && mode == SslMode::Disable {
            return Err(Error::config(
                "channel_binding=require needs TLS, which sslmode=disable rules out",
            ));
        }
        Ok(())
    }

    /// Without the feature nothing is encrypted, and what asks for it is refused.
    fn check_feature(&self) -> Result<(), Error> {
        if HAS_TLS {
            return Ok(());
        }
        let asked = if !matches!(self.mode, SslMode::Disable | SslMode::Prefer) {
            format!("sslmode={}", self.mode)
        } else if self.identity.is_some() {
            "a client certificate".to_owned()
        } else if self.channel_binding == ChannelBinding::Require {
            "channel_binding=require".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::config(format!(
            "{asked} needs TLS, which this build of poolwarden does not have: enable its feature \
             native-tls"
        )))
    }
}

/// Whether this build can do TLS at all.
pub(crate) const HAS_TLS: bool = cfg!(feature = "native-tls");

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(tls: &Tls) -> String {
        tls.check().expect_err("it is refused").to_string()
    }

    #[test]
    fn each_mode_has_its_word_and_back() {
        for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
            assert_eq!(mode.parse::<SslMode>().expect("a mode").to_string(), mode);
        }
        let text = |mode: &str| mode.parse::<SslMode>().expect_err("no mode").to_string();
        assert!(text("allow").contains("use prefer or require"));
        assert!(text("on").contains("\"on\" is none of disable"));
    }

    #[test]
    fn a_root_certificate_makes_require_look_at_the_authority_and_prefer_at_nothing() {
        let found = |mode| Tls::new(mode).root_certificate("ca.pem").verification();
        assert_eq!(found(SslMode::Prefer), Verification::Nothing);
        assert_eq!(found(SslMode::Require), Verification::Authority);
        assert_eq!(Tls::new(SslMode::Require).verification(), Verification::Nothing);
        assert_eq!(Tls::new(SslMode::VerifyFull).verification(), Verification::Host);
    }

    #[cfg(feature = "native-tls")]
    #[test]
    fn what_no_server_can_satisfy_is_refused_with_the_knob_and_its_value() {
        assert!(refusal(&Tls::new(SslMode::VerifyCa)).contains("sslrootcert"));
        let direct = Tls::default().negotiation(SslNegotiation::Direct);
        assert!(refusal(&direct).contains("sslmode=prefer"));
        let bound = Tls::new(SslMode::Disable).channel_binding(ChannelBinding::Require);
        assert!(refusal(&bound).contains("channel_binding=require"));
        assert!(Tls::new(SslMode::VerifyFull).check().is_ok());
    }

    #[cfg(not(feature = "native-tls"))]
    #[test]
    fn without_the_feature_what_needs_tls_is_refused_and_the_feature_is_named() {
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            let text = refusal(&Tls::new(mode));
            assert!(text.contains("native-tls") && text.contains(mode.as_str()), "{text}");
        }
        assert!(Tls::default().check().is_ok() && Tls::new(SslMode::Disable).check().is_ok());
    }
}
