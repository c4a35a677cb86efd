//! The table of keys: what each is called, whose it is, and its form.

use super::form::Form;
use super::{Style, System};
use crate::config::Knobs;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) systems: &'static [System],
    pub(super) form: Form,
}

impl Key {
    /// The key under which its value is kept.
    pub(super) fn stored_as(&self) -> &'static str {
        if self.form == Form::Ssl { "sslmode" } else { self.name }
    }
}

const fn key(name: &'static str, systems: &'static [System], form: Form) -> Key {
    Key { name, systems, form }
}

const SERVERS: &[System] = &[System::Postgres, System::MySql];
const POSTGRES: &[System] = &[System::Postgres];
const MYSQL: &[System] = &[System::MySql];
const SQLITE: &[System] = &[System::Sqlite];

/// PostgreSQL documentation, "Parameter Key Words"; for MySQL and MariaDB the same
/// words where they mean the same, and the `mysql` driver's own.
const KEYS: &[Key] = &[
    key("host", SERVERS, Form::Hosts),
    key("hostaddr", POSTGRES, Form::Addresses),
    key("port", SERVERS, Form::Ports),
    key("user", SERVERS, Form::Text),
    key("password", SERVERS, Form::Secret),
    key("passfile", POSTGRES, Form::Text),
    key("dbname", SERVERS, Form::Text),
    key("sslmode", SERVERS, Form::SslMode),
    key("ssl", SERVERS, Form::Ssl),
    key("sslrootcert", SERVERS, Form::Text),
    key("sslcert", SERVERS, Form::Text),
    key("sslkey", SERVERS, Form::Text),
    key("sslpkcs12", SERVERS, Form::Text),
    key("sslpassword", SERVERS, Form::Secret),
    key("sslnegotiation", POSTGRES, Form::OneOf(&["postgres", "direct"])),
    key("channel_binding", POSTGRES, Form::OneOf(&["disable", "prefer", "require"])),
    key("connect_timeout", SERVERS, Form::Seconds),
    key("load_balance_hosts", SERVERS, Form::OneOf(&["disable", "random"])),
    key("keepalives", POSTGRES, Form::Switch),
    key("keepalives_idle", SERVERS, Form::Seconds),
    key("keepalives_interval", SERVERS, Form::Seconds),
    key("keepalives_count", SERVERS, Form::Number),
    key("tcp_user_timeout", SERVERS, Form::Number),
    key("application_name", POSTGRES, Form::Text),
    key("fallback_application_name", POSTGRES, Form::Text),
    key("options", POSTGRES, Form::Text),
    key("target_session_attrs", POSTGRES, Form::OneOf(&["any", "read-write", "read-only"])),
    key("client_encoding", POSTGRES, Form::OneOf(&["UTF8", "utf8", "UTF-8", "utf-8", "auto"])),
    key("gssencmode", POSTGRES, Form::OneOf(&["disable", "prefer"])),
    key("socket", MYSQL, Form::Text),
    key("compress", MYSQL, Form::OneOf(COMPRESSIONS)),
    key("stmt_cache_size", MYSQL, Form::Number),
    key("max_allowed_packet", MYSQL, Form::Number),
    key("enable_cleartext_plugin", MYSQL, Form::Switch),
    key("secure_auth", MYSQL, Form::Switch),
    key("server_key_path", MYSQL, Form::Text),
    key("tcp_connect_timeout_ms", MYSQL, Form::Number),
    key("tcp_keepalive_time_ms", MYSQL, Form::Number),
    key("tcp_keepalive_probe_interval_secs", MYSQL, Form::Number),
    key("tcp_keepalive_probe_count", MYSQL, Form::Number),
    key("tcp_user_timeout_ms", MYSQL, Form::Number),
    key("prefer_socket", MYSQL, Form::OneOf(&["false"])),
    key("path", SQLITE, Form::Text),
    key("mode", SQLITE, Form::OneOf(&["ro", "rw", "rwc"])),
];

const COMPRESSIONS: &[&str] =
    &["true", "fast", "best", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Other words for the same: of other libraries, and of MySQL's own programs.
const ALIASES: &[(&str, &str)] = &[
    ("username", "user"),
    ("database", "dbname"),
    ("db_name", "dbname"),
    ("ssl-mode", "sslmode"),
    ("ssl_mode", "sslmode"),
    ("ssl-ca", "sslrootcert"),
    ("root_cert_path", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
    ("pkcs12_path", "sslpkcs12"),
    ("pkcs12_pass", "sslpassword"),
    ("keepalives_retries", "keepalives_count"),
];

const DESYNCHRONISES: &str = "after a time-out the mysql driver gives the next query the answer of the last one; \
     pool_connect_timeout bounds the connect, pool_ping_timeout the check";
const BY_SSLMODE: &str = "say it by sslmode: require, verify-ca or verify-full";
const BY_POOL: &str = "that is the pool's: see pool_validation and pool_reset";

/// Keys that others know, and why they are not here.
const REFUSED: &[(&str, &str)] = &[
    ("read_timeout", DESYNCHRONISES),
    ("write_timeout", DESYNCHRONISES),
    ("danger_skip_domain_validation", BY_SSLMODE),
    ("danger_accept_invalid_certs", BY_SSLMODE),
    ("require_ssl", BY_SSLMODE),
    ("requiressl", BY_SSLMODE),
    ("verify_ca", BY_SSLMODE),
    ("verify_identity", BY_SSLMODE),
    ("reset_connection", BY_POOL),
    ("check_health", BY_POOL),
    ("service", "service files are not read here"),
    ("servicefile", "service files are not read here"),
    ("sslcrl", "revocation lists are not supported"),
    ("sslcrldir", "revocation lists are not supported"),
    ("sslsni", "always on with TLS; it cannot be switched off"),
    ("sslcertmode", "a client certificate is shown if one is given"),
    ("sslcompression", "compression within TLS is not supported"),
    ("ssl_min_protocol_version", "the TLS library decides; it cannot be set here"),
    ("ssl_max_protocol_version", "the TLS library decides; it cannot be set here"),
    ("requirepeer", "not supported"),
    ("require_auth", "not supported"),
    ("krbsrvname", "GSSAPI is not supported"),
    ("gsslib", "GSSAPI is not supported"),
    ("gssdelegation", "GSSAPI is not supported"),
    ("replication", "replication connections are not for a pool"),
];

/// What a word turned out to be.
#[derive(Debug)]
pub(super) enum Found {
    Knob(&'static str),
    Key(&'static Key),
    Refused(&'static str),
    Unknown,
}

/// What a URL puts in front of a knob's name.
pub(super) const MARK: &str = "pool_";

pub(super) fn find(word: &str, style: Style) -> Found {
    let knob = match style {
        Style::Marked => word.strip_prefix(MARK),
        Style::Bare => Some(word),
    };
    if let Some(name) = knob.and_then(|name| Knobs::NAMES.iter().find(|known| **known == name)) {
        return Found::Knob(name);
    }
    if let Some(key) = named(word) {
        return Found::Key(key);
    }
    let refused = REFUSED.iter().find(|(name, _)| *name == word);
    refused.map_or(Found::Unknown, |(_, reason)| Found::Refused(reason))
}

pub(super) fn named(word: &str) -> Option<&'static Key> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == word).map_or(word, |(_, name)| name);
    KEYS.iter().find(|key| key.name == name)
}

/// The names of all keys.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// The names of the keys whose values are secret, and their other names.
pub(super) fn secrets() -> impl Iterator<Item = &'static str> {
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    names().chain(aliases).filter(|name| is_secret(name))
}

pub(super) fn systems_of(name: &str) -> &'static [System] {
    named(name).map_or(&[], |key| key.systems)
}

/// Tells whether a word is ours, so that it may be shown.
pub(super) fn is_known(word: &str) -> bool {
    !matches!(find(word, Style::Marked), Found::Unknown)
}

pub(super) fn is_secret(word: &str) -> bool {
    named(word).is_some_and(|key| key.form == Form::Secret)
}

/// Tells whether a key's value may be shown: where to, and as whom.
pub(super) fn is_public(name: &str) -> bool {
    matches!(name, "host" | "hostaddr" | "port" | "user" | "dbname" | "sslmode" | "path" | "socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_leads_to_a_key_and_no_word_has_two_meanings() {
        for (alias, name) in ALIASES {
            assert!(KEYS.iter().any(|key| key.name == *name), "{alias}");
        }
        let words = KEYS.iter().map(|key| key.name);
        let words = words.chain(ALIASES.iter().map(|(alias, _)| *alias));
        let words = words.chain(REFUSED.iter().map(|(word, _)| *word));
        let mut words: Vec<_> = words.collect();
        words.sort_unstable();
        let count = words.len();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn a_url_marks_the_knobs_and_a_file_does_not() {
        assert!(matches!(find("pool_connect_timeout", Style::Marked), Found::Knob(_)));
        assert!(matches!(find("connect_timeout", Style::Marked), Found::Key(_)));
        assert!(matches!(find("connect_timeout", Style::Bare), Found::Knob(_)));
        assert!(matches!(find("max_size", Style::Marked), Found::Unknown));
        assert!(matches!(find("pool_max_size", Style::Bare), Found::Unknown));
    }
}
