//! A TCP proxy that fails on demand.
//!
//! It stands between the code under test and a server and produces the faults that
//! a server cannot produce on demand. One thread accepts; each connection has one
//! thread that owns both of its sockets, so a fault has reached the socket when
//! the call that applies it returns.

mod acceptor;
mod channel;
mod connection;
mod pipe;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::port;
use channel::Outbox;
use connection::Handle;

/// What happens to new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards both ways. The default.
    Pass,
    /// Forwards, with a fault that applies from the first byte.
    With(Fault),
    /// Does not listen: a connect gets ECONNREFUSED.
    Refuse,
    /// Accepts, reads everything and never answers; does not connect to the upstream.
    Unresponsive,
    /// Listens with a backlog that is full: a connect gets no answer at all.
    FullBacklog,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Ends `Stall`, `Hold`, `Delay`, `CloseAfter` and `Throttle`; held bytes are forwarded.
    Pass,
    /// Forwards nothing either way, not even a FIN; the kernel still acknowledges.
    Stall,
    /// As `Stall`, and the client's packets are dropped, so nothing is
    /// acknowledged, as in a network that drops all packets. Lasts until the connection ends.
    BlackHole,
    /// Reads bytes of one direction and keeps them: see [`Proxy::held`].
    Hold(Direction),
    /// Keeps the bytes to the client from the begin of its TLS handshake on.
    HoldTlsHandshake,
    /// Sends a FIN to the client only; the client's bytes are still forwarded.
    HalfClose,
    /// Closes both sides; the client gets a FIN.
    Fin,
    /// Closes both sides; the client gets a RST.
    Rst,
    /// Writes bytes to the client that no server sent, even while stalled.
    Inject(Vec<u8>),
    /// Delays all bytes to the client by this time; ends a `Hold`.
    Delay(Duration),
    /// Closes as `Fin` does, after half of the bytes held for the client, or, if none
    /// are, after these bytes.
    Truncate(Vec<u8>),
    /// Closes both sides, the client's by FIN, after this number of further bytes to it.
    CloseAfter(usize),
    /// Limits the rate of bytes to the client.
    Throttle {
        /// The number of bytes per interval; at least one.
        bytes: usize,
        /// The interval.
        every: Duration,
    },
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the client.
    ToClient,
    /// To the upstream.
    ToServer,
}

/// A fault proxy on a free odd loopback port; its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<(Outbox<Request>, JoinHandle<()>)>,
}

/// A request to the acceptor's thread; it answers when it is done.
#[derive(Debug)]
struct Request {
    mode: Mode,
    done: Sender<()>,
}

/// The state that the proxy's owner and the acceptor's thread share.
#[derive(Debug, Default)]
struct Shared {
    /// One entry for each accepted connection, in order.
    accepted: Mutex<Vec<(Instant, Handle)>>,
}

impl Proxy {
    /// Starts a proxy in front of `upstream`, in [`Mode::Pass`].
    pub fn start(upstream: SocketAddr) -> Proxy {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port::unused()));
        let shared = Arc::<Shared>::default();
        let (outbox, inbox) = channel::pair();
        let acceptor = acceptor::Acceptor::open(addr, upstream, Arc::clone(&shared));
        let thread = spawn("proxy-acceptor", move || acceptor.run(&inbox));
        Proxy { addr, shared, acceptor: Some((outbox, thread)) }
    }

    /// Starts a proxy in front of a server on a loopback port.
    pub fn to_port(port: u16) -> Proxy {
        Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Sets the mode of connections that are not accepted yet.
    ///
    /// It is in effect on return: `Refuse` refuses and `FullBacklog` is full.
    pub fn set_mode(&self, mode: Mode) {
        let (done, is_done) = channel();
        let (outbox, _) = self.acceptor.as_ref().expect("the acceptor runs until the drop");
        outbox.send(Request { mode, done });
        is_done.recv().expect("the acceptor's thread runs until the drop");
    }

    /// Applies a fault to all connections that are open now; returns how many.
    ///
    /// A connection counts once it is accepted, which may be a moment after the
    /// client's connect: see [`Proxy::accepted`]. When this returns, a
    /// `HalfClose`, `Fin`, `Rst`, `Truncate` or `Inject` has reached the client's kernel.
    pub fn apply(&self, fault: &Fault) -> usize {
        let waits: Vec<_> =
            self.accepted_list().iter().map(|(_, connection)| connection.apply(fault)).collect();
        // A connection that has ended drops its end of the channel, which ends the wait.
        waits.into_iter().filter(|done| done.recv().is_ok()).count()
    }

    /// Applies a fault to the `n`-th accepted connection, from 0; returns whether it was open.
    pub fn apply_to(&self, n: usize, fault: &Fault) -> bool {
        let wait = self.accepted_list().get(n).map(|(_, connection)| connection.apply(fault));
        wait.is_some_and(|done| done.recv().is_ok())
    }

    /// Returns the number of bytes of the `n`-th connection that a `Hold` keeps.
    pub fn held(&self, n: usize) -> usize {
        self.accepted_list().get(n).map_or(0, |(_, connection)| connection.held())
    }

    /// Returns how many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted_list().len()
    }

    /// Returns when each connection was accepted.
    pub fn accept_times(&self) -> Vec<Instant> {
        self.accepted_list().iter().map(|(at, _)| *at).collect()
    }

    /// Returns how many connections neither the client nor the proxy has closed.
    ///
    /// It sees a client's close even while it forwards nothing.
    pub fn live(&self) -> usize {
        self.accepted_list().iter().filter(|(_, connection)| connection.live()).count()
    }

    fn accepted_list(&self) -> MutexGuard<'_, Vec<(Instant, Handle)>> {
        self.shared.accepted()
    }
}

impl Shared {
    fn accepted(&self) -> MutexGuard<'_, Vec<(Instant, Handle)>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some((outbox, thread)) = self.acceptor.take() {
            drop(outbox);
            let _ = thread.join();
        }
        let links = std::mem::take(&mut *self.accepted_list());
        for (_, connection) in links {
            connection.end();
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let named = thread::Builder::new().name(name.to_owned());
    named.spawn(body).expect("a thread can be started")
}

#[cfg(test)]
mod tests;
