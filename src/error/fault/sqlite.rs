//! What SQLite's errors mean: one table of result codes.

use super::{Fault, FaultClass as Class, Repeat, Usability};
use crate::error::ConnectFault;
use rusqlite::{Error, ErrorCode, ffi};

/// SQLite documentation, "Result and Error Codes"; a code that is not here is an error
/// of the statement.
const ROWS: &[(ErrorCode, Class)] = &[
    // SQLITE_BUSY: another connection has the lock; SQLITE_LOCKED: one of this cache.
    (ErrorCode::DatabaseBusy, Class::LockTimeout),
    (ErrorCode::DatabaseLocked, Class::LockTimeout),
    (ErrorCode::FileLockingProtocolFailed, Class::LockTimeout),
    (ErrorCode::OperationInterrupted, Class::Cancelled),
    (ErrorCode::ReadOnly, Class::ReadOnly),
    (ErrorCode::SchemaChanged, Class::Stale),
    (ErrorCode::CannotOpen, Class::Configuration),
    (ErrorCode::PermissionDenied, Class::Configuration),
    (ErrorCode::NotADatabase, Class::Configuration),
    (ErrorCode::OutOfMemory, Class::LocalResource),
    (ErrorCode::SystemIoFailure, Class::Other),
    (ErrorCode::DatabaseCorrupt, Class::Other),
    (ErrorCode::ApiMisuse, Class::Usage),
    (ErrorCode::ParameterOutOfRange, Class::Usage),
];

/// Classifies any error of the driver.
pub(crate) fn fault(error: &Error) -> Fault {
    match error {
        Error::SqliteFailure(failure, _) => by_code(failure),
        Error::SqlInputError { error, .. } => by_code(error),
        _ => Class::Usage.of_statement(),
    }
}

fn by_code(failure: &ffi::Error) -> Fault {
    // SQLITE_BUSY_SNAPSHOT: what was read has been changed by another since; waiting
    // does not help, beginning anew does.
    if failure.extended_code == ffi::SQLITE_BUSY_SNAPSHOT {
        return Class::Conflict.of_statement();
    }
    let row = ROWS.iter().find(|row| row.0 == failure.code);
    let fault = row.map_or(Class::Statement, |row| row.1).of_statement();
    match fault.class() {
        // There is no other server that would take writes.
        Class::ReadOnly => fault.with_connection(Usability::Usable).with_repeat(Repeat::Permanent),
        Class::Other => fault.with_connection(Usability::Suspect),
        _ => fault,
    }
}

/// Classifies an error of opening the database.
pub(crate) fn connect_fault(error: &Error) -> ConnectFault {
    match error.sqlite_error_code() {
        // A file that is not there or may not be opened: waiting is no help.
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => ConnectFault::Config,
        _ => ConnectFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        use Repeat::*;
        use Usability::*;
        let table = [
            (ffi::SQLITE_BUSY, Class::LockTimeout, Usable, RolledBack),
            (ffi::SQLITE_BUSY_SNAPSHOT, Class::Conflict, Usable, RolledBack),
            (ffi::SQLITE_LOCKED, Class::LockTimeout, Usable, RolledBack),
            (ffi::SQLITE_PROTOCOL, Class::LockTimeout, Usable, RolledBack),
            (ffi::SQLITE_INTERRUPT, Class::Cancelled, Usable, Permanent),
            (ffi::SQLITE_READONLY, Class::ReadOnly, Usable, Permanent),
            (ffi::SQLITE_SCHEMA, Class::Stale, Suspect, RolledBack),
            (ffi::SQLITE_CANTOPEN, Class::Configuration, Usable, Permanent),
            (ffi::SQLITE_PERM, Class::Configuration, Usable, Permanent),
            (ffi::SQLITE_NOTADB, Class::Configuration, Usable, Permanent),
            (ffi::SQLITE_NOMEM, Class::LocalResource, Usable, Permanent),
            (ffi::SQLITE_IOERR, Class::Other, Suspect, Permanent),
            (ffi::SQLITE_CORRUPT, Class::Other, Suspect, Permanent),
            (ffi::SQLITE_MISUSE, Class::Usage, Usable, Permanent),
            (ffi::SQLITE_RANGE, Class::Usage, Usable, Permanent),
            (ffi::SQLITE_CONSTRAINT, Class::Statement, Usable, Permanent),
        ];
        for (code, class, connection, repeat) in table {
            let error = Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(fault(&error), Fault::new(class, connection, repeat), "{code}");
        }
        for (code, class) in ROWS {
            let tested = table.iter().any(|case| ffi::Error::new(case.0).code == *code);
            assert!(tested, "{code:?} {class:?}");
        }
    }

    #[test]
    fn a_mistake_of_the_caller_is_told_apart() {
        assert_eq!(fault(&Error::QueryReturnedNoRows).class(), Class::Usage);
    }
}
