//! Reads certificates and keys from files.
//!
//! An error names the option and the file, and how to convert the file; it never shows
//! the content.

use super::tls::ClientIdentity;
use crate::error::Error;
use native_tls::{Certificate, Identity};
use std::path::Path;

/// Reads the trusted authorities.
///
/// # Errors
///
/// [`ErrorKind::Config`](crate::ErrorKind::Config): the file cannot be read or
/// contains no PEM certificate.
pub(crate) fn roots(path: &Path) -> Result<Vec<Certificate>, Error> {
    let bytes = read("sslrootcert", path)?;
    match Certificate::stack_from_pem(&bytes) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::config(format!(
            "sslrootcert {}: no PEM certificate found; to convert one from DER: openssl x509 \
             -inform der -in OLD -out NEW",
            path.display()
        ))),
    }
}

/// Reads the client certificate and its key.
///
/// # Errors
///
/// [`ErrorKind::Config`](crate::ErrorKind::Config): a file cannot be read or has
/// an unsupported format, or certificate and key do not match.
pub(crate) fn identity(identity: &ClientIdentity) -> Result<Identity, Error> {
    match identity {
        ClientIdentity::Pem { certificate, key } => pem_identity(certificate, key),
        ClientIdentity::Pkcs12 { archive, passphrase } => {
            let bytes = read("sslpkcs12", archive)?;
            let passphrase = passphrase.as_ref().map_or("", |passphrase| passphrase.expose());
            Identity::from_pkcs12(&bytes, passphrase).map_err(|error| {
                Error::config(format!(
                    "sslpkcs12 {}: not a PKCS#12 archive, wrong passphrase, or ciphers that this \
                     system does not support; to create a new archive: openssl pkcs12 -export \
                     -in CERT -inkey KEY -out NEW",
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
        Error::config(format!("sslcert {path}: no PEM certificate found, or sslkey is not its key"))
            .with_source(error)
    })
}

/// Returns the key from its PEM header on: native-tls accepts only this format, with
/// nothing in front.
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
        return Err(Error::config(format!("sslkey {path}: no PEM key found")));
    };
    Err(Error::config(format!(
        "sslkey {path}: {form}; only unencrypted PKCS#8 keys are supported; to convert it: \
         openssl pkcs8 -topk8 -nocrypt -in {path} -out NEW"
    )))
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| {
        Error::config(format!("{option} {}: {error}", path.display())).with_source(error)
    })
}
