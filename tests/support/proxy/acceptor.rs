//! The proxy's listener and the thread that accepts.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use super::channel::Inbox;
use super::connection::{Handle, Peer};
use super::{Fault, Mode, Request, Shared};

const BACKLOG: i32 = 1024;
/// A connect on loopback that takes longer counts as unanswered.
const UNANSWERED: Duration = Duration::from_millis(100);
/// With a backlog of 0 the kernel takes one connection; some more for other kernels.
const MOST_FILLERS: usize = 16;

/// Listens or refuses, and starts a thread for each connection.
pub(super) struct Acceptor {
    addr: SocketAddr,
    upstream: SocketAddr,
    shared: Arc<Shared>,
    mode: Mode,
    /// Keeps the port also while it refuses.
    listener: TcpListener,
    /// The proxy's own connections that fill the backlog.
    fillers: Vec<TcpStream>,
}

impl Acceptor {
    pub(super) fn open(addr: SocketAddr, upstream: SocketAddr, shared: Arc<Shared>) -> Acceptor {
        let listener = TcpListener::bind(addr).expect("the port is ours");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        Acceptor { addr, upstream, shared, mode: Mode::Pass, listener, fillers: Vec::new() }
    }

    pub(super) fn run(mut self, inbox: &Inbox<Request>) {
        loop {
            self.wait(inbox);
            let Some(requests) = inbox.take() else { return };
            for Request { mode, done } in requests {
                // Connections of before are served in the previous mode.
                self.accept_all();
                self.change(mode);
                let _ = done.send(());
            }
            self.accept_all();
        }
    }

    fn wait(&self, inbox: &Inbox<Request>) {
        let mut polled = vec![PollFd::new(inbox.wake(), PollFlags::POLLIN)];
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
            // The same socket: a waiting client is accepted, not refused.
            Mode::Pass | Mode::With(_) | Mode::Unresponsive => self.listen(BACKLOG),
        }
        self.mode = mode;
    }

    fn listen(&self, backlog: i32) {
        let listening = SockRef::from(&self.listener).listen(backlog);
        listening.expect("a bound socket may listen, and change its backlog");
    }

    // Not by a close: while another thread starts a process, that process has a
    // copy of the descriptor until its exec, and the socket would go on listening.
    // On Linux a listener that was shut down stops immediately, and can listen again.
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
                Err(error) => panic!("a full backlog neither accepts nor refuses: {error}"),
            }
        }
        panic!("{MOST_FILLERS} connections do not fill a backlog of none");
    }

    fn accept_all(&mut self) {
        while let Some((client, peer)) =
            self.accepting().and_then(|acceptor| acceptor.accept().ok())
        {
            let filler = |stream: &TcpStream| stream.local_addr().is_ok_and(|addr| addr == peer);
            if let Some(found) = self.fillers.iter().position(filler) {
                self.fillers.swap_remove(found);
                continue;
            }
            let peer = match &self.mode {
                Mode::Unresponsive => Peer::Unconnected,
                Mode::With(fault) => Peer::Upstream(self.upstream, fault.clone()),
                _ => Peer::Upstream(self.upstream, Fault::Pass),
            };
            self.shared.accepted().push((Instant::now(), Handle::start(client, peer)));
        }
    }
}
