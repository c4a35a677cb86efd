//! Control of a server through its command-line client, as `root`.

use std::fmt::Display;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::{Database, Product, Server, programs};
use crate::wait::eventually;

/// A client's connection, as the server's process list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The connection's id.
    pub id: u64,
    /// The user.
    pub user: String,
    /// Its default database; empty if none.
    pub db: String,
    /// `Sleep`, `Query`, ...
    pub command: String,
    /// How long the current command has lasted, in milliseconds.
    pub time_ms: u64,
}

impl Server {
    /// Runs statements as `root` over the unix socket; returns all their rows.
    ///
    /// NULL is the text `NULL`.
    ///
    /// # Panics
    ///
    /// With the client's message, if a statement fails.
    #[track_caller]
    pub fn sql(&self, text: &str) -> Vec<Vec<String>> {
        let output = run(&mut self.client(), text);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "a statement failed: {errors}");
        rows(&String::from_utf8_lossy(&output.stdout))
    }

    fn client(&self) -> Command {
        let mut client = Command::new(programs::client());
        client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        client.args(["--connect-timeout=20", "--default-character-set=utf8mb4"]);
        client.arg(format!("--socket={}", self.socket().display()));
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        client
    }

    /// Sets a global variable to an SQL expression: `set_global("wait_timeout", 1)`.
    ///
    /// Sessions that are open keep their own value of most variables.
    #[track_caller]
    pub fn set_global(&self, name: &str, value: impl Display) {
        self.sql(&format!("SET GLOBAL {name} = {value}"));
    }

    /// Creates a database with a user of the same name, password `app`, who may use it only.
    #[track_caller]
    pub fn fresh_database(&self) -> Database<'_> {
        Database::create(self)
    }

    /// Returns the clients' connections, oldest first, without our own as `root`.
    #[track_caller]
    pub fn processlist(&self) -> Vec<Process> {
        // MySQL counts whole seconds.
        let time = match programs::product() {
            Product::MariaDb => "time_ms",
            Product::MySql => "time * 1000",
        };
        let rows = self.sql(&format!(
            "SELECT id, user, ifnull(db, ''), command, cast({time} AS unsigned)
             FROM information_schema.processlist
             WHERE user NOT IN ('root', 'system user', 'event_scheduler') ORDER BY id",
        ));
        rows.iter().map(|row| process(row)).collect()
    }

    /// Kills the connections of the user, or in the database, of this name.
    ///
    /// Returns how many there were, once all have ended.
    ///
    /// # Panics
    ///
    /// When one has not ended within 10 seconds.
    #[track_caller]
    pub fn kill_all(&self, name: &str) -> usize {
        let doomed = |process: &Process| process.user == name || process.db == name;
        let ids: Vec<u64> = self.processlist().iter().filter(|p| doomed(p)).map(|p| p.id).collect();
        self.kill_each(&ids);
        let ended = || self.processlist().iter().all(|process| !ids.contains(&process.id));
        assert!(eventually(Duration::from_secs(10), ended), "a killed connection did not end");
        ids.len()
    }

    /// Kills one connection; it is no error if it has ended already.
    #[track_caller]
    pub fn kill(&self, id: u64) {
        self.kill_each(&[id]);
    }

    fn kill_each(&self, ids: &[u64]) {
        let statements: String = ids.iter().map(|id| format!("KILL {id};\n")).collect();
        let output = run(self.client().arg("--force"), &statements);
        let errors = String::from_utf8_lossy(&output.stderr);
        // Error 1094 is "Unknown thread id": it has ended meanwhile.
        let failed = |line: &str| line.starts_with("ERROR ") && !line.starts_with("ERROR 1094 ");
        assert!(!errors.lines().any(failed), "KILL failed: {errors}");
    }
}

fn run(client: &mut Command, text: &str) -> Output {
    let mut child = client.spawn().expect("the client starts");
    let mut input = child.stdin.take().expect("stdin is piped");
    // If the client cannot connect it may end before it reads; its message has the reason.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    child.wait_with_output().expect("the client is our child")
}

// "mariadb Command-Line Client", --batch: tabs between fields, special characters escaped.
fn rows(output: &str) -> Vec<Vec<String>> {
    output.lines().map(|line| line.split('\t').map(unescape).collect()).collect()
}

fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        let plain = match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => '\0',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        };
        text.push(plain);
    }
    text
}

fn process(row: &[String]) -> Process {
    let [id, user, db, command, time] = row else {
        panic!("bug: the query returns five columns, not {row:?}")
    };
    Process {
        id: id.parse().expect("an id is a number"),
        user: user.clone(),
        db: db.clone(),
        command: command.clone(),
        time_ms: time.parse().expect("a time is a number"),
    }
}
