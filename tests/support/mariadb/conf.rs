//! Settings of one server.

use std::path::Path;

use crate::account::Account;
use crate::certificates::{self, Certificate};

/// Quick and quiet, not durable: the data dies with the test.
const DEFAULTS: [&str; 17] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=off",
    "--aria-log-file-size=8M",
    "--aria-pagecache-buffer-size=1M",
    "--key-buffer-size=1M",
    "--innodb-buffer-pool-size=8M",
    "--innodb-buffer-pool-dump-at-shutdown=off",
    "--innodb-buffer-pool-load-at-startup=off",
    "--innodb-doublewrite=off",
    "--innodb-fast-shutdown=1",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=4M",
    "--innodb-temp-data-file-path=ibtmp1:1M:autoextend",
    "--innodb-use-native-aio=off",
];

/// Settings of a server that is about to start.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    settings: Vec<String>,
    tls: Option<Certificate>,
}

impl Conf {
    /// Sets one server option; the last word on a name counts.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Conf {
        self.settings.push(format!("--{name}={value}"));
        self
    }

    /// Switches TLS on, with this certificate; clients' of our authority are believed.
    pub fn tls(&mut self, certificate: Certificate) -> &mut Conf {
        self.tls = Some(certificate);
        self
    }

    /// The settings for TLS, after its files were laid beside the data.
    pub(super) fn lay_tls(&mut self, folder: &Path, account: Account) {
        let Some(certificate) = self.tls else { return };
        let files = certificates::install(certificate, folder, account);
        self.set("ssl-cert", &files.certificate.display().to_string());
        self.set("ssl-key", &files.key.display().to_string());
        self.set("ssl-ca", &files.authority.display().to_string());
    }

    pub(super) fn defaults(data: &Path) -> Vec<String> {
        let first = ["--no-defaults".to_owned(), format!("--datadir={}", data.display())];
        first.into_iter().chain(DEFAULTS.map(str::to_owned)).collect()
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = String> {
        self.settings.iter().cloned()
    }
}
