//! Why a MySQL or MariaDB server could not be connected to, as a class.

use crate::error::ConnectFault;
use mysql::{DriverError, Error};
use std::io;

/// Classifies the driver's error of an attempt to connect.
pub(super) fn connect_fault(error: &Error) -> ConnectFault {
    match error {
        Error::MySqlError(server) => by_number(server.code, &server.message),
        Error::IoError(error) => by_kind(error.kind()),
        // Its cause is an I/O error, or bytes that are no MySQL protocol.
        Error::CodecError(_) => ConnectFault::Hangup,
        Error::DriverError(error) => by_driver(error),
        Error::UrlError(_) => ConnectFault::Config,
        _ => ConnectFault::Other,
    }
}

/// The server's error number, where there is one.
pub(super) fn number(error: &Error) -> Option<u16> {
    match error {
        Error::MySqlError(server) => Some(server.code),
        _ => None,
    }
}

/// MySQL documentation, "Server Error Message Reference". Numbers, not SQLSTATEs:
/// 1040 comes before the handshake and shows HY000.
fn by_number(number: u16, text: &str) -> ConnectFault {
    match number {
        1040 | 1203 => ConnectFault::Saturated,
        // The same number stands for hourly quotas, which no waiting heals.
        1226 if text.contains("max_user_connections") => ConnectFault::Saturated,
        1044 | 1045 | 1130 | 1698 | 1820 | 1862 | 3118 | 3955 | 4151 => {
            ConnectFault::Authentication
        }
        1049 => ConnectFault::UnknownDatabase,
        // Too many aborted handshakes: an administrator must FLUSH HOSTS.
        1129 => ConnectFault::Config,
        1053 => ConnectFault::Starting,
        _ => ConnectFault::Other,
    }
}

fn by_driver(error: &DriverError) -> ConnectFault {
    match error {
        DriverError::ConnectTimeout | DriverError::Timeout => ConnectFault::TimedOut,
        DriverError::CouldNotConnect(Some((_, _, kind))) => by_kind(*kind),
        DriverError::TlsNotSupported => ConnectFault::Tls,
        DriverError::UnknownAuthPlugin(_)
        | DriverError::OldMysqlPasswordDisabled
        | DriverError::CleartextPluginDisabled => ConnectFault::Authentication,
        _ => ConnectFault::Other,
    }
}

fn by_kind(kind: io::ErrorKind) -> ConnectFault {
    match kind {
        // A unix socket whose file is missing: the server is not there.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ConnectFault::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectFault::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ConnectFault::Unreachable
        }
        io::ErrorKind::AddrNotAvailable => ConnectFault::LocalResource,
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
    fn each_number_has_its_class() {
        let table = [
            (1040, "Too many connections", ConnectFault::Saturated),
            (1203, "max_user_connections", ConnectFault::Saturated),
            (1226, "exceeded the 'max_user_connections' resource", ConnectFault::Saturated),
            (1226, "exceeded the 'max_connections_per_hour' resource", ConnectFault::Other),
            (1044, "access denied to database", ConnectFault::Authentication),
            (1045, "access denied", ConnectFault::Authentication),
            (1130, "host is not allowed", ConnectFault::Authentication),
            (1698, "access denied", ConnectFault::Authentication),
            (1820, "expired", ConnectFault::Authentication),
            (1862, "expired", ConnectFault::Authentication),
            (3118, "locked", ConnectFault::Authentication),
            (3955, "locked for failed log-ins", ConnectFault::Authentication),
            (4151, "locked", ConnectFault::Authentication),
            (1049, "unknown database", ConnectFault::UnknownDatabase),
            (1129, "host is blocked", ConnectFault::Config),
            (1053, "shutdown in progress", ConnectFault::Starting),
            (2000, "something new", ConnectFault::Other),
        ];
        for (number, text, fault) in table {
            assert_eq!(by_number(number, text), fault, "{number} {text}");
        }
    }

    #[test]
    fn each_kind_of_system_error_has_its_class() {
        let table = [
            (io::ErrorKind::ConnectionRefused, ConnectFault::Refused),
            (io::ErrorKind::NotFound, ConnectFault::Refused),
            (io::ErrorKind::TimedOut, ConnectFault::TimedOut),
            (io::ErrorKind::HostUnreachable, ConnectFault::Unreachable),
            (io::ErrorKind::AddrNotAvailable, ConnectFault::LocalResource),
            (io::ErrorKind::ConnectionReset, ConnectFault::Hangup),
            (io::ErrorKind::BrokenPipe, ConnectFault::Hangup),
            (io::ErrorKind::PermissionDenied, ConnectFault::Other),
        ];
        for (kind, fault) in table {
            assert_eq!(by_kind(kind), fault, "{kind}");
        }
    }
}
