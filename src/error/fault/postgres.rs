//! What PostgreSQL's errors mean: one table of SQLSTATEs for connects and statements.

use super::fault::{Fault, FaultClass as Class, RetrySafety, Usability};
use super::io;
use postgres::Error;
use postgres::error::{DbError, Severity};
use std::error::Error as _;
use std::io::ErrorKind;

/// One entry: the code, a part of the text where the code alone is ambiguous, the
/// class, and the answer about the work where it differs from the class's.
struct Row(&'static str, &'static str, Class, Option<RetrySafety>);

/// The first matching row counts.
const ROWS: &[Row] = &[
    // PostgreSQL documentation, "Transaction Isolation" and "Explicit Locking": the
    // transaction was rolled back and should be retried from its beginning.
    Row("40001", "", Class::Conflict, None),
    Row("40P01", "", Class::Conflict, None),
    // "PostgreSQL Error Codes", class 40, statement_completion_unknown.
    Row("40003", "", Class::Other, Some(RetrySafety::OutcomeUnknown)),
    // "PostgreSQL Error Codes", lock_not_available; "SELECT", NOWAIT; "Client
    // Connection Defaults", lock_timeout: the statement is aborted.
    Row("55P03", "", Class::LockTimeout, None),
    // "Hot Standby", User's Overview; also the error of a READ ONLY transaction.
    Row("25006", "", Class::ReadOnly, None),
    // "PostgreSQL Error Codes", class 25: in_failed_sql_transaction, and two timeouts
    // that end the session ("Client Connection Defaults", Statement Behavior).
    Row("25P02", "", Class::TransactionAborted, None),
    Row("25P03", "", Class::Disconnected, None),
    Row("25P04", "", Class::Disconnected, None),
    Row("57P05", "", Class::Disconnected, None),
    // "PostgreSQL Error Codes", class 57, Operator Intervention.
    Row("57014", "", Class::Cancelled, None),
    Row("57P01", "", Class::Starting, None),
    Row("57P02", "", Class::Starting, None),
    // cannot_connect_now: sent to new clients only.
    Row("57P03", "", Class::Starting, Some(RetrySafety::NothingSent)),
    Row("57P04", "", Class::UnknownDatabase, None),
    // "PostgreSQL Error Codes", too_many_connections: sent to new clients only, with
    // four texts: for the server's, the reserved slots', a role's, a database's limit.
    Row("53300", "", Class::Saturated, Some(RetrySafety::NothingSent)),
    // pgbouncer documentation, "Configuration": all errors of its own have 08P01. A
    // client beyond max_client_conn is refused; a query beyond query_wait_timeout was
    // never sent to a server.
    Row("08P01", "no more connections allowed", Class::Saturated, Some(RetrySafety::NothingSent)),
    Row("08P01", "query_wait_timeout", Class::Saturated, Some(RetrySafety::RolledBack)),
    // The same, server_login_retry: sent to every client that needs a server connection.
    Row("08P01", "server login has been failing", Class::NoServer, Some(RetrySafety::NothingSent)),
    // Odyssey, frontend.c: it has no connection to the server for this client, so that
    // nothing was sent.
    Row(
        "08006",
        "failed to connect to remote server",
        Class::NoServer,
        Some(RetrySafety::NothingSent),
    ),
    Row(
        "08006",
        "failed to get remote server connection",
        Class::NoServer,
        Some(RetrySafety::NothingSent),
    ),
    // "PostgreSQL Error Codes", class 28 and 3D.
    Row("28P01", "", Class::Authentication, None),
    Row("28000", "", Class::Authentication, None),
    Row("3D000", "", Class::UnknownDatabase, None),
    // "PREPARE" and "PostgreSQL Error Codes", invalid_sql_statement_name; plancache.c
    // rejects a plan whose columns have changed; other errors share its code.
    Row("26000", "", Class::Stale, None),
    Row("0A000", "cached plan must not change result type", Class::Stale, None),
];

/// Codes by which a pooler tells a new client that its server is away.
///
/// "PostgreSQL Error Codes", class 08, Connection Exception, without 08P01, which is also
/// the code of a client's own mistakes. A server never sends the others to a client that
/// connects.
const AWAY_CODES: &[&str] = &["08000", "08001", "08003", "08004", "08006", "08007"];

/// Texts by which a pooler tells a new client the same under a code that has other
/// meanings.
const AWAY_TEXTS: &[&str] = &[
    // pgbouncer, objects.c and server.c, 08P01.
    "pgbouncer cannot connect to server",
    "server conn crashed?",
    "server DNS lookup failed",
    "client_login_timeout (server down)",
    // pgpool-II, child.c and pool_connection_pool.c, XX000 in most versions. Without a
    // failover it adds the number of the server: "a backend 0 connection".
    "pgpool is not accepting any",
    "all backend nodes are down",
    "failed to create a backend",
    "unable to connect to backend",
];

fn row(code: &str, text: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.0 == code && text.contains(row.1))
}

/// Classifies any error of the driver: as a statement's, unless only a connect can
/// cause it.
pub(crate) fn fault(error: &Error) -> Fault {
    if let Some(server) = error.as_db_error() {
        return by_code(severity(server), server.code().code(), server.message());
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

/// Returns the severity in English: `lc_messages` localizes the other one. Servers before
/// 9.6 and some poolers send only the other.
pub(crate) fn severity(error: &DbError) -> &str {
    match error.parsed_severity() {
        Some(Severity::Panic) => "PANIC",
        Some(Severity::Fatal) => "FATAL",
        Some(Severity::Error) => "ERROR",
        Some(Severity::Warning) => "WARNING",
        Some(Severity::Notice) => "NOTICE",
        Some(Severity::Debug) => "DEBUG",
        Some(Severity::Info) => "INFO",
        Some(Severity::Log) => "LOG",
        None => error.severity(),
    }
}

/// Classifies an error message of the server or of a pooler.
///
/// PostgreSQL documentation, "Message Formats", ErrorResponse: FATAL and PANIC end the
/// session. Codes of a lost connection are also used for a statement's own connections to
/// other servers (class 08 in an ERROR): those do not end the session.
pub(crate) fn by_code(severity: &str, code: &str, text: &str) -> Fault {
    let ends = matches!(severity, "FATAL" | "PANIC");
    let row = row(code, text);
    let class = row.map_or(if ends { Class::Disconnected } else { Class::Statement }, |row| row.2);
    let fault = class.of_statement();
    let fault = match (ends, fault.retry_safety()) {
        // The server may have committed and been shut down before it replied:
        // documentation, "Log-Shipping Standby Servers", Synchronous Replication.
        (true, RetrySafety::RolledBack) => fault.with_retry_safety(RetrySafety::OutcomeUnknown),
        _ => fault,
    };
    let connection = if ends { Usability::Broken } else { fault.connection() };
    let repeat = row.and_then(|row| row.3).unwrap_or(fault.retry_safety());
    fault.with_connection(connection).with_retry_safety(repeat)
}

/// Classifies the driver's error of an attempt to connect.
pub(crate) fn connect_fault(error: &Error) -> Class {
    if let Some(server) = error.as_db_error() {
        return connect_fault_of(server);
    }
    if let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        return match cause.kind() {
            // The driver's error for a server without the required session state; the
            // operating system's permission errors have a number.
            ErrorKind::PermissionDenied if cause.raw_os_error().is_none() => Class::ReadOnly,
            // tokio-util 0.7, Decoder::decode_eof: an end of file inside a message; it
            // has no kind of its own.
            ErrorKind::Other if cause.to_string() == "bytes remaining on stream" => Class::Hangup,
            _ => io::connect_fault(cause),
        };
    }
    if error.is_closed() {
        return Class::Hangup;
    }
    match error.to_string() {
        text if text.starts_with("error performing TLS handshake") => Class::Tls,
        text if text.starts_with("invalid con") => Class::Configuration,
        text if text.starts_with("authentication error") => Class::Authentication,
        _ => Class::Other,
    }
}

fn connect_fault_of(server: &DbError) -> Class {
    connect_by_code(server.code().code(), server.message())
}

/// Classifies an error message of the server, or of a pooler, to a new client.
pub(crate) fn connect_by_code(code: &str, text: &str) -> Class {
    let is_away = AWAY_CODES.contains(&code) || AWAY_TEXTS.iter().any(|part| text.contains(part));
    match row(code, text) {
        _ if is_away => Class::NoServer,
        Some(row) => row.2.when_connecting(),
        None => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Severity, code, text, and what they mean.
    type Case = (&'static str, &'static str, &'static str, Class, Usability, RetrySafety);

    const CASES: &[Case] = {
        use RetrySafety::*;
        use Usability::*;
        &[
            ("ERROR", "40001", "could not serialize", Class::Conflict, Usable, RolledBack),
            ("ERROR", "40P01", "deadlock detected", Class::Conflict, Usable, RolledBack),
            ("ERROR", "40003", "", Class::Other, Usable, OutcomeUnknown),
            ("ERROR", "55P03", "could not obtain lock", Class::LockTimeout, Usable, RolledBack),
            ("ERROR", "25006", "cannot execute INSERT", Class::ReadOnly, Suspect, RolledBack),
            ("ERROR", "25P02", "is aborted", Class::TransactionAborted, Usable, Permanent),
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
                Class::NoServer,
                Broken,
                NothingSent,
            ),
            (
                "FATAL",
                "08006",
                "odyssey: c1: failed to connect to remote server s2",
                Class::NoServer,
                Broken,
                NothingSent,
            ),
            (
                "FATAL",
                "08006",
                "odyssey: c1: failed to get remote server connection",
                Class::NoServer,
                Broken,
                NothingSent,
            ),
            (
                "FATAL",
                "08006",
                "remote server read/write error",
                Class::Disconnected,
                Broken,
                OutcomeUnknown,
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
            ("28P01", "password authentication failed", Class::Authentication),
            ("28000", "no pg_hba.conf entry", Class::Authentication),
            ("3D000", "database does not exist", Class::UnknownDatabase),
            ("53300", "sorry, too many clients already", Class::Saturated),
            ("57P01", "terminating connection", Class::Starting),
            ("57P02", "crash of another process", Class::Starting),
            ("57P03", "the database system is starting up", Class::Starting),
            ("08P01", "no more connections allowed (max_client_conn)", Class::Saturated),
            ("08P01", "query_wait_timeout", Class::Saturated),
            ("08P01", "server login has been failing, try again", Class::NoServer),
            ("08P01", "server conn crashed?", Class::NoServer),
            ("08P01", "pgbouncer cannot connect to server", Class::NoServer),
            ("08P01", "client_login_timeout (server down)", Class::NoServer),
            ("08P01", "server DNS lookup failed", Class::NoServer),
            ("08P01", "bouncer config error", Class::Other),
            ("08P01", "unsupported frontend protocol 4.0", Class::Other),
            ("08000", "", Class::NoServer),
            ("08001", "", Class::NoServer),
            ("08003", "", Class::NoServer),
            ("08004", "", Class::NoServer),
            ("08006", "odyssey: c1: failed to connect to remote server", Class::NoServer),
            ("08006", "odyssey: c1: failed to get remote server connection", Class::NoServer),
            ("08007", "", Class::NoServer),
            ("XX000", "all backend nodes are down, pgpool requires one", Class::NoServer),
            ("XX000", "pgpool is not accepting any new connections", Class::NoServer),
            ("58000", "failed to create a backend connection", Class::NoServer),
            ("XX000", "failed to create a backend 0 connection", Class::NoServer),
            ("XX000", "unable to connect to backend", Class::NoServer),
            ("XX000", "could not open a relation", Class::Other),
            ("55000", "database is not currently accepting connections", Class::Other),
        ];
        for (code, text, fault) in table {
            assert_eq!(connect_by_code(code, text), fault, "{code} {text}");
        }
    }
}
