//! Certificates, made by `openssl` on the first use in a process.
//!
//! Two authorities, a server certificate for each kind of verification failure, and a
//! client certificate with its key in each format. Nothing of it is kept in
//! the repository; all of it is removed with the process's scratch folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::account::Account;
use crate::{scratch, skip};

/// The names and addresses of a valid certificate.
const VALID_NAMES: &str = "DNS:localhost,IP:127.0.0.1,IP:0.0.0.0,IP:::1";
/// The names of the wrong one: no test connects to them.
const WRONG_NAMES: &str = "DNS:wrong.test,IP:192.0.2.9";

/// The user in the clients' certificates.
pub const USER: &str = "certified";
/// The passphrase of the encrypted files.
pub const PASSPHRASE: &str = "open sesame";

/// A server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Certificate {
    /// Of our authority, for every name and address that the tests use.
    Valid,
    /// Of our authority, for another host.
    WrongName,
    /// Expired yesterday.
    Expired,
    /// For the right host, of an untrusted authority.
    Untrusted,
}

impl Certificate {
    /// All of them.
    pub const ALL: [Certificate; 4] =
        [Certificate::Valid, Certificate::WrongName, Certificate::Expired, Certificate::Untrusted];

    fn name(self) -> &'static str {
        match self {
            Certificate::Valid => "valid",
            Certificate::WrongName => "wrong-name",
            Certificate::Expired => "expired",
            Certificate::Untrusted => "untrusted",
        }
    }

    /// Returns the certificate's PEM file.
    pub fn pem(self) -> PathBuf {
        file(&format!("{}.pem", self.name()))
    }

    /// Returns the PEM file of its PKCS#8 key.
    pub fn key(self) -> PathBuf {
        file(&format!("{}.key", self.name()))
    }
}

/// Returns `true` if `openssl` is installed; if not, reports the test as skipped.
///
/// # Panics
///
/// If it is missing although the environment has `REQUIRE_SERVERS=1`.
pub fn available() -> bool {
    let quiet = || Command::new("openssl").arg("version").stdout(Stdio::null()).status();
    let found = quiet().is_ok_and(|status| status.success());
    if !found {
        skip::missing("OpenSSL");
    }
    found
}

/// Returns the PEM file of our authority.
pub fn authority() -> PathBuf {
    file("authority.pem")
}

/// Returns a file of a client's certificate: `client.pem` with its PKCS#8 key
/// `client.key`, the same key as `client.pkcs1.key`, `client.ec.key` (of another one),
/// `client.encrypted.key`, and both in `client.p12` under [`PASSPHRASE`]; and
/// `untrusted-client.pem` and `untrusted-client.key` of the untrusted authority.
pub fn file(name: &str) -> PathBuf {
    folder().join(name)
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch::folder("tls", Account::current());
        make(&Openssl { folder: folder.clone() });
        folder
    })
}

/// The program and its working folder.
struct Openssl {
    folder: PathBuf,
}

fn make(openssl: &Openssl) {
    openssl.authority("authority");
    openssl.authority("untrusted-authority");
    let server = |certificate: Certificate, names: &str, days: &str, authority: &str| {
        let name = certificate.name();
        openssl.key(name);
        openssl.certificate(name, name, &format!("subjectAltName={names}"), days, authority);
    };
    server(Certificate::Valid, VALID_NAMES, "30", "authority");
    server(Certificate::WrongName, WRONG_NAMES, "30", "authority");
    server(Certificate::Expired, VALID_NAMES, "-1", "authority");
    server(Certificate::Untrusted, VALID_NAMES, "30", "untrusted-authority");
    openssl.key("untrusted-client");
    openssl.certificate(
        "untrusted-client",
        USER,
        "extendedKeyUsage=clientAuth",
        "30",
        "untrusted-authority",
    );
    client(openssl);
}

fn client(openssl: &Openssl) {
    let rsa = "genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out client.key";
    openssl.run(rsa, &[]);
    openssl.certificate("client", USER, "extendedKeyUsage=clientAuth", "30", "authority");
    openssl.run("rsa -in client.key -traditional -out client.pkcs1.key", &[]);
    openssl.run("ecparam -name prime256v1 -genkey -out client.ec.key", &[]);
    let secret = format!("pass:{PASSPHRASE}");
    openssl.run("pkcs8 -topk8 -in client.key -out client.encrypted.key", &["-passout", &secret]);
    let archive = "pkcs12 -export -in client.pem -inkey client.key -out client.p12";
    openssl.run(archive, &["-passout", &secret]);
}

impl Openssl {
    fn authority(&self, name: &str) {
        self.key(name);
        let subject = format!("/CN=the test {name}");
        let request = format!("req -x509 -new -key {name}.key -out {name}.pem -days 30");
        self.run(&request, &["-subj", &subject]);
    }

    fn key(&self, name: &str) {
        let curve = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
        self.run(&format!("genpkey -quiet {curve} -out {name}.key"), &[]);
    }

    /// A certificate for the key of this name.
    fn certificate(&self, name: &str, subject: &str, extension: &str, days: &str, authority: &str) {
        let subject = format!("/CN={subject}");
        self.run(&format!("req -new -key {name}.key -out {name}.csr"), &["-subj", &subject]);
        let extensions = self.folder.join(format!("{name}.ext"));
        fs::write(extensions, extension).expect("the folder can be written");
        let sign = format!("x509 -req -in {name}.csr -extfile {name}.ext -out {name}.pem");
        let by = format!("-CA {authority}.pem -CAkey {authority}.key -CAcreateserial");
        self.run(&format!("{sign} {by} -days"), &[days]);
    }

    fn run(&self, words: &str, more: &[&str]) {
        let output = Command::new("openssl")
            .args(words.split(' '))
            .args(more)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .output()
            .expect("openssl starts; call available() first");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words}: {errors}");
    }
}

/// Writes a server's certificate, its key and our authority into its folder, readable by
/// the server only; a running server has to be signalled to reload them.
pub(crate) fn install(certificate: Certificate, folder: &Path, account: Account) -> Installed {
    let place = |name: &str, from: PathBuf| {
        let path = folder.join(name);
        let bytes = fs::read(&from).expect("openssl wrote it");
        fs::write(&path, bytes).expect("the server's folder can be written");
        account.keep_private(&path);
        path
    };
    Installed {
        certificate: place("tls.pem", certificate.pem()),
        key: place("tls.key", certificate.key()),
        authority: place("tls-authority.pem", authority()),
    }
}

/// The files in a server's own folder.
pub(crate) struct Installed {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifies(certificate: Certificate, host: &str) -> bool {
        let output = Command::new("openssl")
            .args(["verify", "-verify_hostname", host, "-CAfile"])
            .args([authority(), certificate.pem()])
            .output();
        output.expect("openssl starts").status.success()
    }

    #[test]
    fn only_the_valid_certificate_is_verified() {
        if !available() {
            return;
        }
        let right = Certificate::ALL.map(|certificate| verifies(certificate, "localhost"));
        assert_eq!(right, [true, false, false, false]);
        assert!(verifies(Certificate::WrongName, "wrong.test"));
        let begins = |name: &str, with: &str| {
            let text = fs::read_to_string(file(name)).expect("it was made");
            assert!(text.contains(with), "{name}: {text}");
        };
        begins("client.key", "-----BEGIN PRIVATE KEY-----");
        begins("client.pkcs1.key", "-----BEGIN RSA PRIVATE KEY-----");
        begins("client.ec.key", "-----BEGIN EC PRIVATE KEY-----");
        begins("client.encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----");
    }
}
