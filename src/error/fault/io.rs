//! Classifies the operating system's errors of a connect.

use super::fault::FaultClass;
use std::io::{self, ErrorKind};

/// Classifies an operating system error; its number is more specific than its kind.
pub(crate) fn connect_fault(error: &io::Error) -> FaultClass {
    if is_short(error) { FaultClass::LocalResource } else { by_kind(error.kind()) }
}

/// Returns `true` if the process or the system is out of descriptors or memory.
pub(crate) fn is_short(error: &io::Error) -> bool {
    let short = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|number| short.contains(&number))
}

/// Classifies an error of which the driver kept only the kind.
pub(crate) fn by_kind(kind: ErrorKind) -> FaultClass {
    match kind {
        // A unix socket whose file is missing: no server listens.
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => FaultClass::Refused,
        // A socket's own timeout is reported as `WouldBlock`.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => FaultClass::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => FaultClass::Unreachable,
        ErrorKind::AddrNotAvailable => FaultClass::LocalResource,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => FaultClass::Hangup,
        _ => FaultClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_error_has_its_class() {
        let table = [
            (libc::ECONNREFUSED, FaultClass::Refused),
            (libc::ENOENT, FaultClass::Refused),
            (libc::ETIMEDOUT, FaultClass::TimedOut),
            (libc::EAGAIN, FaultClass::TimedOut),
            (libc::EHOSTUNREACH, FaultClass::Unreachable),
            (libc::ENETUNREACH, FaultClass::Unreachable),
            (libc::ECONNRESET, FaultClass::Hangup),
            (libc::ECONNABORTED, FaultClass::Hangup),
            (libc::EPIPE, FaultClass::Hangup),
            (libc::EMFILE, FaultClass::LocalResource),
            (libc::ENFILE, FaultClass::LocalResource),
            (libc::ENOBUFS, FaultClass::LocalResource),
            (libc::ENOMEM, FaultClass::LocalResource),
            (libc::EADDRNOTAVAIL, FaultClass::LocalResource),
            (libc::EPERM, FaultClass::Other),
        ];
        for (number, fault) in table {
            assert_eq!(connect_fault(&io::Error::from_raw_os_error(number)), fault, "{number}");
        }
        assert_eq!(by_kind(ErrorKind::UnexpectedEof), FaultClass::Hangup);
    }
}
