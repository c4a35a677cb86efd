//! The table of keys: their names, systems and value types.

use super::key_value::Style;
use super::system::System;
use super::value_type::ValueType;
use crate::config::options::PoolOptions;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) systems: &'static [System],
    pub(super) value_type: ValueType,
}

impl Key {
    /// Returns the key under which the value is stored.
    pub(super) fn stored_as(&self) -> &'static str {
        if self.value_type == ValueType::Ssl { "sslmode" } else { self.name }
    }
}

const fn key(name: &'static str, systems: &'static [System], value_type: ValueType) -> Key {
    Key { name, systems, value_type }
}

const SERVERS: &[System] = &[System::Postgres, System::MySql];
const POSTGRES: &[System] = &[System::Postgres];
const MYSQL: &[System] = &[System::MySql];
const SQLITE: &[System] = &[System::Sqlite];

/// PostgreSQL documentation, "Parameter Key Words"; for MySQL and MariaDB the same names
/// where they have the same meaning, and the `mysql` driver's own.
const KEYS: &[Key] = &[
    key("host", SERVERS, ValueType::Hosts),
    key("hostaddr", POSTGRES, ValueType::Addresses),
    key("port", SERVERS, ValueType::Ports),
    key("user", SERVERS, ValueType::Text),
    key("password", SERVERS, ValueType::Secret),
    key("passfile", POSTGRES, ValueType::File),
    key("dbname", SERVERS, ValueType::Text),
    key("sslmode", SERVERS, ValueType::SslMode),
    key("ssl", SERVERS, ValueType::Ssl),
    key("sslrootcert", SERVERS, ValueType::File),
    key("sslcert", SERVERS, ValueType::File),
    key("sslkey", SERVERS, ValueType::File),
    key("sslpkcs12", SERVERS, ValueType::File),
    key("sslpassword", SERVERS, ValueType::Secret),
    key("sslnegotiation", POSTGRES, ValueType::OneOf(&["postgres", "direct"])),
    key("channel_binding", POSTGRES, ValueType::OneOf(&["disable", "prefer", "require"])),
    key("connect_timeout", SERVERS, ValueType::Seconds),
    key("load_balance_hosts", SERVERS, ValueType::OneOf(&["disable", "random"])),
    key("keepalives", POSTGRES, ValueType::Switch),
    key("keepalives_idle", SERVERS, ValueType::Seconds),
    key("keepalives_interval", SERVERS, ValueType::Seconds),
    key("keepalives_count", SERVERS, ValueType::Number),
    key("tcp_user_timeout", SERVERS, ValueType::Number),
    key("application_name", POSTGRES, ValueType::Text),
    key("fallback_application_name", POSTGRES, ValueType::Text),
    key("options", POSTGRES, ValueType::Text),
    key("target_session_attrs", POSTGRES, ValueType::OneOf(SESSION_ATTRS)),
    key("client_encoding", POSTGRES, ValueType::OneOf(&["UTF8", "utf8", "UTF-8", "utf-8", "auto"])),
    // With any other value libpq would refuse a server, or withhold a certificate.
    key("sslcertmode", POSTGRES, ValueType::OneOf(&["allow"])),
    key("gssencmode", POSTGRES, ValueType::OneOf(&["disable", "prefer"])),
    key("socket", MYSQL, ValueType::File),
    key("compress", MYSQL, ValueType::OneOf(COMPRESSIONS)),
    key("stmt_cache_size", MYSQL, ValueType::Number),
    key("max_allowed_packet", MYSQL, ValueType::Number),
    key("enable_cleartext_plugin", MYSQL, ValueType::Switch),
    key("secure_auth", MYSQL, ValueType::Switch),
    key("server_key_path", MYSQL, ValueType::File),
    key("tcp_connect_timeout_ms", MYSQL, ValueType::Number),
    key("tcp_keepalive_time_ms", MYSQL, ValueType::Number),
    key("tcp_keepalive_probe_interval_secs", MYSQL, ValueType::Number),
    key("tcp_keepalive_probe_count", MYSQL, ValueType::Number),
    key("tcp_user_timeout_ms", MYSQL, ValueType::Number),
    key("prefer_socket", MYSQL, ValueType::OneOf(&["false"])),
    key("path", SQLITE, ValueType::File),
    key("mode", SQLITE, ValueType::OneOf(&["ro", "rw", "rwc"])),
];

const SESSION_ATTRS: &[&str] =
    &["any", "read-write", "read-only", "primary", "standby", "prefer-standby"];

const COMPRESSIONS: &[&str] =
    &["true", "fast", "best", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Other names for the same keys: of other libraries, and of MySQL's own programs.
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

const DESYNCHRONISES: &str = "not supported: after a timeout the mysql driver returns the reply of the last query for the \
     next one; use pool_connect_timeout, pool_ping_timeout or pool_statement_timeout";
const BY_SSLMODE: &str = "not supported: use sslmode=require, verify-ca or verify-full";
const BY_POOL: &str = "not supported: use pool_validation and pool_reset";

/// Keys of other clients that are not supported, and why.
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
    ("service", "service files are not supported"),
    ("servicefile", "service files are not supported"),
    ("sslcrl", "revocation lists are not supported"),
    ("sslcrldir", "revocation lists are not supported"),
    ("sslsni", "not supported: always on with TLS"),
    ("sslcompression", "compression within TLS is not supported"),
    ("ssl_min_protocol_version", "not supported: set by the TLS library"),
    ("ssl_max_protocol_version", "not supported: set by the TLS library"),
    ("requirepeer", "not supported"),
    ("require_auth", "not supported"),
    ("krbsrvname", "GSSAPI is not supported"),
    ("gsslib", "GSSAPI is not supported"),
    ("gssdelegation", "GSSAPI is not supported"),
    ("replication", "replication connections are not supported"),
];

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Found {
    Option(&'static str),
    Key(&'static Key),
    Refused(&'static str),
    Unknown,
}

/// The prefix of an option's name in a URL.
pub(super) const PREFIX: &str = "pool_";

pub(super) fn find(word: &str, style: Style) -> Found {
    let option = match style {
        Style::Prefixed => word.strip_prefix(PREFIX),
        Style::Bare => Some(word),
    };
    if let Some(name) =
        option.and_then(|name| PoolOptions::NAMES.iter().find(|known| **known == name))
    {
        return Found::Option(name);
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

/// Returns the names of all keys.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// Returns the names of the keys with secret values, aliases included.
pub(super) fn secrets() -> impl Iterator<Item = &'static str> {
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    names().chain(aliases).filter(|name| is_secret(name))
}

pub(super) fn systems_of(name: &str) -> &'static [System] {
    named(name).map_or(&[], |key| key.systems)
}

/// Returns `true` if the name is a known one, so that it may be shown.
pub(super) fn is_known(word: &str) -> bool {
    !matches!(find(word, Style::Prefixed), Found::Unknown)
}

pub(super) fn is_secret(word: &str) -> bool {
    named(word).is_some_and(|key| key.value_type == ValueType::Secret)
}

/// Returns `true` if a key's value may be shown: server, user and database.
pub(super) fn is_public(name: &str) -> bool {
    matches!(name, "host" | "hostaddr" | "port" | "user" | "dbname" | "sslmode" | "path" | "socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_stands_for_a_key_and_no_name_has_two_meanings() {
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
    fn options_have_a_prefix_in_a_url_and_none_in_a_file() {
        assert!(matches!(find("pool_connect_timeout", Style::Prefixed), Found::Option(_)));
        assert!(matches!(find("connect_timeout", Style::Prefixed), Found::Key(_)));
        assert!(matches!(find("connect_timeout", Style::Bare), Found::Option(_)));
        assert!(matches!(find("max_size", Style::Prefixed), Found::Unknown));
        assert!(matches!(find("pool_max_size", Style::Bare), Found::Unknown));
    }
}
