//! How well a connection is protected on its way, and what is said of one that
//! others can read, or that may end at somebody else than the server.

use crate::observe::{Encryption, Protection};
use crate::tls::{ChannelBinding, HAS_TLS, SslMode, Tls, Verification};
use std::net::IpAddr;

/// What is known of a connection that was just opened.
pub(crate) struct Route<'a> {
    /// Host and port, for people.
    pub(crate) place: String,
    pub(crate) address: IpAddr,
    pub(crate) tls: &'a Tls,
    pub(crate) encrypted: bool,
    /// Why TLS could not be had, if it was tried.
    pub(crate) why: Option<&'a str>,
    /// Besides those that were named, the system's authorities are trusted.
    pub(crate) trusts_system: bool,
}

/// The words that would make it safe.
const SAFE: &str = "set sslmode=verify-full, and sslrootcert=<file> if the authority is your own";

impl Route<'_> {
    /// How well it is protected. On the way to this computer itself is nobody.
    pub(crate) fn protection(&self) -> Protection {
        let (encryption, warning) = self.judge();
        let protection = Protection::new(encryption);
        match warning {
            Some(warning) if !self.address.to_canonical().is_loopback() => protection.warn(warning),
            _ => protection,
        }
    }

    fn judge(&self) -> (Encryption, Option<String>) {
        if !self.encrypted {
            return (Encryption::Plain, Some(self.unencrypted()));
        }
        // A binding that is required proves that the other end knows the password.
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
        let (place, mode) = (&self.place, self.tls.mode);
        let because = match (HAS_TLS, self.why) {
            _ if mode == SslMode::Disable => format!("sslmode={mode}"),
            (false, _) => format!("sslmode={mode}, but this build lacks the feature native-tls"),
            (true, Some(why)) => format!("sslmode={mode}, and TLS could not be had: {why}"),
            (true, None) => format!("sslmode={mode}, and the server offers no TLS"),
        };
        let enable = if HAS_TLS { "" } else { "enable poolwarden's feature native-tls and " };
        format!(
            "connections to {place} are not encrypted ({because}): everything can be read and \
             changed on the way; {enable}{SAFE}"
        )
    }

    fn unverified(&self) -> String {
        let (place, mode) = (&self.place, self.tls.mode);
        format!(
            "connections to {place} are encrypted, but the server's certificate is not looked at \
             (sslmode={mode}): whoever is on the way can pose as the server; {SAFE}"
        )
    }

    fn half_verified(&self) -> String {
        let (place, mode) = (&self.place, self.tls.mode);
        format!(
            "connections to {place} are encrypted, but this driver trusts the system's \
             authorities besides sslrootcert, and sslmode={mode} does not compare the host: \
             whoever has any certificate of a public authority can pose as the server; set \
             sslmode=verify-full"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(tls: &Tls, encrypted: bool, address: &str, trusts_system: bool) -> Protection {
        let address = address.parse().expect("an address");
        let place = "db.test:5432".to_owned();
        let why = (!encrypted && tls.mode == SslMode::Prefer).then_some("a broken handshake");
        Route { place, address, tls, encrypted, why, trusts_system }.protection()
    }

    #[test]
    fn each_mode_has_its_degree_and_its_words() {
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
        for (tls, encrypted, system, degree, words) in table {
            let found = judged(tls, encrypted, "192.0.2.1", system);
            assert_eq!(found.encryption, degree, "{tls:?}");
            let warning = found.warning.unwrap_or_default();
            assert_eq!(warning.is_empty(), words.is_empty(), "{tls:?}: {warning}");
            assert!(warning.contains(words), "{tls:?}: {warning}");
            let safe = "set sslmode=verify-full";
            assert!(words.is_empty() || warning.contains(safe) && warning.contains("db.test:5432"));
        }
    }

    #[test]
    fn nobody_is_on_the_way_to_this_computer_itself() {
        let tls = Tls::default();
        for address in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            let found = judged(&tls, false, address, false);
            assert_eq!((found.encryption, found.warning), (Encryption::Plain, None), "{address}");
        }
        assert!(judged(&tls, false, "::ffff:192.0.2.1", false).warning.is_some());
    }
}
