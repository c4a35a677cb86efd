//! Splits URLs: scheme, user, hosts, database, parameters.
//!
//! PostgreSQL documentation, "Connection URIs", with three differences, so that a part of
//! a password is never taken for a host or a database, and then shown: the last `@` of
//! the authority ends the password; a later `@` is rejected where it may belong to the
//! password; malformed encodings are rejected.

use super::key_value::KeyValue;
use super::system::System;
use super::{keys, percent, suggestions};

const SCHEMES: [(&str, System); 4] = [
    ("postgres", System::Postgres),
    ("postgresql", System::Postgres),
    ("mysql", System::MySql),
    ("mariadb", System::MySql),
];

/// The error for an `@` in the wrong place.
const ESCAPE: &str = "unexpected '@': in a user or a password write / as %2F, ? as %3F, @ as %40 \
                      and % as %25; in a database name write @ as %40";

/// Splits a URL; `None` if the text is not a URL.
///
/// # Errors
///
/// A description of the mistake, without any part of the URL.
pub(super) fn split(text: &str) -> Result<Option<(System, Vec<KeyValue>)>, String> {
    let text = text.trim();
    let Some((scheme, rest)) = scheme_of(text) else { return Ok(None) };
    if scheme.eq_ignore_ascii_case("sqlite") {
        return Ok(Some((System::Sqlite, file(rest)?)));
    }
    let known = SCHEMES.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
    let (Some((_, system)), Some(rest)) = (known, rest.strip_prefix("//")) else {
        return Err(
            "unknown scheme (expected postgres://, postgresql://, mysql://, mariadb:// or \
                    sqlite:)"
                .to_owned(),
        );
    };
    let (authority, tail) = cut_before(rest, &['/', '?']);
    let (path, query) = cut_before(tail, &['?']);
    // The text in front of such an @ may be a password.
    if path.contains('@') || (query.contains('@') && !authority.contains('@')) {
        return Err(ESCAPE.to_owned());
    }
    let mut pairs = Vec::new();
    let hosts = match authority.rsplit_once('@') {
        Some((user, hosts)) => {
            read_user(user, &mut pairs)?;
            hosts
        }
        None => authority,
    };
    read_hosts(hosts, &mut pairs)?;
    read_name(path, &mut pairs)?;
    // A password that starts with ? leaves a trailing colon.
    let may_hold_password = query.contains('@') || authority.ends_with(':');
    read_parameters(query, may_hold_password, &mut pairs)?;
    Ok(Some((*system, pairs)))
}

/// Splits off the scheme, the letters in front of a colon; `sqlite:` needs no slashes.
fn scheme_of(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = !scheme.is_empty()
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    // Where another scheme follows, it is no list of keys: `jdbc:postgresql://h`.
    let needs_no_slashes = ["sqlite", "jdbc"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
    let is_url = rest.starts_with("//") || needs_no_slashes;
    (is_scheme && is_url).then_some((scheme, rest))
}

fn cut_before<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn decoded(part: &str, text: &str) -> Result<String, String> {
    percent::decode(text).map_err(|mistake| format!("{part}: {mistake}"))
}

/// Adds a part of the URL, if present.
fn add(pairs: &mut Vec<KeyValue>, key: &str, value: String) {
    if !value.is_empty() {
        pairs.push(KeyValue { key: key.to_owned(), value, may_be_shown: true });
    }
}

fn read_user(text: &str, pairs: &mut Vec<KeyValue>) -> Result<(), String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    add(pairs, "user", decoded("user", user)?);
    add(pairs, "password", decoded("password", password)?);
    Ok(())
}

/// Parses `host:port,[address]:port,…`.
fn read_hosts(text: &str, pairs: &mut Vec<KeyValue>) -> Result<(), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(bracketed) => {
                let Some((address, tail)) = bracketed.split_once(']') else {
                    return Err("host: missing ']'".to_owned());
                };
                if address.is_empty() {
                    return Err("host: empty brackets".to_owned());
                }
                let port = if tail.is_empty() { Some("") } else { tail.strip_prefix(':') };
                let Some(port) = port else {
                    return Err("host: only :port may follow ']'".to_owned());
                };
                (address, port)
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        if port.contains(':') {
            return Err("host: more than one ':' (write an IPv6 address in brackets)".to_owned());
        }
        hosts.push(decoded("host", host)?);
        ports.push(decoded("port", port)?);
    }
    let some = |list: &[String]| list.iter().any(|one| !one.is_empty());
    if some(&hosts) {
        add(pairs, "host", hosts.join(","));
    }
    if some(&ports) {
        add(pairs, "port", ports.join(","));
    }
    Ok(())
}

fn read_name(path: &str, pairs: &mut Vec<KeyValue>) -> Result<(), String> {
    let name = path.strip_prefix('/').unwrap_or(path);
    add(pairs, "dbname", decoded("dbname", name)?);
    Ok(())
}

fn read_parameters(
    query: &str,
    may_hold_password: bool,
    pairs: &mut Vec<KeyValue>,
) -> Result<(), String> {
    let mut after_secret = false;
    let query = query.strip_prefix('?').unwrap_or(query);
    for (place, one) in query.split('&').enumerate().filter(|(_, one)| !one.is_empty()) {
        let Some((key, value)) = one.split_once('=') else {
            return Err(format!("parameter {} has no '='", place + 1));
        };
        let key = decoded("parameter name", key)?;
        let known = if keys::is_known(&key) { &key } else { "parameter" };
        let value = decoded(known, value)?;
        // The rest of a password that contains an & would look like a key.
        let may_be_shown = !may_hold_password && !after_secret;
        after_secret = keys::is_secret(&key) || suggestions::may_hold_a_secret(&value);
        pairs.push(KeyValue { key, value, may_be_shown });
    }
    Ok(())
}

/// Parses `sqlite:path`, `sqlite://path` and `sqlite::memory:`, with parameters after `?`.
fn file(rest: &str) -> Result<Vec<KeyValue>, String> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = cut_before(rest, &['?']);
    let mut pairs = Vec::new();
    if path.is_empty() {
        return Err(
            "sqlite: missing file name (use sqlite::memory: for a database in memory)".to_owned()
        );
    }
    add(&mut pairs, "path", decoded("path", path)?);
    read_parameters(query, query.contains('@'), &mut pairs)?;
    Ok(pairs)
}
