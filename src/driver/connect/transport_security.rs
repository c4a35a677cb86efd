//! How well a connection's traffic is protected, and the warning about one that can be
//! read in transit or whose server is not authenticated.

use crate::config::tls::{ChannelBinding, HAS_TLS, SslMode, Tls, Verification};
use crate::observe::{Encryption, Protection};
use std::net::IpAddr;

/// What is known about a new connection.
pub(crate) struct TransportSecurity<'a> {
    /// Host and port, for the text.
    pub(crate) endpoint: String,
    pub(crate) address: IpAddr,
    pub(crate) tls: &'a Tls,
    pub(crate) encrypted: bool,
    /// Why TLS failed, if it was tried.
    pub(crate) why: Option<&'a str>,
    /// The system's authorities are trusted in addition to the configured ones.
    pub(crate) trusts_system: bool,
}

/// The advice at the end of a warning.
const SAFE: &str = "set sslmode=verify-full, and sslrootcert=<file> if the authority is your own";

impl TransportSecurity<'_> {
    /// Returns how well it is protected. A loopback connection has no warning.
    pub(crate) fn protection(&self) -> Protection {
        let (encryption, warning) = self.assess();
        let protection = Protection::new(encryption);
        match warning {
            Some(warning) if !self.address.to_canonical().is_loopback() => protection.warn(warning),
            _ => protection,
        }
    }

    fn assess(&self) -> (Encryption, Option<String>) {
        if !self.encrypted {
            return (Encryption::Plain, Some(self.unencrypted()));
        }
        // A required channel binding proves that the peer knows the password.
        let is_bound = self.tls.channel_binding == ChannelBinding::Require;
        match self.tls.verification() {
            _ if is_bound => (Encryption::Verified, None),
            Verification::Host => (Encryption::Verified, None),
            Verification::Authority if !self.trusts_system => (Encryption::Verified, None),
            Verification::Authority => (Encryption::Unverified, Some(self.half_verified())),
            Verification::Nothing => (Encryption::Unverified, Some(self.unverified())),
        }
    }

    fn unencrypted(&self) -> String {
        let (endpoint, mode) = (&self.endpoint, self.tls.mode);
        let because = match (HAS_TLS, self.why) {
            _ if mode == SslMode::Disable => format!("sslmode={mode}"),
            (false, _) => format!("sslmode={mode}, but this build lacks the feature native-tls"),
            (true, Some(why)) => format!("sslmode={mode}, and TLS failed: {why}"),
            (true, None) => format!("sslmode={mode}, and the server does not support TLS"),
        };
        let enable = if HAS_TLS { "" } else { "enable poolwarden's feature native-tls and " };
        format!(
            "connections to {endpoint} are not encrypted ({because}): the traffic can be read and \
             modified in transit; {enable}{SAFE}"
        )
    }

    fn unverified(&self) -> String {
        let (endpoint, mode) = (&self.endpoint, self.tls.mode);
        format!(
            "connections to {endpoint} are encrypted, but the server's certificate is not verified \
             (sslmode={mode}): an attacker in between can impersonate the server; {SAFE}"
        )
    }

    fn half_verified(&self) -> String {
        let (endpoint, mode) = (&self.endpoint, self.tls.mode);
        format!(
            "connections to {endpoint} are encrypted, but this driver trusts the system's \
             authorities in addition to sslrootcert, and sslmode={mode} does not verify the host \
             name: any certificate of a public authority can impersonate the server; set \
             sslmode=verify-full"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assessed(tls: &Tls, encrypted: bool, address: &str, trusts_system: bool) -> Protection {
        let address = address.parse().expect("an address");
        let endpoint = "db.test:5432".to_owned();
        let why = (!encrypted && tls.mode == SslMode::Prefer).then_some("a broken handshake");
        TransportSecurity { endpoint, address, tls, encrypted, why, trusts_system }.protection()
    }

    #[test]
    fn each_mode_has_its_degree_and_its_warning() {
        let rooted = |mode| Tls::new(mode).root_certificate("ca.pem");
        let bound = Tls::new(SslMode::Require).channel_binding(ChannelBinding::Require);
        let plain = [Tls::new(SslMode::Disable), Tls::new(SslMode::Prefer)];
        let table = [
            (&plain[0], false, false, Encryption::Plain, "(sslmode=disable)"),
            (&plain[1], false, false, Encryption::Plain, "sslmode=prefer, "),
            (&plain[1], true, false, Encryption::Unverified, "(sslmode=prefer)"),
            (&Tls::new(SslMode::Require), true, false, Encryption::Unverified, "sslmode=require"),
            (&rooted(SslMode::Prefer), true, false, Encryption::Unverified, "sslmode=prefer"),
            (&rooted(SslMode::Require), true, false, Encryption::Verified, ""),
            (&rooted(SslMode::VerifyCa), true, false, Encryption::Verified, ""),
            (&rooted(SslMode::VerifyCa), true, true, Encryption::Unverified, "public authority"),
            (&Tls::new(SslMode::VerifyFull), true, true, Encryption::Verified, ""),
            (&bound, true, false, Encryption::Verified, ""),
        ];
        for (tls, encrypted, system, degree, message) in table {
            let found = assessed(tls, encrypted, "192.0.2.1", system);
            assert_eq!(found.encryption, degree, "{tls:?}");
            let warning = found.warning.unwrap_or_default();
            assert_eq!(warning.is_empty(), message.is_empty(), "{tls:?}: {warning}");
            assert!(warning.contains(message), "{tls:?}: {warning}");
            let safe = "set sslmode=verify-full";
            assert!(
                message.is_empty() || warning.contains(safe) && warning.contains("db.test:5432")
            );
        }
    }

    #[test]
    fn a_loopback_connection_has_no_warning() {
        let tls = Tls::default();
        for address in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            let found = assessed(&tls, false, address, false);
            assert_eq!((found.encryption, found.warning), (Encryption::Plain, None), "{address}");
        }
        assert!(assessed(&tls, false, "::ffff:192.0.2.1", false).warning.is_some());
    }
}
