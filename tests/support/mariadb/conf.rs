//! Settings of one server.

use std::path::Path;

use super::{Product, programs};
use crate::account::Account;
use crate::certificates::{self, Certificate};
use crate::language::Language;

/// Fast and quiet, not durable: the data is deleted with the test.
const COMMON: [&str; 9] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=off",
    "--key-buffer-size=1M",
    "--innodb-buffer-pool-dump-at-shutdown=off",
    "--innodb-buffer-pool-load-at-startup=off",
    "--innodb-doublewrite=off",
    "--innodb-flush-log-at-trx-commit=0",
];
const MARIADB: [&str; 8] = [
    "--aria-log-file-size=8M",
    "--aria-pagecache-buffer-size=1M",
    "--innodb-buffer-pool-size=8M",
    "--innodb-fast-shutdown=1",
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=4M",
    "--innodb-temp-data-file-path=ibtmp1:1M:autoextend",
    "--innodb-use-native-aio=off",
];
/// TLS is off unless a test needs it, as with MariaDB; the X protocol has a port of its own.
const MYSQL: [&str; 6] = [
    "--auto-generate-certs=off",
    "--innodb-buffer-pool-size=16M",
    "--innodb-redo-log-capacity=8M",
    // As on MariaDB.
    "--local-infile=on",
    "--log-error-verbosity=3",
    "--mysqlx=off",
];

/// Settings of a server that is about to start.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    settings: Vec<String>,
    tls: Option<Certificate>,
}

impl Conf {
    /// Sets one server option; the last value of a name counts.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Conf {
        self.settings.push(format!("--{name}={value}"));
        self
    }

    /// Sets the language of the server's messages; its log stays English.
    pub fn messages(&mut self, language: Language) -> &mut Conf {
        self.set("lc-messages", language.name())
    }

    /// Switches TLS on, with this certificate; client certificates of our authority are trusted.
    pub fn tls(&mut self, certificate: Certificate) -> &mut Conf {
        self.tls = Some(certificate);
        self
    }

    /// The settings for TLS, after its files were laid beside the data.
    pub(super) fn install_tls(&mut self, folder: &Path, account: Account) {
        let Some(certificate) = self.tls else { return };
        let files = certificates::install(certificate, folder, account);
        self.set("ssl-cert", &files.certificate.display().to_string());
        self.set("ssl-key", &files.key.display().to_string());
        self.set("ssl-ca", &files.authority.display().to_string());
    }

    pub(super) fn defaults(data: &Path) -> Vec<String> {
        let first = ["--no-defaults".to_owned(), format!("--datadir={}", data.display())];
        let own: &[&str] = match programs::product() {
            Product::MariaDb => &MARIADB,
            Product::MySql => &MYSQL,
        };
        first.into_iter().chain(COMMON.iter().chain(own).map(|&text| text.to_owned())).collect()
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = String> {
        self.settings.iter().cloned()
    }
}
