//! What SQLite's errors mean: one table of result codes.

use super::fault::{Fault, FaultClass as Class, RetrySafety, Usability};
use super::io;
use rusqlite::{Error, ErrorCode, ffi};
use std::fs::File;

/// SQLite documentation, "Result and Error Codes"; any other code is an error of the
/// statement.
const ROWS: &[(ErrorCode, Class)] = &[
    // SQLITE_BUSY: another connection holds the lock; SQLITE_LOCKED: one that shares the
    // cache.
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
        // Of versions of SQLite that show where the error is.
        #[cfg(feature = "bundled")]
        Error::SqlInputError { error, .. } => by_code(error),
        _ => Class::Usage.of_statement(),
    }
}

fn by_code(failure: &ffi::Error) -> Fault {
    // SQLITE_BUSY_SNAPSHOT: another connection has changed what this transaction read;
    // waiting does not help, a retry from the beginning does.
    if failure.extended_code == ffi::SQLITE_BUSY_SNAPSHOT {
        return Class::Conflict.of_statement();
    }
    // The file was deleted or replaced: this connection will never write again.
    if failure.extended_code == ffi::SQLITE_READONLY_DBMOVED {
        return Class::Disconnected.of_statement().with_retry_safety(RetrySafety::RolledBack);
    }
    let row = ROWS.iter().find(|row| row.0 == failure.code);
    let fault = match row.map_or(Class::Statement, |row| row.1) {
        // A journal or the file itself, which SQLite opens later than the connection.
        Class::Configuration if is_short_of_descriptors(failure.code) => {
            Class::LocalResource.of_statement()
        }
        class => class.of_statement(),
    };
    match fault.class() {
        // There is no other server that could be writable.
        Class::ReadOnly => {
            fault.with_connection(Usability::Usable).with_retry_safety(RetrySafety::Permanent)
        }
        Class::Other => fault.with_connection(Usability::Suspect),
        _ => fault,
    }
}

/// Classifies an error of opening the database.
pub(crate) fn connect_fault(error: &Error) -> Class {
    match error.sqlite_error_code() {
        Some(code) if is_short_of_descriptors(code) => Class::LocalResource,
        // A file that is missing or not accessible: waiting does not help.
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::NotADatabase) => {
            Class::Configuration
        }
        _ => Class::Other,
    }
}

/// Returns `true` if SQLite could not open a file because the process, or the system, has no
/// descriptor to spare: SQLite's own code for that is the one of a file that is missing.
fn is_short_of_descriptors(code: ErrorCode) -> bool {
    // Never the database's own file: to close it would release the process's locks on it.
    code == ErrorCode::CannotOpen
        && File::open("/dev/null").is_err_and(|error| io::is_short(&error))
}

/// Returns `true` if a lock of another connection was in the way.
pub(crate) fn is_locked(error: &Error) -> bool {
    fault(error).class() == Class::LockTimeout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        use RetrySafety::*;
        use Usability::*;
        let table = [
            (ffi::SQLITE_BUSY, Class::LockTimeout, Usable, RolledBack),
            (ffi::SQLITE_BUSY_SNAPSHOT, Class::Conflict, Usable, RolledBack),
            (ffi::SQLITE_LOCKED, Class::LockTimeout, Usable, RolledBack),
            (ffi::SQLITE_PROTOCOL, Class::LockTimeout, Usable, RolledBack),
            (ffi::SQLITE_INTERRUPT, Class::Cancelled, Usable, Permanent),
            (ffi::SQLITE_READONLY, Class::ReadOnly, Usable, Permanent),
            (ffi::SQLITE_READONLY_DBMOVED, Class::Disconnected, Broken, RolledBack),
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
    fn an_error_of_the_call_has_the_class_usage() {
        assert_eq!(fault(&Error::QueryReturnedNoRows).class(), Class::Usage);
    }
}
