//! The proxy's listener and the thread that accepts.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use super::inbox::Inbox;
use super::link::{Handle, Peer};
use super::{Fault, Mode, Request, Shared};

const BACKLOG: i32 = 1024;
/// A connect on loopback that has not succeeded by now was not answered.
const UNANSWERED: Duration = Duration::from_millis(100);
/// With a backlog of 0 the kernel takes one connection; some more for other kernels.
const MOST_FILLERS: usize = 16;

/// Listens, or refuses to, and hands each connection to a thread of its own.
pub(super) struct Door {
    addr: SocketAddr,
    upstream: SocketAddr,
    shared: Arc<Shared>,
    mode: Mode,
    /// `None` while refusing.
    listener: Option<TcpListener>,
    /// Connections of our own that fill the backlog.
    fillers: Vec<TcpStream>,
}

impl Door {
    pub(super) fn open(addr: SocketAddr, upstream: SocketAddr, shared: Arc<Shared>) -> Door {
        let listener = Some(listen(addr));
        Door { addr, upstream, shared, mode: Mode::Pass, listener, fillers: Vec::new() }
    }

    pub(super) fn run(mut self, inbox: &Inbox<Request>) {
        loop {
            self.wait(inbox);
            let Some(requests) = inbox.take() else { return };
            for Request { mode, done } in requests {
                // What has connected so far is served as the mode was then.
                self.accept_all();
                self.change(mode);
                let _ = done.send(());
            }
            self.accept_all();
        }
    }

    fn wait(&self, inbox: &Inbox<Request>) {
        let mut polled = vec![PollFd::new(inbox.bell(), PollFlags::POLLIN)];
        if let Some(listener) = self.accepting() {
            polled.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        let _ = poll(&mut polled, PollTimeout::NONE);
    }

    fn accepting(&self) -> Option<&TcpListener> {
        self.listener.as_ref().filter(|_| self.mode != Mode::FullBacklog)
    }

    fn change(&mut self, mode: Mode) {
        self.mode = mode;
        match self.mode {
            Mode::Refuse => {
                self.listener = None;
                self.fillers.clear();
            }
            Mode::FullBacklog => self.fill(),
            Mode::Pass | Mode::With(_) | Mode::Deaf => {
                // The same socket where there is one: a client that is being kept
                // waiting is let in, not refused.
                let backlog = SockRef::from(self.listener()).listen(BACKLOG);
                backlog.expect("a listener may change its backlog");
            }
        }
    }

    fn listener(&mut self) -> &TcpListener {
        self.listener.get_or_insert_with(|| listen(self.addr))
    }

    fn fill(&mut self) {
        let backlog = SockRef::from(self.listener()).listen(0);
        backlog.expect("a listener may change its backlog");
        for _ in self.fillers.len()..MOST_FILLERS {
            match TcpStream::connect_timeout(&self.addr, UNANSWERED) {
                Ok(filler) => self.fillers.push(filler),
                Err(error) if error.kind() == ErrorKind::TimedOut => return,
                Err(error) => panic!("a full backlog neither takes nor refuses: {error}"),
            }
        }
        panic!("{MOST_FILLERS} connections do not fill a backlog of none");
    }

    fn accept_all(&mut self) {
        while let Some((client, peer)) = self.accepting().and_then(|door| door.accept().ok()) {
            let filler = |stream: &TcpStream| stream.local_addr().is_ok_and(|addr| addr == peer);
            if let Some(found) = self.fillers.iter().position(filler) {
                self.fillers.swap_remove(found);
                continue;
            }
            let peer = match &self.mode {
                Mode::Deaf => Peer::Nobody,
                Mode::With(fault) => Peer::Upstream(self.upstream, fault.clone()),
                _ => Peer::Upstream(self.upstream, Fault::Pass),
            };
            self.shared.accepted().push((Instant::now(), Handle::start(client, peer)));
        }
    }
}

// The standard library sets SO_REUSEADDR: the port can be bound again while old
// connections through it live on.
fn listen(addr: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(addr).expect("the port is ours");
    listener.set_nonblocking(true).expect("a listener can be made non-blocking");
    listener
}
