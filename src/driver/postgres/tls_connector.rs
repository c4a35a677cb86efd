//! The TLS library's connector for a configuration; it is rebuilt when one of its files
//! has changed.
//!
//! Each connector loads all certificate authorities of the system: 45 ms and 0.9 MB for
//! 140 of them (measured, OpenSSL 3.0). Drivers with the same TLS settings share one.

use super::negotiation::TlsRequest;
use crate::config::tls::Tls;
use crate::driver::connect::TlsChoice;
use crate::error::{BoxError, Error};
use crate::sys::process::{DEPTH, PerProcess};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

#[cfg(feature = "native-tls")]
use {
    super::negotiation::ALPN,
    crate::config::tls::{self, ClientIdentity, SslMode, SslNegotiation, Verification},
    native_tls::TlsConnector,
    std::os::unix::fs::MetadataExt,
    std::path::PathBuf,
};

/// The TLS settings of one or several drivers, and their connector.
pub(super) struct SharedConnector {
    pub(super) tls: Tls,
    #[cfg(feature = "native-tls")]
    built: Mutex<Option<Built>>,
}

#[cfg(feature = "native-tls")]
struct Built {
    connector: TlsConnector,
    stamps: Vec<Stamp>,
}

/// Identifies the content of a file: inode and change time.
#[cfg(feature = "native-tls")]
type Stamp = Option<[i64; 3]>;

/// All connectors in use in this process.
static SHARED: PerProcess<Mutex<Vec<Weak<SharedConnector>>>> =
    PerProcess::new([const { Mutex::new(Vec::new()) }; DEPTH]);

impl SharedConnector {
    /// Checks the settings, and reads their files if there are any.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config): TLS cannot work with these settings.
    pub(super) fn of(tls: Tls) -> Result<Arc<SharedConnector>, Error> {
        tls.check()?;
        let security = SharedConnector::shared(tls);
        if security.tls.root_certificate.is_some() || security.tls.identity.is_some() {
            security.tls_request(&TlsChoice::Tls).map_err(|error| {
                match error.downcast::<Error>() {
                    Ok(error) => *error,
                    Err(error) => Error::config("TLS cannot be set up").with_source(error),
                }
            })?;
        }
        Ok(security)
    }

    fn shared(tls: Tls) -> Arc<SharedConnector> {
        let mut shared = SHARED.get().lock();
        shared.retain(|known| known.strong_count() > 0);
        let known = shared.iter().filter_map(Weak::upgrade).find(|known| known.tls == tls);
        known.unwrap_or_else(|| {
            let security = Arc::new(SharedConnector {
                tls,
                #[cfg(feature = "native-tls")]
                built: Mutex::new(None),
            });
            shared.push(Arc::downgrade(&security));
            security
        })
    }

    /// Returns the transport security that a dial requests.
    ///
    /// Files that have changed are reloaded. If they cannot be read, for example while
    /// they are being replaced, the last good ones stay in use.
    #[cfg(feature = "native-tls")]
    pub(super) fn tls_request(&self, choice: &TlsChoice) -> Result<TlsRequest, BoxError> {
        if *choice != TlsChoice::Tls || self.tls.mode == SslMode::Disable {
            return Ok(TlsRequest::Plain);
        }
        Ok(TlsRequest::Tls {
            connector: self.connector()?.into(),
            direct: self.tls.negotiation == SslNegotiation::Direct,
            or_plain: self.tls.mode == SslMode::Prefer,
        })
    }

    /// Without the feature only plain connections pass the check.
    #[cfg(not(feature = "native-tls"))]
    pub(super) fn tls_request(&self, _: &TlsChoice) -> Result<TlsRequest, BoxError> {
        Ok(TlsRequest::Plain)
    }
}

#[cfg(feature = "native-tls")]
impl SharedConnector {
    fn connector(&self) -> Result<TlsConnector, BoxError> {
        let stamps = self.stamps();
        let built = self.built.lock().as_ref().map(|built| {
            let is_current = built.stamps == stamps;
            (built.connector.clone(), is_current)
        });
        match built {
            Some((connector, true)) => Ok(connector),
            Some((old, false)) => Ok(self.rebuild(stamps).unwrap_or(old)),
            None => self.rebuild(stamps),
        }
    }

    fn rebuild(&self, stamps: Vec<Stamp>) -> Result<TlsConnector, BoxError> {
        let connector = build(&self.tls)?;
        *self.built.lock() = Some(Built { connector: connector.clone(), stamps });
        Ok(connector)
    }

    fn stamps(&self) -> Vec<Stamp> {
        let own: [Option<&PathBuf>; 2] = match &self.tls.identity {
            Some(ClientIdentity::Pem { certificate, key }) => [Some(certificate), Some(key)],
            Some(ClientIdentity::Pkcs12 { archive, .. }) => [Some(archive), None],
            None => [None, None],
        };
        let paths = own.into_iter().chain([self.tls.root_certificate.as_ref()]).flatten();
        let stamp = |path: &PathBuf| {
            let data = std::fs::metadata(path).ok()?;
            Some([data.ino().cast_signed(), data.ctime(), data.ctime_nsec()])
        };
        paths.map(stamp).collect()
    }
}

#[cfg(feature = "native-tls")]
fn build(tls: &Tls) -> Result<TlsConnector, BoxError> {
    let mut builder = TlsConnector::builder();
    let verification = tls.verification();
    builder.danger_accept_invalid_certs(verification == Verification::Nothing);
    builder.danger_accept_invalid_hostnames(verification != Verification::Host);
    if let Some(path) = &tls.root_certificate
        && verification != Verification::Nothing
    {
        // Otherwise the library adds them to the authorities of the system.
        builder.disable_built_in_roots(true);
        for root in tls::roots(path)? {
            builder.add_root_certificate(root);
        }
    }
    if let Some(identity) = &tls.identity {
        builder.identity(tls::identity(identity)?);
    }
    if tls.negotiation == SslNegotiation::Direct {
        builder.request_alpns(&[ALPN]);
    }
    Ok(builder.build()?)
}

#[cfg(all(test, feature = "native-tls"))]
mod tests {
    use super::*;

    #[test]
    fn drivers_with_the_same_tls_share_one_connector_until_the_last_is_dropped() {
        // Settings that no other test of this process uses.
        let tls = |mode| Tls::new(mode).negotiation(SslNegotiation::Direct);
        let one = |mode| SharedConnector::of(tls(mode)).expect("usable settings");
        let (first, second) = (one(SslMode::VerifyFull), one(SslMode::VerifyFull));
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &one(SslMode::Require)));
        let weak = Arc::downgrade(&first);
        drop((first, second));
        assert_eq!(weak.strong_count(), 0);
    }
}
