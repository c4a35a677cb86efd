//! The TLS configuration as options of the `mysql` driver, which builds the connector
//! itself, from the files, at each dial.

#[cfg(feature = "native-tls")]
use crate::config::tls::{self, Verification};
use crate::config::tls::{ChannelBinding, ClientIdentity, SslMode, SslNegotiation, Tls};
use crate::error::Error;
use mysql::{Opts, SslOpts};

/// Checks the configuration; `by_socket` if an endpoint is a unix socket.
///
/// # Errors
///
/// [`ErrorKind::Config`](crate::ErrorKind::Config): the driver cannot do what it asks for.
pub(super) fn check(tls: &Tls, by_socket: bool) -> Result<(), Error> {
    tls.check()?;
    let mode = tls.mode;
    if by_socket && !matches!(mode, SslMode::Disable | SslMode::Prefer) {
        return Err(Error::config(format!(
            "sslmode={mode} with a unix socket: the mysql driver would silently connect without \
             TLS; use sslmode=disable or prefer there, or give a host"
        )));
    }
    if tls.channel_binding == ChannelBinding::Require {
        return Err(Error::config(
            "channel_binding=require: the MySQL protocol has no channel binding; use \
             sslmode=verify-full",
        ));
    }
    if tls.negotiation == SslNegotiation::Direct {
        return Err(Error::config(
            "sslnegotiation=direct: the MySQL protocol starts unencrypted; remove this option",
        ));
    }
    if let Some(ClientIdentity::Pem { certificate, key }) = &tls.identity {
        return Err(Error::config(format!(
            "sslcert {0}: the mysql driver reads a certificate and its key only from a PKCS#12 \
             archive; create one with: openssl pkcs12 -export -in {0} -inkey {1} -out NEW, and \
             set sslpkcs12 to it",
            certificate.display(),
            key.display()
        )));
    }
    check_files(tls)
}

#[cfg(feature = "native-tls")]
fn check_files(tls: &Tls) -> Result<(), Error> {
    if tls.mode == SslMode::Disable {
        return Ok(());
    }
    if let Some(path) = &tls.root_certificate
        && tls.verification() != Verification::Nothing
    {
        tls::roots(path)?;
    }
    tls.identity.as_ref().map_or(Ok(()), |identity| tls::identity(identity).map(drop))
}

#[cfg(not(feature = "native-tls"))]
fn check_files(_: &Tls) -> Result<(), Error> {
    Ok(())
}

/// Returns the driver's own options for a dial with TLS.
#[cfg(feature = "native-tls")]
pub(super) fn ssl_opts(tls: &Tls) -> Option<SslOpts> {
    let verification = tls.verification();
    let mut opts = SslOpts::default()
        .with_danger_accept_invalid_certs(verification == Verification::Nothing)
        .with_danger_skip_domain_validation(verification != Verification::Host);
    if verification != Verification::Nothing {
        opts = opts.with_root_cert_path(tls.root_certificate.clone());
    }
    if let Some(ClientIdentity::Pkcs12 { archive, passphrase }) = &tls.identity {
        let identity = mysql::ClientIdentity::new(archive.clone());
        opts = opts.with_client_identity(Some(match passphrase {
            Some(passphrase) => identity.with_password(passphrase.expose().to_owned()),
            None => identity,
        }));
    }
    Some(opts)
}

/// Returns `None`: without the feature no dial uses TLS.
#[cfg(not(feature = "native-tls"))]
pub(super) fn ssl_opts(_: &Tls) -> Option<SslOpts> {
    None
}

/// Returns the TLS configuration in the driver's own options.
pub(super) fn tls_of(opts: &Opts) -> Tls {
    let Some(ssl) = opts.get_ssl_opts() else { return Tls::default() };
    let mode = match (ssl.accept_invalid_certs(), ssl.skip_domain_validation()) {
        (true, _) => SslMode::Require,
        (false, true) => SslMode::VerifyCa,
        (false, false) => SslMode::VerifyFull,
    };
    let mut tls = Tls::new(mode);
    // With `require` a root certificate would be verified.
    if mode != SslMode::Require
        && let Some(path) = ssl.root_cert_path()
    {
        tls = tls.root_certificate(path);
    }
    identity_of(ssl).into_iter().fold(tls, Tls::identity)
}

#[cfg(feature = "native-tls")]
fn identity_of(ssl: &SslOpts) -> Option<ClientIdentity> {
    ssl.client_identity().map(|identity| ClientIdentity::Pkcs12 {
        archive: identity.pkcs12_path().to_owned(),
        passphrase: identity.password().map(Into::into),
    })
}

#[cfg(not(feature = "native-tls"))]
fn identity_of(_: &SslOpts) -> Option<ClientIdentity> {
    None
}
