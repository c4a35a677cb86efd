//! The proxy's listener and the thread that accepts.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
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
    /// Keeps the port also while it refuses.
    listener: TcpListener,
    /// Connections of our own that fill the backlog.
    fillers: Vec<TcpStream>,
}

impl Door {
    pub(super) fn open(addr: SocketAddr, upstream: SocketAddr, shared: Arc<Shared>) -> Door {
        let listener = TcpListener::bind(addr).expect("the port is ours");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
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
        let accepts = !matches!(self.mode, Mode::Refuse | Mode::FullBacklog);
        accepts.then_some(&self.listener)
    }

    fn change(&mut self, mode: Mode) {
        match &mode {
            Mode::Refuse => self.refuse(),
            Mode::FullBacklog => self.fill(),
            // The same socket: a client that is kept waiting is let in, not refused.
            Mode::Pass | Mode::With(_) | Mode::Deaf => self.listen(BACKLOG),
        }
        self.mode = mode;
    }

    fn listen(&self, backlog: i32) {
        let listening = SockRef::from(&self.listener).listen(backlog);
        listening.expect("a bound socket may listen, and change its backlog");
    }

    // Not by a close: while another thread starts a process, that process has a
    // copy of the descriptor until its exec, and the socket would go on listening.
    // Linux takes a shut down listener out of service at once, and lets it listen again.
    fn refuse(&mut self) {
        if self.mode != Mode::Refuse {
            let refused = SockRef::from(&self.listener).shutdown(Shutdown::Both);
            refused.expect("a listening socket can be shut down");
        }
        self.fillers.clear();
    }

    fn fill(&mut self) {
        self.listen(0);
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
