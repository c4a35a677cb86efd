//! A TCP proxy that fails on demand.
//!
//! It stands between the code under test and a server and gives the faults that
//! a server cannot give when asked. One thread accepts; each connection has one
//! thread that owns both of its sockets, so a fault has happened on the wire when
//! the call that asked for it returns.

mod door;
mod inbox;
mod lane;
mod link;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::port;
use inbox::Post;
use link::Handle;

/// What happens to new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards both ways. The default.
    Pass,
    /// Forwards, with a fault that applies from the first byte.
    With(Fault),
    /// Nobody listens: a connect gets ECONNREFUSED.
    Refuse,
    /// Accepts, reads everything and never answers; no upstream is asked.
    Deaf,
    /// Listens with a backlog that is full: a connect gets no answer at all.
    FullBacklog,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Ends `Stall`, `Hold`, `Delay`, `CutAfter` and `Drip`; what was held goes on its way.
    Pass,
    /// Forwards nothing either way, not even an end; the kernel still acknowledges.
    Stall,
    /// As `Stall`, and no packet of the client arrives any more, so nothing is
    /// acknowledged: a network that swallows all. Only an end of the link undoes it.
    BlackHole,
    /// Takes bytes in and keeps them, one way: see [`Proxy::held`].
    Hold(Way),
    /// Keeps the bytes towards the client from the moment that it begins a TLS handshake.
    HoldTls,
    /// Sends a FIN to the client only; what the client writes still goes on.
    HalfClose,
    /// Closes both sides; the client gets a FIN.
    Fin,
    /// Closes both sides; the client gets a RST.
    Rst,
    /// Writes bytes to the client that no server sent, even while stalled.
    Inject(Vec<u8>),
    /// Holds every piece of bytes towards the client for so long; ends a `Hold`.
    Delay(Duration),
    /// Closes as `Fin` does, after half of what is kept for the client, or, if nothing
    /// is, after these bytes.
    Truncate(Vec<u8>),
    /// Closes both sides, the client's by FIN, when so many more bytes have gone to it.
    CutAfter(usize),
    /// Lets only so many bytes at a time go to the client.
    Drip {
        /// How many bytes at a time; at least one.
        bytes: usize,
        /// How long from one time to the next.
        every: Duration,
    },
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the client.
    Down,
    /// To the upstream.
    Up,
}

/// A fault proxy on a free odd loopback port; its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    door: Option<(Post<Request>, JoinHandle<()>)>,
}

/// What the door's thread is asked to do; it answers when it is done.
#[derive(Debug)]
struct Request {
    mode: Mode,
    done: Sender<()>,
}

/// What the proxy's owner and the door's thread both see.
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
        let (post, inbox) = inbox::pair();
        let door = door::Door::open(addr, upstream, Arc::clone(&shared));
        let thread = spawn("proxy-door", move || door.run(&inbox));
        Proxy { addr, shared, door: Some((post, thread)) }
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

    /// Decides what happens to connections that are not accepted yet.
    ///
    /// When it returns, it holds: `Refuse` refuses and `FullBacklog` is full.
    pub fn set_mode(&self, mode: Mode) {
        let (done, is_done) = channel();
        let (post, _) = self.door.as_ref().expect("the door is open until the drop");
        post.send(Request { mode, done });
        is_done.recv().expect("the door's thread runs until the drop");
    }

    /// Applies a fault to all connections that are open now; returns how many.
    ///
    /// A connection counts once it is accepted, which may be a moment after the
    /// client's connect: see [`Proxy::accepted`]. When this returns, a
    /// `HalfClose`, `Fin`, `Rst`, `Truncate` or `Inject` has reached the client's kernel.
    pub fn apply(&self, fault: &Fault) -> usize {
        let waits: Vec<_> =
            self.accepted_list().iter().map(|(_, link)| link.apply(fault)).collect();
        // A link that has ended drops its end of the channel and answers so.
        waits.into_iter().filter(|done| done.recv().is_ok()).count()
    }

    /// Applies a fault to the `n`-th accepted connection, from 0; returns whether it was open.
    pub fn apply_to(&self, n: usize, fault: &Fault) -> bool {
        let wait = self.accepted_list().get(n).map(|(_, link)| link.apply(fault));
        wait.is_some_and(|done| done.recv().is_ok())
    }

    /// Returns how many bytes of the `n`-th connection a `Hold` keeps now.
    pub fn held(&self, n: usize) -> usize {
        self.accepted_list().get(n).map_or(0, |(_, link)| link.held())
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
        self.accepted_list().iter().filter(|(_, link)| link.live()).count()
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
        if let Some((post, thread)) = self.door.take() {
            drop(post);
            let _ = thread.join();
        }
        let links = std::mem::take(&mut *self.accepted_list());
        for (_, link) in links {
            link.end();
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let named = thread::Builder::new().name(name.to_owned());
    named.spawn(body).expect("a thread can be started")
}

#[cfg(test)]
mod tests;
