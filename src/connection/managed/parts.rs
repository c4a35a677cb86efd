//! The driver's connection and the driver's state of it.

use crate::connection::shared::Shared;
use crate::driver::{Canceller, DescribeSession, Driver, Session, SocketAccess};
use crate::error::BoxError;
use crate::sys::catch_panic::CaughtPanic;
use crate::sys::deadlines::Hold;
use crate::sys::descriptors::{self, Reserve};
use crate::sys::sockets::Descriptor;
use std::io;
use std::time::Instant;

/// What the driver returned for one connection, and what we hold for it from its birth:
/// there may be no descriptor and no thread left when they are needed.
pub(crate) struct Parts<D: Driver> {
    pub(crate) session: D::Session,
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
        session: D::Session,
        dialled: Option<Descriptor>,
        timers: Hold,
    ) -> (Parts<D>, io::Result<()>) {
        let mut parts = Parts { session, socket: None, _timers: timers, _reserve: None };
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
        shared.ask(|driver| driver.socket_access(&self.session))
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
        let session = &mut self.session;
        // After a panic the driver at worst resets what needs no reset.
        let _ = shared.ask(|driver| driver.reset().map(|reset| reset.mark_clean(session)));
    }

    /// Prepares for the drop; returns `true` if a reply is still outstanding. No I/O.
    pub(super) fn give_up(&mut self, shared: &Shared<D>) -> bool {
        let session = &mut self.session;
        let owed = shared.ask(|driver| driver.cancel().is_some_and(|by| by.give_up(session)));
        owed.unwrap_or(true)
    }

    /// Returns what the driver knows of the session. No I/O.
    pub(crate) fn describe<T>(
        &self,
        shared: &Shared<D>,
        ask: impl FnOnce(&dyn DescribeSession<D::Session>, &D::Session) -> Option<T>,
    ) -> Option<T> {
        shared.ask(|driver| ask(driver.facts()?, &self.session)).ok().flatten()
    }

    /// Returns a handle that cancels the running statement, and whether a request of it takes
    /// a session of the server.
    pub(super) fn canceller(&self, shared: &Shared<D>) -> Option<(Canceller, bool)> {
        let ask = |driver: &D| {
            let by = driver.cancel()?;
            Some((by.canceller(&self.session)?, by.takes_a_session()))
        };
        shared.ask(ask).ok().flatten()
    }

    /// Gives the driver's connection up; every descriptor of ours is closed.
    pub(crate) fn into_connection(self) -> D::Connection {
        self.session.into_connection()
    }

    /// Reads the server's limits over this connection; an error if the connection failed
    /// meanwhile.
    pub(crate) fn read_limits(
        &mut self,
        shared: &Shared<D>,
        deadline: Instant,
    ) -> Result<(), BoxError> {
        let session = &mut self.session;
        let read = |driver: &D| Some(driver.limits()?.read_limits(session, deadline));
        match shared.ask(read).map_err(BoxError::from).and_then(Option::transpose) {
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
