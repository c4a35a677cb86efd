//! What the keys say about TLS.

use super::Settings;
use crate::error::Error;
use crate::tls::{ChannelBinding, ClientIdentity, SslMode, SslNegotiation, Tls};

impl Settings {
    /// What the keys say about TLS; libpq's default is `sslmode=prefer`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config): keys that contradict one
    /// another, or of which one is missing.
    pub(crate) fn tls(&self) -> Result<Tls, Error> {
        let mode = self.text("sslmode").map(str::parse::<SslMode>).transpose()?;
        let root = self.text("sslrootcert");
        // PostgreSQL documentation, "SSL Support": `system` allows verify-full only.
        let by_system = root == Some("system");
        if let Some(mode) = mode.filter(|mode| by_system && *mode != SslMode::VerifyFull) {
            let text = format!("sslrootcert=system: sslmode must be verify-full, not {mode}");
            return Err(Error::config(text));
        }
        let default = if by_system { SslMode::VerifyFull } else { SslMode::default() };
        let mut tls = Tls::new(mode.unwrap_or(default));
        tls.root_certificate = root.filter(|_| !by_system).map(Into::into);
        tls.identity = self.identity()?;
        tls.channel_binding = match self.text("channel_binding") {
            Some("disable") => ChannelBinding::Disable,
            Some("require") => ChannelBinding::Require,
            _ => ChannelBinding::Prefer,
        };
        tls.negotiation = match self.text("sslnegotiation") {
            Some("direct") => SslNegotiation::Direct,
            _ => SslNegotiation::Postgres,
        };
        Ok(tls)
    }

    fn identity(&self) -> Result<Option<ClientIdentity>, Error> {
        let passphrase = self.secret("sslpassword");
        let keys = (self.text("sslcert"), self.text("sslkey"), self.text("sslpkcs12"));
        let refused = |text: &str| Err(Error::config(text));
        match keys {
            (None, None, None) if passphrase.is_some() => {
                refused("sslpassword: there is no sslpkcs12 that it could open")
            }
            (None, None, None) => Ok(None),
            (None, None, Some(archive)) => Ok(Some(ClientIdentity::Pkcs12 {
                archive: archive.into(),
                passphrase: passphrase.cloned(),
            })),
            (_, _, Some(_)) => refused("sslpkcs12: holds both; leave out sslcert and sslkey"),
            (Some(_), Some(_), None) if passphrase.is_some() => refused(
                "sslpassword: encrypted PEM keys are not supported; put certificate and key into \
                 one archive by openssl pkcs12 -export, and name it by sslpkcs12",
            ),
            (Some(certificate), Some(key), None) => {
                Ok(Some(ClientIdentity::Pem { certificate: certificate.into(), key: key.into() }))
            }
            (Some(_), None, None) => refused("sslcert: needs sslkey, or use sslpkcs12 for both"),
            (None, Some(_), None) => refused("sslkey: needs sslcert, or use sslpkcs12 for both"),
        }
    }
}
