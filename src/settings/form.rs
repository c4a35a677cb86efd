//! What the value of a key may look like, and its one spelling.

use super::hints;
use crate::config::Plain;
use std::net::IpAddr;

/// The form of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Any text.
    Text,
    /// Any text, never shown.
    Secret,
    /// Host names, addresses or paths of sockets, with commas.
    Hosts,
    /// Addresses with commas.
    Addresses,
    /// Ports with commas; an empty one is the default.
    Ports,
    /// Whole seconds; 0 and less are "not given", as libpq has it.
    Seconds,
    /// A count, or whole milliseconds.
    Number,
    /// 0 or 1, true or false.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// libpq's or MySQL's word for how much TLS there must be.
    SslMode,
    /// `true` for `sslmode=require`.
    Ssl,
}

pub(super) const MODES: &[&str] = &["disable", "prefer", "require", "verify-ca", "verify-full"];

/// MySQL documentation, "Command Options for Encrypted Connections", `--ssl-mode`.
const MYSQL_MODES: &[(&str, &str)] = &[
    ("disabled", "disable"),
    ("preferred", "prefer"),
    ("required", "require"),
    ("verify_ca", "verify-ca"),
    ("verify_identity", "verify-full"),
];

impl Form {
    /// Checks a value and brings it into its one spelling.
    ///
    /// # Errors
    ///
    /// Says what the value should be; never the value.
    pub(super) fn check(self, value: &str) -> Result<String, String> {
        if value.contains('\0') {
            return Err("contains a NUL byte".to_owned());
        }
        match self {
            Form::Text | Form::Secret => Ok(value.to_owned()),
            Form::Hosts => each(value, host),
            Form::Addresses => each(value, address),
            Form::Ports => each(value, port),
            Form::Seconds => match value.parse::<i64>() {
                Ok(seconds) => Ok(seconds.max(0).to_string()),
                Err(_) => Err("not a whole number of seconds".to_owned()),
            },
            Form::Number => plain::<u32>(value),
            Form::Switch => plain::<bool>(value),
            Form::OneOf(words) => one_of(value, words),
            Form::SslMode => ssl_mode(value),
            Form::Ssl => Ok(match bool::read(value) {
                Some(true) => "require",
                Some(false) => "disable",
                None => return Err(format!("not {}; or use sslmode", bool::FORM)),
            }
            .to_owned()),
        }
    }
}

fn plain<T: Plain>(value: &str) -> Result<String, String> {
    T::read(value).map(|value| value.write()).ok_or_else(|| format!("not {}", T::FORM))
}

fn one_of(value: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(format!("none of {}{}", words.join(", "), hints::meant(value, words)))
}

fn ssl_mode(value: &str) -> Result<String, String> {
    if value == "allow" {
        let text = "allow is not supported: it tries without TLS first; use prefer or require";
        return Err(text.to_owned());
    }
    let mysql = MYSQL_MODES.iter().find(|(word, _)| value.eq_ignore_ascii_case(word));
    one_of(mysql.map_or(value, |(_, mode)| mode), MODES)
}

/// Checks a list part by part; errors say which part is wrong.
fn each(list: &str, check: fn(&str) -> Result<String, &'static str>) -> Result<String, String> {
    let count = list.split(',').count();
    let parts = list.split(',').enumerate().map(|(place, part)| {
        check(part.trim()).map_err(|what| match count {
            1 => what.to_owned(),
            _ => format!("entry {}: {what}", place + 1),
        })
    });
    Ok(parts.collect::<Result<Vec<_>, _>>()?.join(","))
}

fn host(text: &str) -> Result<String, &'static str> {
    // In a list of keys and in files an address may have its brackets or not.
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    if bare.is_empty() {
        return Err("empty");
    }
    let is_path = bare.starts_with('/');
    if !is_path && bare.contains(':') && bare.parse::<IpAddr>().is_err() {
        return Err("a colon, but not an IPv6 address; a port has a key of its own");
    }
    let strange = |c: char| c.is_control() || c.is_whitespace() || "=@/?#%'\"\\".contains(c);
    if !is_path && bare.contains(strange) {
        return Err("a character that no host name has");
    }
    if bare.contains(char::is_control) {
        return Err("a control character");
    }
    Ok(bare.to_owned())
}

fn address(text: &str) -> Result<String, &'static str> {
    let address = text.parse::<IpAddr>();
    address.map(|address| address.to_string()).map_err(|_| "not an IP address")
}

fn port(text: &str) -> Result<String, &'static str> {
    match u16::read(text) {
        _ if text.is_empty() => Ok(String::new()),
        Some(port) if port > 0 => Ok(port.to_string()),
        _ => Err("not a number from 1 to 65535"),
    }
}
