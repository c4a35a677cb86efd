//! URLs, taken apart: scheme, user, hosts, database, parameters.
//!
//! PostgreSQL documentation, "Connection URIs", with three differences, so that a
//! part of a password is never taken for a host or a database, and then shown: the
//! last `@` of the part with the hosts ends the password; an `@` further on is
//! refused where it may be the password's; malformed encodings are refused.

use super::{Given, System, keys, percent};

const SCHEMES: [(&str, System); 4] = [
    ("postgres", System::Postgres),
    ("postgresql", System::Postgres),
    ("mysql", System::MySql),
    ("mariadb", System::MySql),
];

/// What is said of an `@` in the wrong place.
const ESCAPE: &str = "an @ where none belongs: in a user or a password write / as %2F, ? as %3F, \
                      @ as %40 and % as %25; in a database's name write @ as %40";

/// Splits a URL; `None` if the text is none.
///
/// # Errors
///
/// Says what is wrong, without any part of the URL.
pub(super) fn split(text: &str) -> Result<Option<(System, Vec<Given>)>, String> {
    let text = text.trim();
    let Some((scheme, rest)) = scheme_of(text) else { return Ok(None) };
    if scheme.eq_ignore_ascii_case("sqlite") {
        return Ok(Some((System::Sqlite, file(rest)?)));
    }
    let known = SCHEMES.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
    let (Some((_, system)), Some(rest)) = (known, rest.strip_prefix("//")) else {
        return Err("it begins with none of postgres://, postgresql://, mysql://, mariadb:// and \
                    sqlite:"
            .to_owned());
    };
    let (authority, tail) = cut_before(rest, &['/', '?']);
    let (path, query) = cut_before(tail, &['?']);
    // Whatever lies in front of such an @ may be a password.
    if path.contains('@') || (query.contains('@') && !authority.contains('@')) {
        return Err(ESCAPE.to_owned());
    }
    let mut given = Vec::new();
    let hosts = match authority.rsplit_once('@') {
        Some((user, hosts)) => {
            read_user(user, &mut given)?;
            hosts
        }
        None => authority,
    };
    read_hosts(hosts, &mut given)?;
    read_name(path, &mut given)?;
    // A password that begins with ? leaves a colon behind.
    let doubtful = query.contains('@') || authority.ends_with(':');
    read_parameters(query, doubtful, &mut given)?;
    Ok(Some((*system, given)))
}

/// A scheme is letters in front of a colon; `sqlite:` needs no slashes.
fn scheme_of(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = !scheme.is_empty()
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let is_url = rest.starts_with("//") || scheme.eq_ignore_ascii_case("sqlite");
    (is_scheme && is_url).then_some((scheme, rest))
}

fn cut_before<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn decoded(what: &str, text: &str) -> Result<String, String> {
    percent::decode(text).map_err(|wrong| format!("{what}: {wrong}"))
}

/// Adds a part of the URL, if it is there.
fn add(given: &mut Vec<Given>, key: &str, value: String) {
    if !value.is_empty() {
        given.push(Given { key: key.to_owned(), value, may_be_shown: true });
    }
}

fn read_user(text: &str, given: &mut Vec<Given>) -> Result<(), String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    add(given, "user", decoded("user", user)?);
    add(given, "password", decoded("password", password)?);
    Ok(())
}

/// Reads `host:port,[address]:port,…`.
fn read_hosts(text: &str, given: &mut Vec<Given>) -> Result<(), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(bracketed) => {
                let Some((address, behind)) = bracketed.split_once(']') else {
                    return Err("host: a [ without its ]".to_owned());
                };
                if address.is_empty() {
                    return Err("host: nothing between [ and ]".to_owned());
                }
                let port = if behind.is_empty() { Some("") } else { behind.strip_prefix(':') };
                let Some(port) = port else {
                    return Err("host: only :port may be behind a ]".to_owned());
                };
                (address, port)
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        if port.contains(':') {
            return Err("host: several colons; an IPv6 address is written in brackets".to_owned());
        }
        hosts.push(decoded("host", host)?);
        ports.push(decoded("port", port)?);
    }
    let some = |list: &[String]| list.iter().any(|one| !one.is_empty());
    if some(&hosts) {
        add(given, "host", hosts.join(","));
    }
    if some(&ports) {
        add(given, "port", ports.join(","));
    }
    Ok(())
}

fn read_name(path: &str, given: &mut Vec<Given>) -> Result<(), String> {
    let name = path.strip_prefix('/').unwrap_or(path);
    add(given, "dbname", decoded("dbname", name)?);
    Ok(())
}

fn read_parameters(query: &str, doubtful: bool, given: &mut Vec<Given>) -> Result<(), String> {
    let mut after_secret = false;
    let query = query.strip_prefix('?').unwrap_or(query);
    for (place, one) in query.split('&').enumerate().filter(|(_, one)| !one.is_empty()) {
        let Some((key, value)) = one.split_once('=') else {
            return Err(format!("parameter {} has no =", place + 1));
        };
        let key = decoded("a parameter's name", key)?;
        let known = if keys::is_known(&key) { &key } else { "a parameter" };
        let value = decoded(known, value)?;
        // The rest of a password with an & in it would look like a key.
        let may_be_shown = !doubtful && !after_secret;
        after_secret = keys::is_secret(&key);
        given.push(Given { key, value, may_be_shown });
    }
    Ok(())
}

/// `sqlite:path`, `sqlite://path`, `sqlite::memory:`, with parameters behind a `?`.
fn file(rest: &str) -> Result<Vec<Given>, String> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = cut_before(rest, &['?']);
    let mut given = Vec::new();
    if path.is_empty() {
        return Err("sqlite: names no file; a database in memory is sqlite::memory:".to_owned());
    }
    add(&mut given, "path", decoded("path", path)?);
    read_parameters(query, query.contains('@'), &mut given)?;
    Ok(given)
}
