//! What a configuration's TLS comes to at each dial: the library's own connector,
//! made anew when one of its files has changed.
//!
//! A connector holds all authorities of the system: with 140 of them some 45 ms and
//! 0.9 MB (measured, OpenSSL 3.0). So drivers with the same TLS share one.

use super::negotiation::Demand;
use crate::error::{BoxError, Error};
use crate::preference::Way;
use crate::tls::Tls;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

#[cfg(feature = "native-tls")]
use {
    super::negotiation::ALPN,
    crate::tls::{self, ClientIdentity, SslMode, SslNegotiation, Verification},
    native_tls::TlsConnector,
    std::os::unix::fs::MetadataExt,
    std::path::PathBuf,
};

/// The TLS of one driver, or of several.
pub(super) struct Security {
    pub(super) tls: Tls,
    #[cfg(feature = "native-tls")]
    made: Mutex<Option<Made>>,
}

#[cfg(feature = "native-tls")]
struct Made {
    connector: TlsConnector,
    stamps: Vec<Stamp>,
}

/// A file as it was when it was read.
#[cfg(feature = "native-tls")]
type Stamp = Option<[i64; 3]>;

/// All that are in use in this process.
static SHARED: Mutex<Vec<Weak<Security>>> = Mutex::new(Vec::new());

impl Security {
    /// Checks it, and reads its files if TLS is wanted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config): it cannot work.
    pub(super) fn of(tls: Tls) -> Result<Arc<Security>, Error> {
        tls.check()?;
        let security = Security::shared(tls);
        if security.tls.root_certificate.is_some() || security.tls.identity.is_some() {
            security.demand(Way::Tls).map_err(|error| match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::config("TLS cannot be set up").with_source(error),
            })?;
        }
        Ok(security)
    }

    fn shared(tls: Tls) -> Arc<Security> {
        let mut shared = SHARED.lock();
        shared.retain(|known| known.strong_count() > 0);
        let known = shared.iter().filter_map(Weak::upgrade).find(|known| known.tls == tls);
        known.unwrap_or_else(|| {
            let security = Arc::new(Security {
                tls,
                #[cfg(feature = "native-tls")]
                made: Mutex::new(None),
            });
            shared.push(Arc::downgrade(&security));
            security
        })
    }

    /// What a dial that goes this way wants of its socket.
    ///
    /// Files that have changed are read again; while they cannot be read, in the
    /// middle of being replaced perhaps, the last good ones stay in use.
    #[cfg(feature = "native-tls")]
    pub(super) fn demand(&self, way: Way<'_>) -> Result<Demand, BoxError> {
        if way != Way::Tls || self.tls.mode == SslMode::Disable {
            return Ok(Demand::Plain);
        }
        Ok(Demand::Tls {
            connector: self.connector()?.into(),
            direct: self.tls.negotiation == SslNegotiation::Direct,
            or_plain: self.tls.mode == SslMode::Prefer,
        })
    }

    /// Without the feature nothing but plain gets past the check.
    #[cfg(not(feature = "native-tls"))]
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)]
    pub(super) fn demand(&self, _: Way<'_>) -> Result<Demand, BoxError> {
        Ok(Demand::Plain)
    }
}

#[cfg(feature = "native-tls")]
impl Security {
    fn connector(&self) -> Result<TlsConnector, BoxError> {
        let stamps = self.stamps();
        let kept = self.made.lock().as_ref().map(|made| {
            let is_current = made.stamps == stamps;
            (made.connector.clone(), is_current)
        });
        match kept {
            Some((connector, true)) => Ok(connector),
            Some((old, false)) => Ok(self.make(stamps).unwrap_or(old)),
            None => self.make(stamps),
        }
    }

    fn make(&self, stamps: Vec<Stamp>) -> Result<TlsConnector, BoxError> {
        let connector = build(&self.tls)?;
        *self.made.lock() = Some(Made { connector: connector.clone(), stamps });
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
        // Otherwise they would only be added to those of the system.
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
    fn drivers_with_the_same_tls_share_one_connector_and_it_goes_with_the_last() {
        // One that no other test of this process has.
        let tls = |mode| Tls::new(mode).negotiation(SslNegotiation::Direct);
        let one = |mode| Security::of(tls(mode)).expect("it can work");
        let (first, second) = (one(SslMode::VerifyFull), one(SslMode::VerifyFull));
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &one(SslMode::Require)));
        let weak = Arc::downgrade(&first);
        drop((first, second));
        assert_eq!(weak.strong_count(), 0);
    }
}
