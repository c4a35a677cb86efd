//! A fake MySQL server: enough of the protocol for the `mysql` driver.
//!
//! It accepts every password, answers a `SELECT` of one value from its variables
//! and everything else with OK; it is never inside a transaction. It does what no MariaDB server does: ERR 4031
//! in front of the FIN, as MySQL 8.0.24 and later close an idle connection; answers
//! that come one request late; and a proxy's refusal of several statements in one text.

mod packet;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Script, serve};
use packet::Answer;

// MySQL documentation, "Command Phase": the first byte of a command packet.
const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;

// MySQL documentation, "Server Error Message Reference": ER_UNKNOWN_ERROR and
// ER_SP_DOES_NOT_EXIST.
const UNKNOWN: u16 = 1105;
const NO_SUCH_SAVEPOINT: u16 = 1305;

/// A whole OK packet with sequence id 1, as an unexpected answer would be.
pub const STRAY_OK: [u8; 11] = [7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];

/// A scripted MySQL server on a free odd loopback port.
#[derive(Debug)]
pub struct FakeMysql {
    script: Script,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    next_id: u32,
    /// A second handle of each open connection's socket.
    open: HashMap<u32, TcpStream>,
    variables: HashMap<String, String>,
    statements: Vec<String>,
    /// Connections whose answers come one request late.
    late: HashSet<u32>,
    refuses_multi_statements: bool,
}

impl FakeMysql {
    /// Starts the fake server.
    pub fn start() -> FakeMysql {
        let known = [("max_allowed_packet", "16777216"), ("wait_timeout", "28800"), ("socket", "")];
        let variables = known.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let open = HashMap::new();
        let state = State {
            next_id: 1,
            open,
            variables,
            statements: Vec::new(),
            late: HashSet::new(),
            refuses_multi_statements: false,
        };
        let state = Arc::new(Mutex::new(state));
        let theirs = Arc::clone(&state);
        // A broken connection ends its script and is no error.
        let script = serve(move |stream| drop(converse(&theirs, stream)));
        FakeMysql { script, state }
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.script.port()
    }

    /// Returns a URL that the driver can use.
    pub fn url(&self) -> String {
        format!("mysql://app:app@127.0.0.1:{}/test?prefer_socket=false", self.port())
    }

    /// Returns how many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.script.accepted()
    }

    /// Returns how many connections are open now.
    pub fn live(&self) -> usize {
        lock(&self.state).open.len()
    }

    /// Returns the text of every query so far, in order of arrival.
    pub fn statements(&self) -> Vec<String> {
        lock(&self.state).statements.clone()
    }

    /// Sets what `SELECT @@name` answers, also with `global.` or `session.` before the name;
    /// `version` is the one that the server names to new clients.
    pub fn set_variable(&self, name: &str, value: &str) {
        lock(&self.state).variables.insert(name.to_lowercase(), value.to_owned());
    }

    /// Answers one request late from now on, on all connections that are open now:
    /// the next request is answered by [`STRAY_OK`], each later one by the answer to the one
    /// before it.
    pub fn answer_one_request_late(&self) {
        let mut state = lock(&self.state);
        state.late = state.open.keys().copied().collect();
    }

    /// Refuses several statements in one text from now on, as a proxy may.
    pub fn refuse_multi_statements(&self) {
        lock(&self.state).refuses_multi_statements = true;
    }

    /// Closes every connection as MySQL 8 closes an idle one: ERR 4031, then FIN.
    pub fn time_out_clients(&self) {
        self.inject(&packet::inactivity());
        self.close_clients();
    }

    /// Writes `bytes` to every connection, such as [`STRAY_OK`].
    pub fn inject(&self, bytes: &[u8]) {
        for mut stream in lock(&self.state).open.values() {
            // A client that has closed meanwhile gets nothing.
            let _ = stream.write_all(bytes);
        }
    }

    /// Closes every connection by FIN.
    pub fn close_clients(&self) {
        // Shut down, not dropped: the script's own handle is open as well.
        for (_, stream) in lock(&self.state).open.drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for FakeMysql {
    fn drop(&mut self) {
        self.close_clients();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(state: &Mutex<State>, mut stream: TcpStream) -> io::Result<()> {
    let id = admit(state, &stream)?;
    let ended = greet(state, &mut stream, id).and_then(|()| answer_all(state, &mut stream, id));
    lock(state).open.remove(&id);
    ended
}

fn admit(state: &Mutex<State>, stream: &TcpStream) -> io::Result<u32> {
    stream.set_nodelay(true)?;
    let second = stream.try_clone()?;
    let mut state = lock(state);
    let id = state.next_id;
    state.next_id += 1;
    state.open.insert(id, second);
    Ok(id)
}

fn greet(state: &Mutex<State>, stream: &mut TcpStream, id: u32) -> io::Result<()> {
    let version = lock(state).variables.get("version").cloned();
    let version = version.as_deref().unwrap_or("8.0.36-fake");
    stream.write_all(&packet::greeting(id, version))?;
    let (sequence, _user_and_password) = packet::read(stream)?;
    stream.write_all(&Answer::Ok.packets(sequence.wrapping_add(1)))
}

fn answer_all(state: &Mutex<State>, stream: &mut TcpStream, id: u32) -> io::Result<()> {
    let mut owed = STRAY_OK.to_vec();
    loop {
        let (sequence, command) = packet::read(stream)?;
        let answer = match command.split_first() {
            None | Some((&COM_QUIT, _)) => return Ok(()),
            Some((&COM_QUERY, text)) => answer_query(state, &String::from_utf8_lossy(text)),
            Some((&COM_STMT_PREPARE, _)) => {
                Answer::Error(UNKNOWN, "the fake server prepares nothing")
            }
            Some(_) => Answer::Ok,
        };
        let mut answer = answer.packets(sequence.wrapping_add(1));
        if lock(state).late.contains(&id) {
            std::mem::swap(&mut answer, &mut owed);
        }
        stream.write_all(&answer)?;
    }
}

fn answer_query(state: &Mutex<State>, text: &str) -> Answer {
    let mut state = lock(state);
    state.statements.push(text.to_owned());
    let mut statements = text.split(';');
    if state.refuses_multi_statements && text.contains(';') {
        return Answer::Error(UNKNOWN, "one statement at a time");
    }
    let mut answers = Vec::new();
    // Those after an error are not run.
    while !matches!(answers.last(), Some(Answer::Error(..))) {
        let Some(statement) = statements.next() else { break };
        answers.push(answer_one(&state, statement));
    }
    Answer::All(answers)
}

fn answer_one(state: &State, text: &str) -> Answer {
    let lower = text.trim().to_lowercase();
    if lower.starts_with("release savepoint") {
        return Answer::Error(NO_SUCH_SAVEPOINT, "SAVEPOINT does not exist");
    }
    let Some(wanted) = lower.strip_prefix("select ") else {
        return Answer::Ok;
    };
    let values = wanted.split(',').map(|expression| value(&state.variables, expression.trim()));
    match values.collect() {
        Some(values) => Answer::Row(values),
        None => Answer::Error(UNKNOWN, "the fake server does not know this value"),
    }
}

fn value(variables: &HashMap<String, String>, expression: &str) -> Option<String> {
    if expression.parse::<i64>().is_ok() {
        return Some(expression.to_owned());
    }
    let name = expression.strip_prefix("@@")?;
    let name = name.strip_prefix("global.").or(name.strip_prefix("session.")).unwrap_or(name);
    // The roles of a new session, which a reset restores.
    let default = (name == "activate_all_roles_on_login").then(|| "0".to_owned());
    variables.get(name).cloned().or(default)
}

#[cfg(all(test, feature = "mysql"))]
mod tests {
    use super::*;
    use crate::wait::eventually;
    use ::mysql::prelude::Queryable;
    use ::mysql::{Conn, Opts};
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(5);

    fn connect(server: &FakeMysql) -> Conn {
        let opts = Opts::from_url(&server.url()).expect("the URL is valid");
        Conn::new(opts).expect("the driver accepts the fake server")
    }

    #[test]
    fn the_driver_connects_pings_queries_and_resets() {
        let server = FakeMysql::start();
        server.set_variable("wait_timeout", "60");
        let mut conn = connect(&server);
        conn.ping().expect("COM_PING is answered");
        conn.query_drop("DO 0").expect("OK is an answer");
        let row = conn.query_first::<(i64, i64), _>("SELECT @@GLOBAL.wait_timeout, 7");
        assert_eq!(row.expect("a row is an answer"), Some((60, 7)));
        conn.reset().expect("COM_RESET_CONNECTION is answered");
        assert!(conn.query_drop("SELECT nonsense").is_err());
        assert_eq!(
            server.statements().first().map(String::as_str),
            Some("SELECT @@max_allowed_packet")
        );
        assert_eq!((server.accepted(), server.live()), (1, 1));
        drop(conn);
        assert!(eventually(SOON, || server.live() == 0));
    }

    #[test]
    fn the_driver_reports_a_timed_out_connection_as_out_of_sync() {
        let server = FakeMysql::start();
        let mut conn = connect(&server);
        server.time_out_clients();
        let error = conn.ping().expect_err("the server has gone");
        // FACTS: sequence id 0 is not what the driver expects, so 4031 is lost.
        assert!(error.to_string().contains("out of"), "{error}");
        assert_eq!(server.live(), 0);
    }

    #[test]
    fn an_unexpected_answer_shifts_all_later_answers() {
        let server = FakeMysql::start();
        let mut conn = connect(&server);
        server.inject(&STRAY_OK);
        assert_eq!(conn.query_first::<i64, _>("SELECT 7").expect("OK came first"), None);
        assert_eq!(conn.query_first::<i64, _>("SELECT 8").expect("a row came"), Some(7));
    }
}
