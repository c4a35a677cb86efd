//! The scripted driver as an r2d2 manager, as diesel's or memcache's would be.

use super::{Act, At, Conn, Fake, Script, Scripted, Transport};
use poolwarden::Foreign;
use std::fmt;

/// An `r2d2::ManageConnection` with a script.
pub struct FakeManager {
    script: Script,
}

/// The error of this manager's methods.
#[derive(Debug, PartialEq, Eq)]
pub struct ManagerError;

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the manager's own error")
    }
}

impl std::error::Error for ManagerError {}

impl Scripted for Foreign<FakeManager> {
    fn script(&self) -> &Script {
        &self.manager().script
    }
}

impl FakeManager {
    pub fn new() -> (FakeManager, Script) {
        let (_, script) = Fake::new(Transport::Hidden);
        (FakeManager { script: script.clone() }, script)
    }

    fn act(&self, at: At) -> Result<(), ManagerError> {
        match self.script.act(at) {
            Act::Fault(_) => Err(ManagerError),
            act => act.play().map_err(|_| ManagerError),
        }
    }
}

impl r2d2::ManageConnection for FakeManager {
    type Connection = Conn;
    type Error = ManagerError;

    fn connect(&self) -> Result<Conn, ManagerError> {
        self.act(At::Connect)?;
        Ok(Conn::behind(&self.script, Transport::Hidden))
    }

    fn is_valid(&self, _: &mut Conn) -> Result<(), ManagerError> {
        self.act(At::Ping)
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        self.act(At::IsBroken).is_err() || conn.broken
    }
}
