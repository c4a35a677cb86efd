//! Parses and normalizes each type of value.

use super::similar;
use crate::config::text_value::TextValue;
use std::net::IpAddr;

pub(super) const MODES: &[&str] = &["disable", "prefer", "require", "verify-ca", "verify-full"];

/// MySQL documentation, "Command Options for Encrypted Connections", `--ssl-mode`.
pub(super) const MYSQL_MODES: &[(&str, &str)] = &[
    ("disabled", "disable"),
    ("preferred", "prefer"),
    ("required", "require"),
    ("verify_ca", "verify-ca"),
    ("verify_identity", "verify-full"),
];

pub(super) fn plain<T: TextValue>(value: &str) -> Result<String, String> {
    T::parse(value).map(|value| value.to_text()).ok_or_else(|| format!("expected {}", T::EXPECTED))
}

pub(super) fn one_of(value: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(format!("must be one of {}{}", words.join(", "), similar::nearest(value, words)))
}

pub(super) fn ssl_mode(value: &str) -> Result<String, String> {
    if value == "allow" {
        let text =
            "allow is not supported, because it tries without TLS first; use prefer or require";
        return Err(text.to_owned());
    }
    let mysql = MYSQL_MODES.iter().find(|(word, _)| value.eq_ignore_ascii_case(word));
    one_of(mysql.map_or(value, |(_, mode)| mode), MODES)
}

/// Checks each entry of a list; an error names the entry's position.
pub(super) fn each(
    list: &str,
    check: fn(&str) -> Result<String, &'static str>,
) -> Result<String, String> {
    let count = list.split(',').count();
    let parts = list.split(',').enumerate().map(|(place, part)| {
        check(part.trim()).map_err(|mistake| match count {
            1 => mistake.to_owned(),
            _ => format!("entry {}: {mistake}", place + 1),
        })
    });
    Ok(parts.collect::<Result<Vec<_>, _>>()?.join(","))
}

pub(super) fn host(text: &str) -> Result<String, &'static str> {
    // In connection strings and files the brackets of an IPv6 address are optional.
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    if bare.is_empty() {
        return Err("empty");
    }
    // libpq: an @ in front is an abstract unix socket.
    let is_path = bare.starts_with('/') || bare.starts_with('@') && bare.len() > 1;
    if !is_path && bare.contains(':') {
        return ipv6(bare);
    }
    let strange = |c: char| c.is_control() || c.is_whitespace() || "=@/?#%'\"\\".contains(c);
    if !is_path && bare.contains(strange) {
        return Err("invalid character in a host name");
    }
    if bare.contains(char::is_control) {
        return Err("contains a control character");
    }
    Ok(bare.to_owned())
}

/// Checks an IPv6 address, with a zone if need be (`fe80::1%eth0`).
fn ipv6(text: &str) -> Result<String, &'static str> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    if address.parse::<IpAddr>().is_err() {
        return Err("contains a colon but is not an IPv6 address; set the port by the key port");
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if zone.is_empty() || !zone.chars().all(is_name) {
        return Err("expected the name or the number of a network interface after the %");
    }
    Ok(text.to_owned())
}

pub(super) fn address(text: &str) -> Result<String, &'static str> {
    let address = text.parse::<IpAddr>();
    address.map(|address| address.to_string()).map_err(|_| "expected an IP address")
}

pub(super) fn port(text: &str) -> Result<String, &'static str> {
    match u16::parse(text) {
        _ if text.is_empty() => Ok(String::new()),
        Some(port) if port > 0 => Ok(port.to_string()),
        _ => Err("expected a number from 1 to 65535"),
    }
}
