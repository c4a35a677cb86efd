//! The text of a driver's error, or of another foreign error: the server's primary message
//! and code, or the driver's own text, on one line.
//!
//! DETAIL, HINT, the statement, its parameters and the values of rows are left out: they may
//! hold data of the application.

use crate::sys::catch_panic::catch_panic;
use crate::sys::one_line::one_line;
use std::error::Error as StdError;

/// Returns the text of an error and of the causes that its text does not already contain.
pub(super) fn text(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for part in chain(error) {
        if !text.contains(&part) {
            let separator = if text.is_empty() { "" } else { ": " };
            text += separator;
            text += &part;
        }
    }
    text
}

/// Returns the texts of an error and of its causes, one by one. A server's error is the
/// last: its own causes repeat it with DETAIL and HINT.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut parts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // The error's type may be a user's.
        let read = catch_panic(|| match of_server(error) {
            Some(text) => (Some(text), None),
            None => (of_driver(error).or_else(|| Some(error.to_string())), error.source()),
        });
        let (part, source) = read.unwrap_or_else(|panicked| (Some(panicked.to_string()), None));
        parts.extend(part.filter(|part| !part.is_empty()).map(|part| one_line(&part).into_owned()));
        next = source;
    }
    parts
}

/// Returns the primary message and the code of an error from the server, or SQLite's own.
fn of_server(error: &(dyn StdError + 'static)) -> Option<String> {
    #[cfg(feature = "postgres")]
    {
        let wrapped = error.downcast_ref::<postgres::Error>().and_then(|error| error.as_db_error());
        if let Some(server) = wrapped.or_else(|| error.downcast_ref()) {
            return Some(format!("{} ({})", server.message(), server.code().code()));
        }
    }
    #[cfg(feature = "mysql")]
    {
        let wrapped = error.downcast_ref::<mysql::Error>();
        let wrapped = wrapped.and_then(|error| match error {
            mysql::Error::MySqlError(server) => Some(server),
            _ => None,
        });
        if let Some(server) = wrapped.or_else(|| error.downcast_ref()) {
            return Some(format!("{} ({})", server.message, server.code));
        }
    }
    #[cfg(feature = "sqlite")]
    if let Some(rusqlite::Error::IntegralValueOutOfRange(index, _)) = error.downcast_ref() {
        return Some(format!("Integer out of range at index {index}"));
    }
    // Its own text ends in the statement.
    #[cfg(all(feature = "sqlite", feature = "bundled"))]
    if let Some(rusqlite::Error::SqlInputError { msg, .. }) = error.downcast_ref() {
        return Some(msg.clone());
    }
    let _ = error;
    None
}

/// Returns a driver's own text where it is less than the error's `Display`.
fn of_driver(error: &(dyn StdError + 'static)) -> Option<String> {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.downcast_ref::<postgres::Error>() {
        let text = error.to_string();
        // The phrase in front of it says the same.
        return Some(if text == "error connecting to server" { String::new() } else { text });
    }
    #[cfg(feature = "mysql")]
    if let Some(row) = error.downcast_ref::<mysql::FromRowError>() {
        return Some(row_text(&row.0));
    }
    #[cfg(feature = "mysql")]
    if let Some(value) = error.downcast_ref::<mysql::FromValueError>() {
        return Some(value_text(&value.0));
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = error.downcast_ref::<mysql::Error>() {
        // Without the name of the variant.
        return Some(match error {
            mysql::Error::FromRowError(row) => row_text(row),
            mysql::Error::FromValueError(value) => value_text(value),
            mysql::Error::IoError(error) => error.to_string(),
            mysql::Error::CodecError(error) => error.to_string(),
            mysql::Error::DriverError(error) => error.to_string(),
            mysql::Error::UrlError(error) => error.to_string(),
            other => other.to_string(),
        });
    }
    let _ = error;
    None
}

/// Describes a row that does not fit a type: its columns and what kind of value each has.
#[cfg(feature = "mysql")]
fn row_text(row: &mysql::Row) -> String {
    let columns = row.columns_ref().iter().enumerate();
    let columns = columns.map(|(index, column)| match row.as_ref(index) {
        Some(value) => format!("{} ({})", column.name_str(), kind(value)),
        None => column.name_str().into_owned(),
    });
    format!("its columns are {}", columns.collect::<Vec<_>>().join(", "))
}

#[cfg(feature = "mysql")]
fn value_text(value: &mysql::Value) -> String {
    format!("a value of the kind {} does not fit its type", kind(value))
}

#[cfg(feature = "mysql")]
fn kind(value: &mysql::Value) -> &'static str {
    use mysql::Value;
    match value {
        Value::NULL => "NULL",
        Value::Bytes(_) => "text or bytes",
        Value::Int(_) | Value::UInt(_) => "integer",
        Value::Float(_) | Value::Double(_) => "floating-point number",
        Value::Date(..) => "date",
        Value::Time(..) => "time",
    }
}
