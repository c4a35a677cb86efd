//! A scripted driver: its connections are numbers, and a script decides what
//! every connect, ping, look, check-in and drop comes to.
//!
//! On the wires [`Wire::Unix`] and [`Wire::Tcp`] there is a real socket behind
//! each connection, and a [`Server`] at its far end that answers pings, answers
//! our FIN with its own as a database does, and can be told to freeze or to end
//! a session. Live connections are counted where a server would count them.

mod manager;
mod script;
mod server;
mod session;

pub use manager::{FakeManager, ManagerError};
pub use script::{Act, At, Script};
pub use server::Death;

use poolwarden::{
    Attempt, BoxError, Cleaned, CloseReason, ConnectError, ConnectFault, Descriptor, Driver,
    Handling, Leftovers, Link, Phase, Reset, Unsolicited, Words,
};
use socket2::Socket;
use std::fmt;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

/// What lies between a connection and its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Nothing: the database is in this process.
    InProcess,
    /// Something that the pool cannot see.
    Hidden,
    /// A pair of unix sockets.
    Unix,
    /// A TCP connection over loopback.
    Tcp,
}

/// The scripted driver.
pub struct Fake {
    wire: Wire,
    script: Script,
}

/// A connection of the scripted driver.
#[derive(Debug)]
pub struct Conn {
    /// The how manieth connection of its driver this is, from 1.
    pub number: u64,
    /// When the driver was asked for it: never before the pool's own birth time.
    pub born: Instant,
    /// What the driver says at check-in.
    pub broken: bool,
    /// What its borrower has left behind.
    pub left: Leftovers,
    /// What the password was when it was opened.
    pub password: String,
    near: Option<Socket>,
    script: Script,
}

impl Fake {
    pub fn new(wire: Wire) -> (Fake, Script) {
        quiet_panics();
        let script = Script::new();
        (Fake { wire, script: script.clone() }, script)
    }

    fn round_trip(&self, at: At, conn: &mut Conn) -> Result<(), BoxError> {
        match self.script.act(at) {
            Act::Dawdle(time) => {
                conn.ping()?;
                std::thread::sleep(time);
                Ok(())
            }
            act => {
                act.play()?;
                Ok(conn.ping()?)
            }
        }
    }

    fn open(&self, attempt: &Attempt) -> Result<Conn, ConnectError> {
        let mut conn = Conn::behind(&self.script, self.wire);
        attempt.enter(Phase::Handshaking);
        if let Some(near) = &conn.near {
            let copy = Descriptor::duplicate(near).expect("a descriptor is left");
            attempt.watch(copy).map_err(|late| failed(ConnectFault::TimedOut, late))?;
            conn.hear().map_err(|error| failed(ConnectFault::Hangup, error))?;
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

fn failed(fault: ConnectFault, cause: impl Into<BoxError>) -> ConnectError {
    ConnectError::new(fault, "fake:1").with_source(cause)
}

impl Conn {
    fn behind(script: &Script, wire: Wire) -> Conn {
        let born = Instant::now();
        let (number, near) = script.server().accept(wire);
        let (password, script) = (script.password(), script.clone());
        let left = Leftovers::None;
        Conn { number, born, broken: false, left, password, near, script }
    }

    fn ping(&mut self) -> std::io::Result<()> {
        if let Some(near) = &mut self.near {
            near.write_all(&[session::PING])?;
        }
        self.hear()
    }

    /// Waits for one sign of life: the greeting, or the answer to a ping.
    fn hear(&mut self) -> std::io::Result<()> {
        let Some(near) = &mut self.near else { return Ok(()) };
        let mut byte = [0];
        while byte[0] != session::ALIVE {
            near.read_exact(&mut byte)?;
        }
        Ok(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // What the session of a socket ends, this must end without one; also if
        // the script makes the drop panic.
        let _gone = session::Gone::of(&self.script, self.number, self.near.is_none());
        match self.script.act(At::Drop) {
            // A second panic would abort the process: no driver does that.
            Act::Panic if !std::thread::panicking() => panic!("scripted: a drop panics"),
            Act::Farewell => drop(self.near.as_mut().map(|near| {
                let _ = near.write(&[session::FAREWELL]);
                near.read_to_end(&mut Vec::new())
            })),
            act => drop(act.play()),
        }
    }
}

impl Driver for Fake {
    type Connection = Conn;
    type Side = u64;

    fn label(&self) -> String {
        let _ = self.script.act(At::Label).play();
        "fake:1".into()
    }

    fn connect(&self, attempt: &Attempt) -> Result<(Conn, u64), ConnectError> {
        attempt.enter(Phase::Connecting);
        match self.script.act(At::Connect) {
            Act::Fault(fault) => return Err(failed(fault, "a scripted fault").with_code("F0000")),
            // Of a class that is waited for, so that its text is wanted later.
            Act::Unreadable => return Err(failed(ConnectFault::Starting, Unreadable)),
            act => {
                attempt.enter(Phase::Handshaking);
                let _ = act.play();
            }
        }
        let conn = self.open(attempt)?;
        let number = conn.number;
        Ok((conn, number))
    }

    fn ping(&self, conn: &mut Conn, number: &mut u64, _: Instant) -> Result<(), BoxError> {
        assert_eq!(conn.number, *number, "a connection was pinged with another's side");
        self.round_trip(At::Ping, conn)
    }

    fn link<'a>(&self, conn: &'a Conn, _: &'a u64) -> Link<'a> {
        let _ = self.script.act(At::Link).play();
        match (&conn.near, self.wire) {
            (Some(near), _) => Link::Socket(near.as_fd()),
            (None, Wire::InProcess) => Link::InProcess,
            (None, _) => Link::Hidden,
        }
    }

    fn is_broken(&self, conn: &mut Conn, _: &mut u64) -> bool {
        self.script.act(At::IsBroken).play().is_err() || conn.broken
    }

    fn leftovers(&self, conn: &mut Conn, _: &mut u64, _: Handling, _: Reset) -> Leftovers {
        let _ = self.script.act(At::Leftovers).play();
        conn.left
    }

    /// One round trip on a wire, as a ping.
    fn reset(
        &self,
        conn: &mut Conn,
        _: &mut u64,
        _: Handling,
        _: Reset,
    ) -> Result<Cleaned, BoxError> {
        self.round_trip(At::Reset, conn)?;
        conn.left = Leftovers::None;
        Ok(Cleaned { rolled_back: true })
    }

    /// Words are `E`, five characters of code, and a text.
    fn read_words(&self, bytes: &[u8]) -> Option<Words> {
        let _ = self.script.act(At::Words).play();
        let said = std::str::from_utf8(bytes).ok()?.strip_prefix('E')?;
        let (code, text) = said.split_at_checked(5)?;
        Some(Words::new(code.to_owned(), text.to_owned(), CloseReason::ServerShutdown))
    }

    /// `k` is harmless, `d` is not, and for all else the server is asked.
    fn unsolicited(&self, _: &u64, bytes: &[u8]) -> Unsolicited {
        let _ = self.script.act(At::Unsolicited).play();
        match bytes.first() {
            Some(b'k') => Unsolicited::Keep,
            Some(b'd' | b'E') => Unsolicited::Discard,
            _ => Unsolicited::Ping,
        }
    }

    fn may_block_here(&self) -> bool {
        self.script.act(At::MayBlock).play().is_ok()
    }
}

/// An error of a driver that cannot even be printed.
#[derive(Debug)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("scripted: an error's text panics")
    }
}

impl std::error::Error for Unreadable {}

/// Keeps the panics that a script asked for out of the tests' output.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.starts_with("scripted") && !text.starts_with("the test's logger panics") {
                loud(info);
            }
        }));
    });
}
