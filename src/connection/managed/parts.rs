//! The driver's connection and the driver's state of it.

use crate::connection::shared::Shared;
use crate::driver::{Driver, SocketAccess};
use crate::error::BoxError;
use crate::sys::catch_panic::{CaughtPanic, drop_catching};
use crate::sys::deadlines::Hold;
use crate::sys::descriptors::{self, Reserve};
use crate::sys::sockets::Descriptor;
use std::io;
use std::time::Instant;

/// What the driver returned for one connection, and what we hold for it from its birth:
/// there may be no descriptor and no thread left when they are needed.
pub(crate) struct Parts<D: Driver> {
    pub(crate) connection: D::Connection,
    pub(crate) state: D::State,
    /// A descriptor of our own for the socket, if the driver exposes one.
    socket: Option<Descriptor>,
    /// The timers that end what takes too long on it.
    _timers: Hold,
    /// A few descriptors, for a cancel request.
    _reserve: Option<Reserve>,
}

impl<D: Driver> Parts<D> {
    /// Takes what the driver returned, and duplicates its socket unless the attempt has.
    ///
    /// The connection cannot be used if that fails: the error is the system's.
    pub(crate) fn new(
        shared: &Shared<D>,
        (connection, state): (D::Connection, D::State),
        dialled: Option<Descriptor>,
        timers: Hold,
    ) -> (Parts<D>, io::Result<()>) {
        let mut parts = Parts { connection, state, socket: None, _timers: timers, _reserve: None };
        let own = match parts.socket_access(shared).or_else(|_| parts.socket_access(shared)) {
            Ok(SocketAccess::Socket(socket)) => {
                let dialled = dialled.filter(|dialled| dialled.is_same_socket(socket));
                dialled.map_or_else(|| Descriptor::duplicate(socket), Ok).map(Some)
            }
            Ok(SocketAccess::InProcess | SocketAccess::Unavailable) | Err(_) => Ok(None),
        };
        let outcome = own.map(|socket| parts.socket = socket);
        parts._reserve = parts.socket.is_some().then(descriptors::reserve);
        (parts, outcome)
    }

    /// Asks the driver for access to the connection's socket.
    #[inline]
    pub(super) fn socket_access(
        &self,
        shared: &Shared<D>,
    ) -> Result<SocketAccess<'_>, CaughtPanic> {
        shared.ask(|driver| driver.socket_access(&self.connection, &self.state))
    }

    /// Returns our descriptor for the socket that the connection had at its birth.
    pub(super) fn own_socket(&self) -> Option<&Descriptor> {
        self.socket.as_ref()
    }

    /// Returns a descriptor of our own for the connection's socket, if the driver exposes
    /// one.
    pub(crate) fn socket_copy(&self, shared: &Shared<D>) -> Option<Descriptor> {
        match self.socket_access(shared) {
            Ok(SocketAccess::Socket(socket)) => {
                let own = self.socket.as_ref().filter(|own| own.is_same_socket(socket));
                // Safe code can swap the connections of two guards: only the driver's own
                // answer tells which socket is meant.
                own.cloned().or_else(|| Descriptor::duplicate(socket).ok())
            }
            Ok(SocketAccess::InProcess | SocketAccess::Unavailable) => None,
            Err(_panicked) => self.socket.clone(),
        }
    }

    /// Tells the driver that the session is as a borrower is to find it. No I/O.
    pub(crate) fn mark_clean(&mut self, shared: &Shared<D>) {
        let (connection, state) = (&mut self.connection, &mut self.state);
        // After a panic the driver at worst resets what needs no reset.
        let _ = shared.ask(|driver| driver.mark_clean(connection, state));
    }

    /// Gives the driver's connection up; every descriptor of ours is closed.
    pub(crate) fn into_connection(self) -> D::Connection {
        let Parts { connection, state, .. } = self;
        let _ = drop_catching(state);
        connection
    }

    /// Reads the server's limits over this connection; an error if the connection failed
    /// meanwhile.
    pub(crate) fn read_limits(
        &mut self,
        shared: &Shared<D>,
        deadline: Instant,
    ) -> Result<(), BoxError> {
        let (connection, state) = (&mut self.connection, &mut self.state);
        let read = shared.ask(|driver| driver.server_limits(connection, state, deadline));
        match read.map_err(BoxError::from).and_then(|limits| limits) {
            Ok(limits) => {
                limits.into_iter().for_each(|limits| shared.apply_limits(limits));
                Ok(())
            }
            Err(error) => {
                shared.reading_failed();
                Err(error)
            }
        }
    }
}
