//! The TLS options from the keys.

use super::settings::Settings;
use crate::config::tls::{ChannelBinding, ClientIdentity, SslMode, SslNegotiation, Tls};
use crate::error::Error;

impl Settings {
    /// Returns the TLS options; libpq's default is `sslmode=prefer`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config): keys contradict each other, or one
    /// is missing.
    pub(crate) fn tls(&self) -> Result<Tls, Error> {
        let mode = self.text("sslmode").map(str::parse::<SslMode>).transpose()?;
        let root = self.text("sslrootcert");
        // PostgreSQL documentation, "SSL Support": `system` allows verify-full only.
        let is_system = root == Some("system");
        if let Some(mode) = mode.filter(|mode| is_system && *mode != SslMode::VerifyFull) {
            let text = format!("sslrootcert=system: sslmode must be verify-full, not {mode}");
            return Err(Error::config(text));
        }
        let default = if is_system { SslMode::VerifyFull } else { SslMode::default() };
        let mut tls = Tls::new(mode.unwrap_or(default));
        tls.root_certificate = root.filter(|_| !is_system).map(Into::into);
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
        let rejected = |text: &str| Err(Error::config(text));
        match keys {
            (None, None, None) if passphrase.is_some() => {
                rejected("sslpassword: requires sslpkcs12")
            }
            (None, None, None) => Ok(None),
            (None, None, Some(archive)) => Ok(Some(ClientIdentity::Pkcs12 {
                archive: archive.into(),
                passphrase: passphrase.cloned(),
            })),
            (_, _, Some(_)) => {
                rejected("sslpkcs12: contains certificate and key; omit sslcert and sslkey")
            }
            (Some(_), Some(_), None) if passphrase.is_some() => rejected(
                "sslpassword: encrypted PEM keys are not supported; create an archive with openssl \
                 pkcs12 -export and set sslpkcs12",
            ),
            (Some(certificate), Some(key), None) => {
                Ok(Some(ClientIdentity::Pem { certificate: certificate.into(), key: key.into() }))
            }
            (Some(_), None, None) => {
                rejected("sslcert: requires sslkey, or use sslpkcs12 for both")
            }
            (None, Some(_), None) => {
                rejected("sslkey: requires sslcert, or use sslpkcs12 for both")
            }
        }
    }
}
