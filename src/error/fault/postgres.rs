//! What PostgreSQL's errors mean: one table of SQLSTATEs for connects and statements.

use super::{Fault, FaultClass as Class, Repeat, Usability, io};
use crate::error::ConnectFault;
use postgres::Error;
use postgres::error::DbError;
use std::error::Error as _;
use std::io::ErrorKind;

/// One entry: the code, a part of the text where the code alone does not tell, the
/// class, and what is known about the work beyond what the class says.
struct Row(&'static str, &'static str, Class, Option<Repeat>);

/// The first row that fits counts.
const ROWS: &[Row] = &[
    // PostgreSQL documentation, "Transaction Isolation" and "Explicit Locking": the
    // transaction has been rolled back and is to be retried from its beginning.
    Row("40001", "", Class::Conflict, None),
    Row("40P01", "", Class::Conflict, None),
    // "PostgreSQL Error Codes", class 40, statement_completion_unknown.
    Row("40003", "", Class::Other, Some(Repeat::OutcomeUnknown)),
    // "PostgreSQL Error Codes", lock_not_available; "SELECT", NOWAIT; "Client
    // Connection Defaults", lock_timeout: the statement is aborted.
    Row("55P03", "", Class::LockTimeout, None),
    // "Hot Standby", User's Overview; also what a READ ONLY transaction says.
    Row("25006", "", Class::ReadOnly, None),
    // "PostgreSQL Error Codes", class 25: in_failed_sql_transaction, and two time-outs
    // that end the session ("Client Connection Defaults", Statement Behavior).
    Row("25P02", "", Class::Doomed, None),
    Row("25P03", "", Class::Disconnected, None),
    Row("25P04", "", Class::Disconnected, None),
    Row("57P05", "", Class::Disconnected, None),
    // "PostgreSQL Error Codes", class 57, Operator Intervention.
    Row("57014", "", Class::Cancelled, None),
    Row("57P01", "", Class::Starting, None),
    Row("57P02", "", Class::Starting, None),
    // cannot_connect_now: said to new clients only.
    Row("57P03", "", Class::Starting, Some(Repeat::NothingSent)),
    Row("57P04", "", Class::UnknownDatabase, None),
    // "PostgreSQL Error Codes", too_many_connections: said to new clients only, in
    // four texts: the server's, the reserved slots', a role's, a database's limit.
    Row("53300", "", Class::Saturated, Some(Repeat::NothingSent)),
    // pgbouncer documentation, "Configuration": it gives 08P01 to all errors of its
    // own. A client past max_client_conn is refused; a query past query_wait_timeout
    // was never given to a server.
    Row("08P01", "no more connections allowed", Class::Saturated, Some(Repeat::NothingSent)),
    Row("08P01", "query_wait_timeout", Class::Saturated, Some(Repeat::RolledBack)),
    // The same, server_login_retry: said to whoever would need a server's connection.
    Row("08P01", "server login has been failing", Class::Unreachable, Some(Repeat::NothingSent)),
    // "PostgreSQL Error Codes", class 28 and 3D.
    Row("28P01", "", Class::Authentication, None),
    Row("28000", "", Class::Authentication, None),
    Row("3D000", "", Class::UnknownDatabase, None),
    // "PREPARE" and "PostgreSQL Error Codes", invalid_sql_statement_name; plancache.c
    // refuses a plan whose columns have changed under a code that it shares.
    Row("26000", "", Class::Stale, None),
    Row("0A000", "cached plan must not change result type", Class::Stale, None),
];

fn row(code: &str, text: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.0 == code && text.contains(row.1))
}

/// Classifies any error of the driver, as one of a statement unless it can only be
/// one of a connect.
pub(crate) fn fault(error: &Error) -> Fault {
    if let Some(server) = error.as_db_error() {
        return by_code(server.severity(), server.code().code(), server.message());
    }
    // The driver's kinds have no accessor; its texts are constants.
    let text = error.to_string();
    let starts = |begin: &str| text.starts_with(begin);
    if starts("error connecting to server")
        || starts("error performing TLS handshake")
        || starts("authentication error")
        || starts("invalid con")
    {
        return Fault::of_connect(connect_fault(error));
    }
    if error.is_closed()
        || starts("error communicating with the server")
        || starts("timeout waiting for server")
    {
        return Class::Disconnected.of_statement();
    }
    if starts("unexpected message") || starts("error parsing response") {
        return Class::Protocol.of_statement();
    }
    Class::Usage.of_statement()
}

/// Classifies what the server, or a pooler, said.
///
/// PostgreSQL documentation, "Message Formats", ErrorResponse: FATAL and PANIC end the
/// session. Codes that tell of a lost connection are also used for the connections of
/// a statement to other servers (class 08 in an ERROR): those end nothing.
pub(crate) fn by_code(severity: &str, code: &str, text: &str) -> Fault {
    let ends = matches!(severity, "FATAL" | "PANIC");
    let row = row(code, text);
    let class = row.map_or(if ends { Class::Disconnected } else { Class::Statement }, |row| row.2);
    let fault = class.of_statement();
    let fault = match (ends, fault.repeat()) {
        // The server may have done the work and been told to end before it said so:
        // documentation, "Log-Shipping Standby Servers", Synchronous Replication.
        (true, Repeat::RolledBack) => fault.with_repeat(Repeat::OutcomeUnknown),
        _ => fault,
    };
    let connection = if ends { Usability::Broken } else { fault.connection() };
    let repeat = row.and_then(|row| row.3).unwrap_or(fault.repeat());
    fault.with_connection(connection).with_repeat(repeat)
}

/// Classifies the driver's error of an attempt to connect.
pub(crate) fn connect_fault(error: &Error) -> ConnectFault {
    if let Some(server) = error.as_db_error() {
        return connect_fault_of(server);
    }
    if let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        return match cause.kind() {
            // How the driver says that the server is not in the session state wanted;
            // the system's own permission errors carry a number.
            ErrorKind::PermissionDenied if cause.raw_os_error().is_none() => ConnectFault::ReadOnly,
            // tokio-util 0.7, Decoder::decode_eof: an end in the middle of a message; it
            // has no kind of its own.
            ErrorKind::Other if cause.to_string() == "bytes remaining on stream" => {
                ConnectFault::Hangup
            }
            _ => io::connect_fault(cause),
        };
    }
    if error.is_closed() {
        return ConnectFault::Hangup;
    }
    match error.to_string() {
        text if text.starts_with("error performing TLS handshake") => ConnectFault::Tls,
        text if text.starts_with("invalid con") => ConnectFault::Config,
        text if text.starts_with("authentication error") => ConnectFault::Authentication,
        _ => ConnectFault::Other,
    }
}

fn connect_fault_of(server: &DbError) -> ConnectFault {
    connect_by_code(server.code().code(), server.message())
}

/// Classifies what the server, or a pooler, said to a new client.
pub(crate) fn connect_by_code(code: &str, text: &str) -> ConnectFault {
    row(code, text).map_or(ConnectFault::Other, |row| row.2.when_connecting())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Severity, code, text, and what they mean.
    type Case = (&'static str, &'static str, &'static str, Class, Usability, Repeat);

    const CASES: &[Case] = {
        use Repeat::*;
        use Usability::*;
        &[
            ("ERROR", "40001", "could not serialize", Class::Conflict, Usable, RolledBack),
            ("ERROR", "40P01", "deadlock detected", Class::Conflict, Usable, RolledBack),
            ("ERROR", "40003", "", Class::Other, Usable, OutcomeUnknown),
            ("ERROR", "55P03", "could not obtain lock", Class::LockTimeout, Usable, RolledBack),
            ("ERROR", "25006", "cannot execute INSERT", Class::ReadOnly, Suspect, RolledBack),
            ("ERROR", "25P02", "is aborted", Class::Doomed, Usable, Permanent),
            ("FATAL", "25P03", "idle-in-tx", Class::Disconnected, Broken, OutcomeUnknown),
            ("FATAL", "25P04", "transaction timeout", Class::Disconnected, Broken, OutcomeUnknown),
            ("FATAL", "57P05", "idle-session", Class::Disconnected, Broken, OutcomeUnknown),
            ("ERROR", "57014", "canceling statement", Class::Cancelled, Usable, Permanent),
            ("FATAL", "57P01", "administrator", Class::Starting, Broken, OutcomeUnknown),
            ("FATAL", "57P02", "crash", Class::Starting, Broken, OutcomeUnknown),
            ("FATAL", "57P03", "starting up", Class::Starting, Broken, NothingSent),
            ("FATAL", "57P04", "dropped", Class::UnknownDatabase, Broken, Permanent),
            ("FATAL", "53300", "sorry, too many clients", Class::Saturated, Broken, NothingSent),
            ("FATAL", "53300", "remaining connection slots", Class::Saturated, Broken, NothingSent),
            ("FATAL", "53300", "for role", Class::Saturated, Broken, NothingSent),
            ("FATAL", "53300", "for database", Class::Saturated, Broken, NothingSent),
            (
                "FATAL",
                "08P01",
                "no more connections allowed (max_client_conn)",
                Class::Saturated,
                Broken,
                NothingSent,
            ),
            ("FATAL", "08P01", "query_wait_timeout", Class::Saturated, Broken, RolledBack),
            (
                "FATAL",
                "08P01",
                "server login has been failing, try again later (server_login_retry)",
                Class::Unreachable,
                Broken,
                NothingSent,
            ),
            ("FATAL", "08P01", "server conn crashed?", Class::Disconnected, Broken, OutcomeUnknown),
            ("ERROR", "08P01", "bind message supplies 1", Class::Statement, Usable, Permanent),
            ("ERROR", "08001", "could not connect to server", Class::Statement, Usable, Permanent),
            ("FATAL", "28P01", "password", Class::Authentication, Broken, Permanent),
            ("FATAL", "28000", "no pg_hba.conf entry", Class::Authentication, Broken, Permanent),
            ("FATAL", "3D000", "does not exist", Class::UnknownDatabase, Broken, Permanent),
            ("ERROR", "26000", "prepared statement", Class::Stale, Suspect, RolledBack),
            (
                "ERROR",
                "0A000",
                "cached plan must not change result type",
                Class::Stale,
                Suspect,
                RolledBack,
            ),
            ("ERROR", "0A000", "feature not supported", Class::Statement, Usable, Permanent),
            ("ERROR", "23505", "duplicate key", Class::Statement, Usable, Permanent),
            ("PANIC", "XX000", "", Class::Disconnected, Broken, OutcomeUnknown),
        ]
    };

    #[test]
    fn each_code_has_its_class() {
        for (severity, code, text, class, connection, repeat) in CASES {
            let expected = Fault::new(*class, *connection, *repeat);
            assert_eq!(by_code(severity, code, text), expected, "{severity} {code} {text}");
        }
    }

    #[test]
    fn each_row_of_the_table_has_a_case() {
        for Row(code, part, ..) in ROWS {
            let tested = |case: &&Case| case.1 == *code && case.2.contains(part);
            assert!(CASES.iter().any(|case| tested(&case)), "{code} {part}");
        }
    }

    #[test]
    fn each_code_of_a_refused_connect_has_its_class() {
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
            ("08P01", "server login has been failing, try again", ConnectFault::NoServer),
            ("08P01", "bouncer config error", ConnectFault::Other),
            ("55000", "database is not currently accepting connections", ConnectFault::Other),
        ];
        for (code, text, fault) in table {
            assert_eq!(connect_by_code(code, text), fault, "{code} {text}");
        }
    }
}
