//! Control of a server through `psql`, as its superuser.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use super::{Database, Server};
use crate::wait::eventually;

/// Separates fields in psql's output; rows end with a zero byte. Neither is in any text.
const FIELD_END: char = '\u{1f}';
/// The `application_name` of our own connections: one of them may still be ending.
pub(super) const APPLICATION: &str = "support-control";

/// The interval between two readiness checks of a server.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);

/// A client's backend, as `pg_stat_activity` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The process id, which is also the connection's identity.
    pub pid: i32,
    /// How long ago it was opened, in milliseconds.
    pub age_ms: u64,
    /// `active`, `idle`, `idle in transaction`, ...; empty before the first statement.
    pub state: String,
}

impl Server {
    /// Runs statements in `db` as superuser over the unix socket; returns all their rows.
    ///
    /// Each statement is a transaction of its own. NULL is an empty string.
    ///
    /// # Panics
    ///
    /// With psql's message, if a statement fails.
    #[track_caller]
    pub fn sql(&self, db: &str, text: &str) -> Vec<Vec<String>> {
        let mut psql = self.psql();
        psql.args(["-XqAt0", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", db]);
        psql.args(["-F", &FIELD_END.to_string(), "-f", "-"]);
        let piped = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("psql starts");
        let mut input = child.stdin.take().expect("stdin is piped");
        // If psql cannot connect it may end before it reads; its message has the reason.
        let _ = input.write_all(text.as_bytes());
        drop(input);
        let output = child.wait_with_output().expect("psql is our child");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql failed in {db}: {errors}");
        rows(&String::from_utf8_lossy(&output.stdout))
    }

    /// Creates an empty database that belongs to the superuser.
    #[track_caller]
    pub fn create_database(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {}", identifier(name)));
    }

    /// Creates a database with an owner of the same name who may log in.
    #[track_caller]
    pub fn fresh_database(&self) -> Database<'_> {
        Database::create(self)
    }

    /// Returns the client backends whose `application_name` is this one, oldest first.
    #[track_caller]
    pub fn backends(&self, application_name: &str) -> Vec<Backend> {
        self.backends_where(&format!("application_name = {}", literal(application_name)))
    }

    #[track_caller]
    pub(super) fn backends_where(&self, condition: &str) -> Vec<Backend> {
        let rows = self.sql(
            "postgres",
            &format!(
                "SELECT pid, extract(epoch FROM clock_timestamp() - backend_start) * 1000, state
                 FROM pg_stat_activity
                 WHERE backend_type = 'client backend' AND application_name <> '{APPLICATION}'
                   AND {condition} ORDER BY backend_start, pid"
            ),
        );
        rows.iter().map(|row| backend(row)).collect()
    }

    /// Terminates the backends with this `application_name` or in the database of this name.
    ///
    /// Returns how many there were, once all have ended.
    #[track_caller]
    pub fn terminate_all(&self, name: &str) -> usize {
        let name = literal(name);
        let rows = self.sql(
            "postgres",
            &format!(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                 WHERE backend_type = 'client backend' AND application_name <> '{APPLICATION}'
                   AND (application_name = {name} OR datname = {name})"
            ),
        );
        rows.len()
    }

    /// Returns `true` if the server accepts a client within `timeout`.
    #[must_use]
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        eventually(timeout, || self.accepts_client().unwrap_or(false))
    }

    // PostgreSQL docs, "Message Formats": R requests, or ends, the authentication;
    // an E instead is a refusal. X terminates.
    fn accepts_client(&self) -> io::Result<bool> {
        let socket = self.socket_dir().join(format!(".s.PGSQL.{}", self.port()));
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let words = format!("user\0postgres\0application_name\0{APPLICATION}\0\0");
        let length = (8 + words.len()) as u32;
        let startup = [&length.to_be_bytes()[..], &[0, 3, 0, 0], words.as_bytes()].concat();
        stream.write_all(&startup)?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        stream.write_all(&[b'X', 0, 0, 0, 4])?;
        Ok(first == *b"R")
    }
}

fn rows(output: &str) -> Vec<Vec<String>> {
    let records = output.split_terminator('\0');
    records.map(|record| record.split(FIELD_END).map(str::to_owned).collect()).collect()
}

fn backend(row: &[String]) -> Backend {
    let [pid, age, state] = row else {
        panic!("bug: the query returns three columns, not {row:?}")
    };
    let age: f64 = age.parse().expect("an age is a number");
    Backend {
        pid: pid.parse().expect("a pid is a number"),
        age_ms: age as u64,
        state: state.clone(),
    }
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
