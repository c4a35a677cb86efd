//! A scripted driver: its connections are numbers, and a script decides the
//! outcome of every connect, ping, check, check-in and drop.
//!
//! With [`Transport::Unix`] and [`Transport::Tcp`] there is a real socket behind
//! each connection, and a [`Server`] at its far end that answers pings, answers
//! our FIN with its own as a database does, and can be made to freeze or to end
//! a session. The server counts its sessions, as a database does.

mod manager;
mod script;
mod server;
mod session;

pub use manager::{FakeManager, ManagerError};
pub use script::{Act, At, Script};
pub use server::ServerClose;

use poolwarden::config::ServerLimits;
use poolwarden::driver::{
    AskRole, Attempt, CancelStatement, Cancelled, Canceller, Descriptor, Driver, Phase, ReadLimits,
    ReadMessages, ResetOutcome, ResetSession, SessionState, SocketAccess, Unsolicited, Usage,
};
use poolwarden::observe::ServerMessage;
use poolwarden::{BoxError, CloseReason, ConnectError, FaultClass, Reset};
use socket2::Socket;
use std::fmt;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

/// How a connection reaches its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Not at all: the database is in this process.
    InProcess,
    /// By a socket that the pool cannot see.
    Hidden,
    /// A pair of unix sockets.
    Unix,
    /// A TCP connection over loopback.
    Tcp,
}

/// The scripted driver.
pub struct Fake {
    transport: Transport,
    script: Script,
}

/// A connection of the scripted driver.
#[derive(Debug)]
pub struct Conn {
    /// The connection's number, counted per driver from 1.
    pub number: u64,
    /// When the driver began to open it: never before the pool's own birth time.
    pub born: Instant,
    /// What `is_broken` returns at check-in.
    pub broken: bool,
    /// The session state that its borrower left.
    pub left: SessionState,
    /// The password with which it was opened.
    pub password: String,
    near: Option<Socket>,
    script: Script,
}

impl Fake {
    pub fn new(transport: Transport) -> (Fake, Script) {
        support::hang::watch();
        quiet_panics();
        let script = Script::new();
        (Fake { transport, script: script.clone() }, script)
    }

    /// Creates a driver of another pool for the same server.
    pub fn beside(&self) -> Fake {
        Fake { transport: self.transport, script: self.script.clone() }
    }

    fn round_trip(&self, at: At, conn: &mut Conn) -> Result<(), BoxError> {
        match self.script.act(at) {
            Act::ReturnLate(time) => {
                conn.ping()?;
                std::thread::sleep(time);
                Ok(())
            }
            Act::FreezeAfterReply => {
                conn.ping()?;
                self.script.server().freeze();
                // A frozen server neither writes nor closes: the pool shuts the socket down.
                let _ = conn.near.as_mut().map(|near| near.read_to_end(&mut Vec::new()));
                Ok(())
            }
            act => {
                act.play()?;
                Ok(conn.ping()?)
            }
        }
    }

    fn open(&self, attempt: &Attempt, is_watched: bool) -> Result<Conn, ConnectError> {
        let mut conn = Conn::behind(&self.script, self.transport);
        attempt.enter(Phase::Handshaking);
        if let Some(near) = &conn.near {
            if is_watched {
                let copy = Descriptor::duplicate(near).expect("a descriptor is left");
                attempt.watch(copy).map_err(|expired| failed(FaultClass::TimedOut, expired))?;
            }
            conn.read_reply().map_err(|error| failed(FaultClass::Hangup, error))?;
            if self.script.server().hangs_up() {
                self.script.server().close(conn.number);
            }
        }
        Ok(conn)
    }
}

/// A driver with a script.
pub trait Scripted {
    fn script(&self) -> &Script;
}

impl Scripted for Fake {
    fn script(&self) -> &Script {
        &self.script
    }
}

fn failed(fault: FaultClass, cause: impl Into<BoxError>) -> ConnectError {
    ConnectError::new(fault, "fake:1").with_source(cause)
}

impl Conn {
    fn behind(script: &Script, transport: Transport) -> Conn {
        let born = Instant::now();
        let (number, near) = script.server().accept(transport);
        let (password, script) = (script.password(), script.clone());
        let left = SessionState::Clean;
        Conn { number, born, broken: false, left, password, near, script }
    }

    /// One round trip.
    pub fn ping(&mut self) -> std::io::Result<()> {
        if let Some(near) = &mut self.near {
            near.write_all(&[session::PING])?;
        }
        self.read_reply()
    }

    /// Waits for the greeting or for the reply to a ping.
    fn read_reply(&mut self) -> std::io::Result<()> {
        let Some(near) = &mut self.near else { return Ok(()) };
        let mut byte = [0];
        while byte[0] != session::REPLY {
            near.read_exact(&mut byte)?;
        }
        Ok(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // A closed socket ends its session; without a socket this value does, also if
        // the script makes the drop panic.
        let _end = session::EndOnDrop::new(&self.script, self.number, self.near.is_none());
        match self.script.act(At::Drop) {
            // A second panic would abort the process.
            Act::Panic if !std::thread::panicking() => panic!("scripted: a drop panics"),
            Act::GracefulClose => drop(self.near.as_mut().map(|near| {
                let _ = near.write(&[session::TERMINATE]);
                near.read_to_end(&mut Vec::new())
            })),
            act => drop(act.play()),
        }
    }
}

/// A connection, and its number, by which the tests see that both stay together.
type Session = (Conn, u64);

impl Driver for Fake {
    type Connection = Conn;
    type Session = Session;

    fn label(&self) -> String {
        let _ = self.script.act(At::Label).play();
        "fake:1".into()
    }

    fn connect(&self, attempt: &Attempt) -> Result<Session, ConnectError> {
        attempt.enter(Phase::Connecting);
        let act = self.script.act(At::Connect);
        let is_watched = !matches!(act, Act::SkipWatch);
        match act {
            Act::Fault(fault) => return Err(failed(fault, "a scripted fault").with_code("F0000")),
            // A cause that callers wait for, so that its text is needed later.
            Act::Unprintable => return Err(failed(FaultClass::Starting, Unprintable)),
            act => {
                attempt.enter(Phase::Handshaking);
                let _ = act.play();
            }
        }
        let conn = self.open(attempt, is_watched)?;
        let number = conn.number;
        Ok((conn, number))
    }

    fn ping(&self, (conn, number): &mut Session, _: Instant) -> Result<(), BoxError> {
        assert_eq!(conn.number, *number, "a connection was pinged with another one's state");
        self.round_trip(At::Ping, conn)
    }

    fn socket_access<'a>(&self, (conn, _): &'a Session) -> SocketAccess<'a> {
        let _ = self.script.act(At::SocketAccess).play();
        match (&conn.near, self.transport) {
            (Some(near), _) => SocketAccess::Socket(near.as_fd()),
            (None, Transport::InProcess) => SocketAccess::InProcess,
            (None, _) => SocketAccess::Unavailable,
        }
    }

    fn session_state(&self, (conn, _): &mut Session, _: Usage, _: Reset) -> SessionState {
        if self.script.act(At::IsBroken).play().is_err() || conn.broken {
            return SessionState::Broken;
        }
        let _ = self.script.act(At::SessionState).play();
        conn.left
    }

    fn is_usable_here(&self) -> bool {
        self.script.act(At::Usable).play().is_ok()
    }

    fn may_block_here(&self) -> bool {
        self.script.act(At::MayBlock).play().is_ok()
    }

    fn reset(&self) -> Option<&dyn ResetSession<Session>> {
        Some(self)
    }

    fn cancel(&self) -> Option<&dyn CancelStatement<Session>> {
        Some(self)
    }

    fn messages(&self) -> Option<&dyn ReadMessages<Session>> {
        Some(self)
    }

    fn limits(&self) -> Option<&dyn ReadLimits<Session>> {
        Some(self)
    }

    fn roles(&self) -> Option<&dyn AskRole<Session>> {
        Some(self)
    }
}

impl ResetSession<Session> for Fake {
    /// One round trip on the socket, as a ping.
    fn reset_session(
        &self,
        (conn, _): &mut Session,
        _: Usage,
        _: Reset,
    ) -> Result<ResetOutcome, BoxError> {
        self.round_trip(At::Reset, conn)?;
        conn.left = SessionState::Clean;
        Ok(ResetOutcome::default().with_rolled_back(true))
    }
}

impl AskRole<Session> for Fake {
    fn is_writable(&self, session: &mut Session, deadline: Instant) -> Result<bool, BoxError> {
        match self.script.act(At::IsWritable) {
            Act::Fault(_) => Ok(false),
            _ => self.ping(session, deadline).map(|()| true),
        }
    }

    fn is_standby(&self, session: &mut Session, deadline: Instant) -> Result<bool, BoxError> {
        match self.script.act(At::IsStandby) {
            Act::Fault(_) => Ok(false),
            _ => self.ping(session, deadline).map(|()| true),
        }
    }
}

impl ReadMessages<Session> for Fake {
    /// A message is `E`, a code of five characters, and a text.
    fn read_message(&self, bytes: &[u8]) -> Option<ServerMessage> {
        let _ = self.script.act(At::ServerMessage).play();
        let message = std::str::from_utf8(bytes).ok()?.strip_prefix('E')?;
        let (code, text) = message.split_at_checked(5)?;
        let reason = match code {
            "57P02" => CloseReason::ServerCrash,
            "57P05" => CloseReason::ServerIdleTimeout,
            "XX000" => CloseReason::ServerError,
            _ => CloseReason::ServerShutdown,
        };
        Some(ServerMessage::new(code.to_owned(), text.to_owned(), reason))
    }

    /// `k` is harmless, `d` and `E` close the connection, and after any other byte the pool pings.
    fn unsolicited(&self, _: &Session, bytes: &[u8]) -> Unsolicited {
        let _ = self.script.act(At::Unsolicited).play();
        match bytes.first() {
            Some(b'k') => Unsolicited::Keep,
            Some(b'd' | b'E') => Unsolicited::Close,
            _ => Unsolicited::Ping,
        }
    }
}

impl ReadLimits<Session> for Fake {
    fn read_limits(&self, _: &mut Session, _: Instant) -> Result<ServerLimits, BoxError> {
        self.script.act(At::Limits).play()?;
        Ok(ServerLimits::default())
    }
}

impl CancelStatement<Session> for Fake {
    fn canceller(&self, _: &Session) -> Option<Canceller> {
        let script = self.script.is_cancellable().then(|| self.script.clone())?;
        let request = move |_: &Attempt| script.act(At::Cancel).play().map(|()| Cancelled::Done);
        Some(Canceller::Remote(Arc::new(request)))
    }
}

/// A driver's error whose text panics.
#[derive(Debug)]
pub struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("scripted: an error's text panics")
    }
}

impl std::error::Error for Unprintable {}

/// Keeps scripted panics out of the tests' output.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.starts_with("scripted") && !text.starts_with("the test's logger panics") {
                default_hook(info);
            }
        }));
    });
}
