//! The types of the keys' values, and their normalized form.

use super::spelling::{address, host, port};
use super::spelling::{each, one_of, plain, ssl_mode};
use crate::config::TextValue;

/// PostgreSQL, `src/include/libpq/auth.h`: PG_MAX_AUTH_TOKEN_LENGTH, which limits passwords
/// too. No other value is longer.
const LONGEST: usize = 65_535;

/// Linux, limits.h: PATH_MAX.
const LONGEST_PATH: usize = 4_096;

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    /// Any text.
    Text,
    /// Any text, never shown.
    Secret,
    /// The path of a file.
    File,
    /// Host names, addresses or socket paths, separated by commas.
    Hosts,
    /// Addresses, separated by commas.
    Addresses,
    /// Ports, separated by commas; an empty one is the default.
    Ports,
    /// Whole seconds; 0 and less mean unset, as in libpq.
    Seconds,
    /// A count, or whole milliseconds.
    Number,
    /// 0 or 1, true or false.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// libpq's or MySQL's name of an `sslmode`.
    SslMode,
    /// `true` for `sslmode=require`.
    Ssl,
}

impl ValueType {
    /// Checks and normalizes a value.
    ///
    /// # Errors
    ///
    /// The expected form; never the value.
    pub(super) fn check(self, value: &str) -> Result<String, String> {
        if value.contains('\0') {
            return Err("contains a NUL byte".to_owned());
        }
        let longest = if self == ValueType::File { LONGEST_PATH } else { LONGEST };
        if value.len() > longest {
            return Err(format!("too long: at most {longest} bytes"));
        }
        match self {
            ValueType::Text | ValueType::Secret | ValueType::File => Ok(value.to_owned()),
            ValueType::Hosts => each(value, host),
            ValueType::Addresses => each(value, address),
            ValueType::Ports => each(value, port),
            ValueType::Seconds => match value.parse::<i64>() {
                Ok(seconds) => Ok(seconds.max(0).to_string()),
                Err(_) => Err("expected a whole number of seconds".to_owned()),
            },
            ValueType::Number => plain::<u32>(value),
            ValueType::Switch => plain::<bool>(value),
            ValueType::OneOf(words) => one_of(value, words),
            ValueType::SslMode => ssl_mode(value),
            ValueType::Ssl => Ok(match bool::parse(value) {
                Some(true) => "require",
                Some(false) => "disable",
                None => return Err(format!("expected {}; or use sslmode", bool::EXPECTED)),
            }
            .to_owned()),
        }
    }
}
