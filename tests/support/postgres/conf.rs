//! Settings of one server.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use crate::account::Account;
use crate::certificates::{self, Certificate};
use crate::language::{self, Language};

/// Fast and quiet, not durable: the data is deleted with the test.
const DEFAULTS: &str = "
listen_addresses = '127.0.0.1'
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
shared_buffers = 16MB
max_wal_size = 64MB
dynamic_shared_memory_type = mmap
jit = off
";

const TRUST: &str = "
local all all trust
host all all 127.0.0.1/32 trust
host all all ::1/128 trust
local replication all trust
";

/// Settings and access rules of a server that is about to start.
#[derive(Debug, Default)]
pub struct Conf {
    settings: String,
    hba: String,
    pub(super) more_sockets: String,
    tls: Option<Certificate>,
}

impl Conf {
    /// Sets one parameter of `postgresql.conf`; the last value of a name counts.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Conf {
        let value = value.replace('\'', "''");
        writeln!(self.settings, "{name} = '{value}'").expect("a string can be written");
        self
    }

    /// Sets the language of the server's messages and log; see [`super::translated`].
    pub fn messages(&mut self, language: Language) -> &mut Conf {
        // Every server that starts from now on finds it there.
        language::folder();
        self.set("lc_messages", &language.locale())
    }

    /// Adds a folder, or an abstract name such as `@name`, for a unix socket beside the
    /// server's own.
    pub fn more_sockets(&mut self, place: &str) -> &mut Conf {
        self.more_sockets.push_str(&format!(", {place}"));
        self
    }

    /// Adds a line to `pg_hba.conf`, before the rules that trust every client.
    pub fn hba(&mut self, line: &str) -> &mut Conf {
        self.hba.push_str(line);
        self.hba.push('\n');
        self
    }

    /// Switches TLS on, with this certificate; client certificates of our authority are trusted.
    pub fn tls(&mut self, certificate: Certificate) -> &mut Conf {
        self.tls = Some(certificate);
        self
    }

    /// The settings for TLS, after its files were laid beside the data.
    fn tls_settings(&self, folder: &Path, account: Account) -> String {
        let Some(certificate) = self.tls else { return String::new() };
        let files = certificates::install(certificate, folder, account);
        format!(
            "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'\n",
            files.certificate.display(),
            files.key.display(),
            files.authority.display()
        )
    }

    pub(super) fn write(&self, folder: &Path, account: Account) {
        let data = folder.join("data");
        let tls = self.tls_settings(folder, account);
        let opened = OpenOptions::new().append(true).open(data.join("postgresql.conf"));
        let mut file = opened.expect("initdb made postgresql.conf");
        let written = write!(file, "{DEFAULTS}{tls}{}", self.settings);
        written.expect("postgresql.conf can be written");
        // Written in place: the file keeps the owner that initdb gave it.
        let rules = format!("{}{TRUST}", self.hba);
        fs::write(data.join("pg_hba.conf"), rules).expect("pg_hba.conf can be written");
    }
}
