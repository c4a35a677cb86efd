//! What MySQL's and MariaDB's errors mean: one table of numbers for connects and
//! statements. Numbers, not SQLSTATEs: 1040 comes before the handshake, with HY000.

use super::fault::{Fault, FaultClass as Class, RetrySafety, Usability};
use super::io;
use crate::error::cause::text;
use mysql::{DriverError, Error};
use std::error::Error as _;
use std::fmt;

/// One entry: the number, a part of the text where the number alone is ambiguous, the
/// class, and the answers about connection and work where they differ from the class's.
struct Row(u16, &'static str, Class, Option<Usability>, Option<RetrySafety>);

const fn row(number: u16, class: Class) -> Row {
    Row(number, "", class, None, None)
}

/// The first matching row counts. "Reference" is the MySQL documentation, "Server
/// Error Message Reference", "MariaDB" the MariaDB documentation, "MariaDB Error
/// Codes".
const ROWS: &[Row] = &[
    // Reference, ER_LOCK_DEADLOCK; "InnoDB Error Usage": the whole transaction is
    // rolled back, and any statement that follows runs outside it.
    row(1213, Class::Conflict),
    // Reference, ER_XA_RBDEADLOCK, and ER_TRANSACTION_ROLLBACK_DURING_COMMIT of group
    // replication; MariaDB, ER_CHECKREAD under innodb_snapshot_isolation.
    row(1614, Class::Conflict),
    row(3101, Class::Conflict),
    row(1020, Class::Conflict),
    // Reference, ER_LOCK_WAIT_TIMEOUT; "InnoDB Error Usage": the statement alone is
    // rolled back; ER_XA_RBTIMEOUT; ER_LOCK_NOWAIT.
    row(1205, Class::LockTimeout),
    row(1613, Class::LockTimeout),
    row(3572, Class::LockTimeout),
    // Reference, ER_OPTION_PREVENTS_STATEMENT: one number for all options.
    Row(1290, "read-only", Class::ReadOnly, None, None),
    Row(1290, "read_only", Class::ReadOnly, None, None),
    // Reference, ER_READ_ONLY_MODE.
    row(1836, Class::ReadOnly),
    // Reference, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION: the caller's own choice.
    Row(1792, "", Class::ReadOnly, Some(Usability::Usable), Some(RetrySafety::Permanent)),
    // Reference, ER_QUERY_INTERRUPTED and ER_QUERY_TIMEOUT; MariaDB,
    // ER_STATEMENT_TIMEOUT.
    row(1317, Class::Cancelled),
    row(3024, Class::Cancelled),
    row(1969, Class::Cancelled),
    // Reference, ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS: new clients only.
    Row(1040, "", Class::Saturated, Some(Usability::Broken), Some(RetrySafety::NothingSent)),
    Row(1203, "", Class::Saturated, Some(Usability::Broken), Some(RetrySafety::NothingSent)),
    // Reference, ER_USER_LIMIT_REACHED: the same number stands for hourly quotas,
    // for which waiting does not help.
    Row(
        1226,
        "max_user_connections",
        Class::Saturated,
        Some(Usability::Broken),
        Some(RetrySafety::NothingSent),
    ),
    // Reference, ER_SERVER_SHUTDOWN.
    row(1053, Class::Starting),
    // MariaDB, ER_CONNECTION_KILLED; Reference, ER_SESSION_WAS_KILLED,
    // ER_ABORTING_CONNECTION, ER_NEW_ABORTING_CONNECTION, ER_NET_READ_ERROR,
    // ER_NET_READ_INTERRUPTED, ER_NET_ERROR_ON_WRITE, ER_NET_WRITE_INTERRUPTED.
    row(1927, Class::Disconnected),
    row(3169, Class::Disconnected),
    row(1152, Class::Disconnected),
    row(1184, Class::Disconnected),
    row(1158, Class::Disconnected),
    row(1159, Class::Disconnected),
    row(1160, Class::Disconnected),
    row(1161, Class::Disconnected),
    // Reference, ER_CLIENT_INTERACTION_TIMEOUT: written to an idle session, before the
    // server could have read the statement that received it.
    Row(4031, "", Class::Disconnected, None, Some(RetrySafety::NothingSent)),
    // Reference, ER_NET_PACKETS_OUT_OF_ORDER.
    row(1156, Class::Protocol),
    // "Packet Too Large": the server refuses it and closes the connection.
    Row(1153, "", Class::Statement, Some(Usability::Broken), None),
    // Reference, ER_ERROR_DURING_COMMIT.
    Row(1180, "", Class::Other, Some(Usability::Suspect), Some(RetrySafety::OutcomeUnknown)),
    // Reference, ER_UNKNOWN_STMT_HANDLER, ER_NEED_REPREPARE.
    row(1243, Class::Stale),
    row(1615, Class::Stale),
    // Reference, ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR,
    // ER_HOST_NOT_PRIVILEGED, ER_ACCESS_DENIED_NO_PASSWORD_ERROR,
    // ER_MUST_CHANGE_PASSWORD, ER_MUST_CHANGE_PASSWORD_LOGIN, ER_ACCOUNT_HAS_BEEN_LOCKED,
    // ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK; MariaDB,
    // ER_ACCOUNT_HAS_BEEN_LOCKED.
    row(1044, Class::Authentication),
    row(1045, Class::Authentication),
    row(1130, Class::Authentication),
    row(1698, Class::Authentication),
    row(1820, Class::Authentication),
    row(1862, Class::Authentication),
    row(3118, Class::Authentication),
    row(3955, Class::Authentication),
    row(4151, Class::Authentication),
    // Reference, ER_BAD_DB_ERROR.
    row(1049, Class::UnknownDatabase),
    // Reference, ER_HOST_IS_BLOCKED: an administrator must FLUSH HOSTS.
    row(1129, Class::Configuration),
    // Reference, ER_SECURE_TRANSPORT_REQUIRED: the server accepts only TLS clients.
    row(3159, Class::Configuration),
];

fn find(number: u16, text: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.0 == number && text.contains(row.1))
}

/// Marks a transaction as aborted, with the cause. It is wrapped in the driver's own
/// error type, which the transaction's methods return.
#[derive(Clone, Debug)]
pub(crate) struct AbortedTransaction {
    cause: String,
    fault: Fault,
}

impl AbortedTransaction {
    pub(crate) fn new(cause: &Error, fault: Fault) -> AbortedTransaction {
        AbortedTransaction { cause: text(cause), fault }
    }

    pub(crate) fn by(cause: String, fault: Fault) -> AbortedTransaction {
        AbortedTransaction { cause, fault }
    }

    /// Returns the fault of the error that ended it.
    pub(crate) fn fault(&self) -> Fault {
        self.fault
    }

    /// Returns the error of every further statement.
    pub(crate) fn refusal(&self) -> Error {
        Error::IoError(std::io::Error::other(self.clone()))
    }
}

impl fmt::Display for AbortedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction aborted; return from its closure (cause: {})", self.cause)
    }
}

impl std::error::Error for AbortedTransaction {}

/// A parameter that the server would end the session for; nothing was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooLong {
    pub(crate) longest: usize,
    /// The server's `max_allowed_packet`.
    pub(crate) limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong { longest, limit } = self;
        write!(
            f,
            "not sent: a parameter has {longest} bytes, which is too long for the server's \
             max_allowed_packet {limit}"
        )
    }
}

impl std::error::Error for TooLong {}

impl From<TooLong> for Error {
    fn from(error: TooLong) -> Error {
        Error::IoError(std::io::Error::other(error))
    }
}

/// Returns `true` if the server rolled back the whole transaction, and not only the
/// statement. MySQL documentation, "InnoDB Error Usage": after a deadlock. What a
/// lock wait timeout undoes depends on the server's configuration.
pub(crate) fn rolls_back_all(error: &Error) -> bool {
    fault(error).class() == Class::Conflict
}

/// Classifies any error of the driver: as a statement's, unless only a connect can
/// cause it.
pub(crate) fn fault(error: &Error) -> Fault {
    match error {
        Error::MySqlError(server) => by_number(server.code, &server.message),
        Error::IoError(error) => match error.get_ref() {
            Some(inner) if inner.is::<TooLong>() => Class::Usage
                .of_statement()
                .with_connection(Usability::Usable)
                .with_retry_safety(RetrySafety::Permanent),
            inner => match inner.and_then(|inner| inner.downcast_ref::<AbortedTransaction>()) {
                Some(aborted) => aborted.fault.of_class(Class::TransactionAborted),
                None => Class::Disconnected.of_statement(),
            },
        },
        // Either a request, which was not sent, or a reply, which was not read to its end.
        // The driver does not export the type of this error; its texts are constants.
        Error::CodecError(error) if error.to_string().contains("max_allowed_packet") => {
            let fault = Class::Usage.of_statement().with_connection(Usability::Suspect);
            fault.with_retry_safety(RetrySafety::OutcomeUnknown)
        }
        // The transport failed, or the bytes are not the next packet of the protocol.
        Error::CodecError(error) => match error.source() {
            Some(cause) if cause.is::<std::io::Error>() => Class::Disconnected.of_statement(),
            _ => Class::Protocol.of_statement(),
        },
        Error::DriverError(error) => by_driver(error),
        Error::FromValueError(_) | Error::FromRowError(_) => Class::Usage.of_statement(),
        other => Fault::of_connect(match other {
            Error::UrlError(_) => Class::Configuration,
            // TLS errors: a variant that exists only if the driver was built with TLS.
            _ => Class::Tls,
        }),
    }
}

fn by_number(number: u16, text: &str) -> Fault {
    let Some(row) = find(number, text) else { return Class::Statement.of_statement() };
    let fault = row.2.of_statement();
    let connection = row.3.unwrap_or(fault.connection());
    fault.with_connection(connection).with_retry_safety(row.4.unwrap_or(fault.retry_safety()))
}

fn by_driver(error: &DriverError) -> Fault {
    match error {
        // Detected before anything was sent, or in the caller's own values.
        DriverError::MismatchedStmtParams(..)
        | DriverError::MixedParams
        | DriverError::Params(_)
        | DriverError::BulkExecute(_)
        | DriverError::ReadOnlyTransNotSupported => Class::Usage.of_statement(),
        DriverError::ConnectTimeout
        | DriverError::CouldNotConnect(_)
        | DriverError::TlsNotSupported
        | DriverError::UnknownAuthPlugin(_)
        | DriverError::OldMysqlPasswordDisabled
        | DriverError::CleartextPluginDisabled => Fault::of_connect(connect_by_driver(error)),
        _ => Class::Protocol.of_statement(),
    }
}

/// Classifies the driver's error of an attempt to connect.
pub(crate) fn connect_fault(error: &Error) -> Class {
    match error {
        Error::MySqlError(server) => connect_by_number(server.code, &server.message),
        Error::IoError(error) => io::connect_fault(error),
        // The cause is an I/O error, or bytes outside the MySQL protocol.
        Error::CodecError(_) => Class::Hangup,
        Error::DriverError(error) => connect_by_driver(error),
        Error::UrlError(_) => Class::Configuration,
        #[cfg(feature = "native-tls")]
        Error::TlsError(_) => Class::Tls,
        _ => Class::Other,
    }
}

fn connect_by_number(number: u16, text: &str) -> Class {
    find(number, text).map_or(Class::Other, |row| row.2.when_connecting())
}

fn connect_by_driver(error: &DriverError) -> Class {
    match error {
        DriverError::ConnectTimeout | DriverError::Timeout => Class::TimedOut,
        DriverError::CouldNotConnect(Some((_, _, kind))) => io::by_kind(*kind),
        DriverError::TlsNotSupported => Class::Tls,
        DriverError::UnknownAuthPlugin(_)
        | DriverError::OldMysqlPasswordDisabled
        | DriverError::CleartextPluginDisabled => Class::Authentication,
        _ => Class::Other,
    }
}

/// Returns the server's error number, where there is one.
pub(crate) fn number(error: &Error) -> Option<u16> {
    match error {
        Error::MySqlError(server) => Some(server.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number, text, and what they mean for a statement and for a connect.
    type Case = (u16, &'static str, Class, Usability, RetrySafety, Class);

    const CASES: &[Case] = {
        use RetrySafety::*;
        use Usability::*;
        const DENIED: Class = Class::Authentication;
        &[
            (1213, "Deadlock found", Class::Conflict, Usable, RolledBack, Class::Other),
            (1614, "deadlock was detected", Class::Conflict, Usable, RolledBack, Class::Other),
            (3101, "Plugin instructed", Class::Conflict, Usable, RolledBack, Class::Other),
            (1020, "Record has changed", Class::Conflict, Usable, RolledBack, Class::Other),
            (1205, "Lock wait timeout", Class::LockTimeout, Usable, RolledBack, Class::Other),
            (1613, "took too long", Class::LockTimeout, Usable, RolledBack, Class::Other),
            (3572, "NOWAIT is set", Class::LockTimeout, Usable, RolledBack, Class::Other),
            (1290, "the --read-only option", Class::ReadOnly, Suspect, RolledBack, Class::Other),
            (1290, "running with read_only", Class::ReadOnly, Suspect, RolledBack, Class::Other),
            (1290, "--max-user-connections", Class::Statement, Usable, Permanent, Class::Other),
            (1836, "Running in read-only mode", Class::ReadOnly, Suspect, RolledBack, Class::Other),
            (1792, "READ ONLY transaction", Class::ReadOnly, Usable, Permanent, Class::Other),
            (1317, "interrupted", Class::Cancelled, Usable, Permanent, Class::Other),
            (3024, "maximum execution time", Class::Cancelled, Usable, Permanent, Class::Other),
            (1969, "max_statement_time", Class::Cancelled, Usable, Permanent, Class::Other),
            (1040, "Too many connections", Class::Saturated, Broken, NothingSent, Class::Saturated),
            (1203, "max_user_connections", Class::Saturated, Broken, NothingSent, Class::Saturated),
            (
                1226,
                "'max_user_connections'",
                Class::Saturated,
                Broken,
                NothingSent,
                Class::Saturated,
            ),
            (1226, "'max_connections_per_hour'", Class::Statement, Usable, Permanent, Class::Other),
            (1053, "shutdown", Class::Starting, Broken, OutcomeUnknown, Class::Starting),
            (1927, "killed", Class::Disconnected, Broken, OutcomeUnknown, Class::Other),
            (3169, "killed", Class::Disconnected, Broken, OutcomeUnknown, Class::Other),
            (1152, "Aborted connection", Class::Disconnected, Broken, OutcomeUnknown, Class::Other),
            (1184, "Aborted connection", Class::Disconnected, Broken, OutcomeUnknown, Class::Other),
            (1158, "reading", Class::Disconnected, Broken, OutcomeUnknown, Class::Other),
            (1159, "reading", Class::Disconnected, Broken, OutcomeUnknown, Class::Other),
            (1160, "writing", Class::Disconnected, Broken, OutcomeUnknown, Class::Other),
            (1161, "writing", Class::Disconnected, Broken, OutcomeUnknown, Class::Other),
            (4031, "inactivity", Class::Disconnected, Broken, NothingSent, Class::Other),
            (1156, "out of order", Class::Protocol, Broken, OutcomeUnknown, Class::Other),
            (1153, "max_allowed_packet", Class::Statement, Broken, Permanent, Class::Other),
            (1180, "during COMMIT", Class::Other, Suspect, OutcomeUnknown, Class::Other),
            (1243, "Unknown prepared", Class::Stale, Suspect, RolledBack, Class::Other),
            (1615, "re-prepared", Class::Stale, Suspect, RolledBack, Class::Other),
            (1044, "access denied", DENIED, Usable, Permanent, Class::Authentication),
            (1045, "access denied", DENIED, Usable, Permanent, Class::Authentication),
            (1130, "host is not allowed", DENIED, Usable, Permanent, Class::Authentication),
            (1698, "access denied", DENIED, Usable, Permanent, Class::Authentication),
            (1820, "expired", DENIED, Usable, Permanent, Class::Authentication),
            (1862, "expired", DENIED, Usable, Permanent, Class::Authentication),
            (3118, "locked", DENIED, Usable, Permanent, Class::Authentication),
            (3955, "locked for failed log-ins", DENIED, Usable, Permanent, Class::Authentication),
            (4151, "locked", DENIED, Usable, Permanent, Class::Authentication),
            (
                1049,
                "unknown database",
                Class::UnknownDatabase,
                Usable,
                Permanent,
                Class::UnknownDatabase,
            ),
            (1129, "blocked", Class::Configuration, Usable, Permanent, Class::Configuration),
            (3159, "insecure", Class::Configuration, Usable, Permanent, Class::Configuration),
            (1062, "duplicate entry", Class::Statement, Usable, Permanent, Class::Other),
        ]
    };

    #[test]
    fn each_number_has_its_class() {
        for (number, text, class, connection, repeat, connecting) in CASES {
            let expected = Fault::new(*class, *connection, *repeat);
            assert_eq!(by_number(*number, text), expected, "{number} {text}");
            assert_eq!(connect_by_number(*number, text), *connecting, "{number} {text}");
        }
    }

    #[test]
    fn each_row_of_the_table_has_a_case() {
        for Row(number, part, ..) in ROWS {
            let tested = |case: &&Case| case.0 == *number && case.1.contains(part);
            assert!(CASES.iter().any(|case| tested(&case)), "{number} {part}");
        }
    }

    #[test]
    fn a_callers_mistake_leaves_the_connection_usable_and_the_transport_does_not() {
        let usable = |error: DriverError| fault(&Error::DriverError(error)).connection();
        assert_eq!(usable(DriverError::MismatchedStmtParams(1, 2)), Usability::Usable);
        assert_eq!(usable(DriverError::MixedParams), Usability::Usable);
        assert_eq!(usable(DriverError::PacketOutOfSync), Usability::Broken);
        assert_eq!(usable(DriverError::UnexpectedPacket), Usability::Broken);
        let lost = fault(&Error::server_disconnected());
        assert_eq!(
            (lost.class(), lost.retry_safety()),
            (Class::Disconnected, RetrySafety::OutcomeUnknown)
        );
    }
}
