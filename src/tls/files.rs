//! Certificates and keys from their files.
//!
//! An error names the knob and the file, and how to make the file what it should
//! be; never what is in it.

use super::ClientIdentity;
use crate::error::Error;
use native_tls::{Certificate, Identity};
use std::path::Path;

/// Reads the authorities to trust.
///
/// # Errors
///
/// [`ErrorKind::Config`](crate::ErrorKind::Config): the file cannot be read, or
/// has no PEM certificate in it.
pub(crate) fn roots(path: &Path) -> Result<Vec<Certificate>, Error> {
    let bytes = read("sslrootcert", path)?;
    match Certificate::stack_from_pem(&bytes) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::config(format!(
            "sslrootcert {}: no PEM certificate in it; one in DER is converted by: openssl x509 \
             -inform der -in OLD -out NEW",
            path.display()
        ))),
    }
}

/// Reads the client's own certificate and its key.
///
/// # Errors
///
/// [`ErrorKind::Config`](crate::ErrorKind::Config): a file cannot be read or is
/// not in the one form that is understood, or certificate and key do not fit.
pub(crate) fn identity(identity: &ClientIdentity) -> Result<Identity, Error> {
    match identity {
        ClientIdentity::Pem { certificate, key } => pem_identity(certificate, key),
        ClientIdentity::Pkcs12 { archive, passphrase } => {
            let bytes = read("sslpkcs12", archive)?;
            let passphrase = passphrase.as_ref().map_or("", |passphrase| passphrase.expose());
            Identity::from_pkcs12(&bytes, passphrase).map_err(|error| {
                Error::config(format!(
                    "sslpkcs12 {}: no PKCS#12 archive, not its passphrase, or ciphers that this \
                     system no longer has; a new one is made by: openssl pkcs12 -export -in CERT \
                     -inkey KEY -out NEW",
                    archive.display()
                ))
                .with_source(error)
            })
        }
    }
}

fn pem_identity(certificate: &Path, key: &Path) -> Result<Identity, Error> {
    let chain = read("sslcert", certificate)?;
    let bytes = read("sslkey", key)?;
    let key = pkcs8_part(&bytes, key)?;
    Identity::from_pkcs8(&chain, key).map_err(|error| {
        let path = certificate.display();
        Error::config(format!("sslcert {path}: no PEM certificate in it, or sslkey is no key"))
            .with_source(error)
    })
}

/// The key from its PEM header on: native-tls takes this one form and nothing in
/// front of it.
fn pkcs8_part<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a [u8], Error> {
    let place = |mark: &str| bytes.windows(mark.len()).position(|part| part == mark.as_bytes());
    if let Some(start) = place("-----BEGIN PRIVATE KEY-----") {
        return Ok(&bytes[start..]);
    }
    let path = path.display();
    let encrypted = place("ENCRYPTED").is_some();
    let form = if encrypted {
        "an encrypted key"
    } else if place("-----BEGIN RSA PRIVATE KEY-----").is_some() {
        "a PKCS#1 key"
    } else if place("-----BEGIN EC PRIVATE KEY-----").is_some() {
        "an EC key"
    } else {
        return Err(Error::config(format!("sslkey {path}: no PEM key in it")));
    };
    Err(Error::config(format!(
        "sslkey {path}: {form}, but only an unencrypted PKCS#8 key can be read; it is converted \
         by: openssl pkcs8 -topk8 -nocrypt -in {path} -out NEW"
    )))
}

fn read(knob: &str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| {
        Error::config(format!("{knob} {}: {error}", path.display())).with_source(error)
    })
}
