//! Why a PostgreSQL server could not be connected to, as a class.

use crate::error::ConnectFault;
use postgres::Error;
use std::error::Error as _;
use std::io;

/// Classifies the driver's error of an attempt to connect.
pub(super) fn connect_fault(error: &Error) -> ConnectFault {
    if let Some(server) = error.as_db_error() {
        return by_code(server.code().code(), server.message());
    }
    if let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        return by_io(cause);
    }
    if error.is_closed() {
        return ConnectFault::Hangup;
    }
    // These kinds of the driver have no accessor; its texts are constants.
    match error.to_string() {
        text if text.starts_with("error performing TLS handshake") => ConnectFault::Tls,
        text if text.starts_with("invalid configuration") => ConnectFault::Config,
        text if text.starts_with("authentication error") => ConnectFault::Authentication,
        _ => ConnectFault::Other,
    }
}

/// PostgreSQL documentation, "Error Codes"; 08P01 is what pgbouncer gives all of
/// its own errors, told apart by text alone (measured with 1.18).
fn by_code(code: &str, text: &str) -> ConnectFault {
    match code {
        "28P01" | "28000" => ConnectFault::Authentication,
        "3D000" => ConnectFault::UnknownDatabase,
        "53300" => ConnectFault::Saturated,
        "57P01" | "57P02" | "57P03" => ConnectFault::Starting,
        "08P01" if text.contains("no more connections allowed") => ConnectFault::Saturated,
        "08P01" if text.contains("query_wait_timeout") => ConnectFault::Saturated,
        _ => ConnectFault::Other,
    }
}

fn by_io(error: &io::Error) -> ConnectFault {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            return ConnectFault::LocalResource;
        }
        Some(libc::EADDRNOTAVAIL) => return ConnectFault::LocalResource,
        _ => {}
    }
    match error.kind() {
        // A unix socket whose file is missing: the server is not there.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ConnectFault::Refused,
        io::ErrorKind::TimedOut => ConnectFault::TimedOut,
        // How the driver says that the server is not in the session state wanted; the
        // system's own permission errors carry a number.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => ConnectFault::ReadOnly,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ConnectFault::Unreachable
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => ConnectFault::Hangup,
        _ => ConnectFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        let table = [
            ("28P01", "password authentication failed", ConnectFault::Authentication),
            ("28000", "no pg_hba.conf entry", ConnectFault::Authentication),
            ("3D000", "database does not exist", ConnectFault::UnknownDatabase),
            ("53300", "sorry, too many clients already", ConnectFault::Saturated),
            ("57P01", "terminating connection", ConnectFault::Starting),
            ("57P02", "crash of another process", ConnectFault::Starting),
            ("57P03", "the database system is starting up", ConnectFault::Starting),
            ("08P01", "no more connections allowed (max_client_conn)", ConnectFault::Saturated),
            ("08P01", "query_wait_timeout", ConnectFault::Saturated),
            ("08P01", "bouncer config error", ConnectFault::Other),
            ("55000", "database is not currently accepting connections", ConnectFault::Other),
        ];
        for (code, text, fault) in table {
            assert_eq!(by_code(code, text), fault, "{code} {text}");
        }
    }

    #[test]
    fn each_system_error_has_its_class() {
        let table = [
            (libc::ECONNREFUSED, ConnectFault::Refused),
            (libc::ENOENT, ConnectFault::Refused),
            (libc::ETIMEDOUT, ConnectFault::TimedOut),
            (libc::EHOSTUNREACH, ConnectFault::Unreachable),
            (libc::ENETUNREACH, ConnectFault::Unreachable),
            (libc::ECONNRESET, ConnectFault::Hangup),
            (libc::EPIPE, ConnectFault::Hangup),
            (libc::EMFILE, ConnectFault::LocalResource),
            (libc::EADDRNOTAVAIL, ConnectFault::LocalResource),
            (libc::EPERM, ConnectFault::Other),
        ];
        for (number, fault) in table {
            assert_eq!(by_io(&io::Error::from_raw_os_error(number)), fault, "{number}");
        }
    }
}
