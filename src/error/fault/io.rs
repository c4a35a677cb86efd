//! Classifies the operating system's errors of a connect.

use crate::error::connect_error::ConnectFault;
use std::io::{self, ErrorKind};

/// Classifies an operating system error; its number is more specific than its kind.
pub(crate) fn connect_fault(error: &io::Error) -> ConnectFault {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            ConnectFault::LocalResource
        }
        _ => by_kind(error.kind()),
    }
}

/// Classifies an error of which the driver kept only the kind.
pub(crate) fn by_kind(kind: ErrorKind) -> ConnectFault {
    match kind {
        // A unix socket whose file is missing: no server listens.
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => ConnectFault::Refused,
        // A socket's own timeout is reported as `WouldBlock`.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ConnectFault::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => ConnectFault::Unreachable,
        ErrorKind::AddrNotAvailable => ConnectFault::LocalResource,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => ConnectFault::Hangup,
        _ => ConnectFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_error_has_its_class() {
        let table = [
            (libc::ECONNREFUSED, ConnectFault::Refused),
            (libc::ENOENT, ConnectFault::Refused),
            (libc::ETIMEDOUT, ConnectFault::TimedOut),
            (libc::EAGAIN, ConnectFault::TimedOut),
            (libc::EHOSTUNREACH, ConnectFault::Unreachable),
            (libc::ENETUNREACH, ConnectFault::Unreachable),
            (libc::ECONNRESET, ConnectFault::Hangup),
            (libc::ECONNABORTED, ConnectFault::Hangup),
            (libc::EPIPE, ConnectFault::Hangup),
            (libc::EMFILE, ConnectFault::LocalResource),
            (libc::ENFILE, ConnectFault::LocalResource),
            (libc::ENOBUFS, ConnectFault::LocalResource),
            (libc::ENOMEM, ConnectFault::LocalResource),
            (libc::EADDRNOTAVAIL, ConnectFault::LocalResource),
            (libc::EPERM, ConnectFault::Other),
        ];
        for (number, fault) in table {
            assert_eq!(connect_fault(&io::Error::from_raw_os_error(number)), fault, "{number}");
        }
        assert_eq!(by_kind(ErrorKind::UnexpectedEof), ConnectFault::Hangup);
    }
}
