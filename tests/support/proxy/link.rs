//! One proxied connection: its thread owns both sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockFilter, SockRef};

use super::inbox::{self, Inbox, Post};
use super::lane::Lane;
use super::{Fault, Way, spawn};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// "poll(2)": the peer has closed, or shut down its writing. The `nix` crate lacks it.
const RDHUP: PollFlags = PollFlags::from_bits_retain(0x2000);

/// What the proxy keeps of a connection.
#[derive(Debug)]
pub(super) struct Handle {
    post: Post<Order>,
    seen: Arc<Seen>,
    thread: JoinHandle<()>,
}

/// What the link's thread tells of itself.
#[derive(Debug)]
pub(super) struct Seen {
    /// False once the client has closed.
    live: AtomicBool,
    /// How many bytes a hold keeps.
    held: AtomicUsize,
}

/// A fault to apply; the answer comes when it has happened.
#[derive(Debug)]
pub(super) struct Order {
    fault: Fault,
    done: Sender<()>,
}

/// What a new connection does with the client's bytes.
#[derive(Debug)]
pub(super) enum Peer {
    Upstream(SocketAddr, Fault),
    /// Nobody: they are read and forgotten.
    Nobody,
}

impl Handle {
    /// Starts the thread of a new connection.
    pub(super) fn start(client: TcpStream, peer: Peer) -> Handle {
        let (post, inbox) = inbox::pair();
        let seen = Seen { live: AtomicBool::new(true), held: AtomicUsize::new(0) };
        let seen = Arc::new(seen);
        let theirs = Arc::clone(&seen);
        let body = move || match Link::open(client, &peer, Arc::clone(&theirs)) {
            Some(link) => link.run(&inbox),
            None => theirs.gone(),
        };
        Handle { post, seen, thread: spawn("proxy-link", body) }
    }

    pub(super) fn live(&self) -> bool {
        self.seen.live.load(Ordering::SeqCst)
    }

    pub(super) fn held(&self) -> usize {
        self.seen.held.load(Ordering::SeqCst)
    }

    /// Applies a fault; the receiver tells when, or by its error that the link had ended.
    pub(super) fn apply(&self, fault: &Fault) -> Receiver<()> {
        let (done, is_done) = channel();
        self.post.send(Order { fault: fault.clone(), done });
        is_done
    }

    /// Ends the connection and waits for its thread.
    pub(super) fn end(self) {
        drop(self.post);
        let _ = self.thread.join();
    }
}

impl Seen {
    fn gone(&self) {
        self.live.store(false, Ordering::SeqCst);
    }
}

struct Link {
    client: TcpStream,
    /// `None` for a deaf connection.
    upstream: Option<TcpStream>,
    /// Towards the client.
    down: Lane,
    /// Towards the upstream.
    up: Lane,
    stalled: bool,
    /// How many more bytes may go to the client.
    cut_after: Option<usize>,
    /// Hold what goes to the client once it begins a TLS handshake.
    hold_tls: bool,
    seen: Arc<Seen>,
    over: bool,
}

impl Link {
    fn open(client: TcpStream, peer: &Peer, seen: Arc<Seen>) -> Option<Link> {
        let upstream = match peer {
            Peer::Nobody => None,
            Peer::Upstream(addr, _) => match TcpStream::connect_timeout(addr, CONNECT_LIMIT) {
                Ok(upstream) => Some(upstream),
                // As real proxies do: accepted, then closed.
                Err(_) => return close_gently(&client).ok().and(None),
            },
        };
        for stream in [Some(&client), upstream.as_ref()].into_iter().flatten() {
            stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).ok()?;
        }
        let (down, up) = (Lane::default(), Lane::default());
        let (stalled, hold_tls, cut_after, over) = (false, false, None, false);
        let mut link =
            Link { client, upstream, down, up, stalled, cut_after, hold_tls, seen, over };
        match peer {
            Peer::Upstream(_, fault) => link.obey(fault),
            Peer::Nobody => link.up.shut(),
        }
        Some(link)
    }

    fn run(mut self, inbox: &Inbox<Order>) {
        while !self.over {
            self.wait(inbox);
            let Some(orders) = inbox.take() else {
                self.close();
                break;
            };
            for Order { fault, done } in orders {
                self.obey(&fault);
                if self.over {
                    // Closed before we say that it is done.
                    self.end();
                    let _ = done.send(());
                    return;
                }
                let _ = done.send(());
            }
            if self.forward().is_err() {
                self.reset();
            }
        }
        self.end();
    }

    fn end(self) {
        let seen = Arc::clone(&self.seen);
        drop(self);
        seen.gone();
    }

    // Polls only what this link wants: an error condition that nobody takes
    // away would otherwise end every poll at once.
    fn wait(&self, inbox: &Inbox<Order>) {
        let now = Instant::now();
        let mut polled = vec![PollFd::new(inbox.bell(), PollFlags::POLLIN)];
        let client = self.interest(&self.up, &self.down, now);
        let watch = self.stalled && self.seen.live.load(Ordering::SeqCst);
        let client = if watch { client | RDHUP } else { client };
        if !client.is_empty() {
            polled.push(PollFd::new(self.client.as_fd(), client));
        }
        if let Some(upstream) = &self.upstream {
            let interest = self.interest(&self.down, &self.up, now);
            if !interest.is_empty() {
                polled.push(PollFd::new(upstream.as_fd(), interest));
            }
        }
        let _ = poll(&mut polled, self.timeout(now));
        // `None` stands for flags that the `nix` crate does not know, so for this one.
        let flags = polled.get(1).and_then(PollFd::revents).unwrap_or(RDHUP);
        if watch && flags.intersects(RDHUP | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.seen.gone();
        }
    }

    fn interest(&self, from: &Lane, to: &Lane, now: Instant) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, !self.stalled && from.wants_more());
        flags.set(PollFlags::POLLOUT, !self.stalled && !to.due(now).is_empty());
        flags
    }

    fn timeout(&self, now: Instant) -> PollTimeout {
        let next = [&self.down, &self.up].into_iter().filter_map(Lane::next_due);
        // What is due already waits for its target, not for a time.
        match next.filter(|due| *due > now).min().filter(|_| !self.stalled) {
            // Rounded up: waking early would only mean to wait again.
            Some(due) => {
                let wait = due.saturating_duration_since(now) + Duration::from_micros(999);
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        }
    }

    fn forward(&mut self) -> io::Result<()> {
        if self.stalled {
            return Ok(());
        }
        let now = Instant::now();
        let tls = pull(&mut self.client, &mut self.up, now)?;
        if tls && self.hold_tls {
            self.down.hold();
        }
        if self.up.ended {
            self.seen.gone();
        }
        let Some(upstream) = &mut self.upstream else {
            self.over = self.up.ended;
            return Ok(());
        };
        pull(upstream, &mut self.down, now)?;
        push(&mut self.up, upstream, usize::MAX, now)?;
        let sent =
            push(&mut self.down, &mut self.client, self.cut_after.unwrap_or(usize::MAX), now)?;
        self.cut_after = self.cut_after.map(|left| left - sent);
        if self.cut_after == Some(0) {
            self.close();
        }
        self.over |= self.up.shut && self.down.shut && self.up.ended;
        self.seen.held.store(self.down.kept() + self.up.kept(), Ordering::SeqCst);
        Ok(())
    }

    fn obey(&mut self, fault: &Fault) {
        let now = Instant::now();
        match fault {
            Fault::Pass => {
                (self.stalled, self.hold_tls, self.cut_after) = (false, false, None);
                self.down.run_free(now);
                self.up.run_free(now);
            }
            Fault::Stall => self.stalled = true,
            Fault::BlackHole => self.swallow(),
            Fault::Hold(Way::Down) => self.down.hold(),
            Fault::Hold(Way::Up) => self.up.hold(),
            Fault::HoldTls => self.hold_tls = true,
            Fault::HalfClose => self.half_close(),
            Fault::Fin | Fault::CutAfter(0) => self.close(),
            Fault::Rst => self.reset(),
            Fault::Inject(bytes) => self.inject(bytes),
            Fault::Delay(delay) => {
                self.hold_tls = false;
                self.down.set_delay(*delay);
                self.down.release(now);
                self.up.release(now);
            }
            Fault::Truncate(alone) => self.truncate(alone),
            Fault::CutAfter(count) => self.cut_after = Some(*count),
            Fault::Drip { bytes, every } => self.down.set_drip(*bytes, *every, now),
        }
    }

    fn half_close(&mut self) {
        let _ = self.client.shutdown(Shutdown::Write);
        self.down.shut();
    }

    fn close(&mut self) {
        let _ = close_gently(&self.client);
        if let Some(upstream) = &self.upstream {
            let _ = upstream.shutdown(Shutdown::Both);
        }
        self.over = true;
    }

    // Not by a close with no time to linger: while another thread starts a process,
    // that process has a copy of the descriptor until its exec, and no RST is sent.
    // "connect(2)", AF_UNSPEC dissolves the association, on Linux by a RST.
    fn reset(&mut self) {
        for stream in [Some(&self.client), self.upstream.as_ref()].into_iter().flatten() {
            let _ = rustix::net::connect_unspec(stream);
        }
        self.over = true;
    }

    // A filter that keeps no byte of any packet: "socket(7)", SO_ATTACH_FILTER. TCP
    // itself never sees them, so it acknowledges nothing.
    fn swallow(&mut self) {
        const RETURN_ZERO: SockFilter = SockFilter::new(0x06, 0, 0, 0);
        let attached = SockRef::from(&self.client).attach_filter(&[RETURN_ZERO]);
        attached.expect("a socket takes a filter");
        self.stalled = true;
    }

    fn truncate(&mut self, alone: &[u8]) {
        let half = self.down.first_half();
        self.inject(if half.is_empty() { alone } else { &half });
        self.close();
    }

    fn inject(&mut self, bytes: &[u8]) {
        // A client that has gone, or reads nothing at all, gets nothing.
        let client = &mut self.client;
        let _ = client
            .set_nonblocking(false)
            .and_then(|()| client.set_write_timeout(Some(CONNECT_LIMIT)))
            .and_then(|()| client.write_all(bytes))
            .and_then(|()| client.set_nonblocking(true));
    }
}

/// Sends a FIN and takes what has come in: a close with unread bytes would send a RST.
fn close_gently(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_nonblocking(true)?;
    while stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

/// RFC 8446, "Record Layer": a handshake record, of the version that a first
/// ClientHello shows.
const CLIENT_HELLO: [u8; 3] = [22, 3, 1];

/// Reads once from `stream` if the lane has room; tells whether it read the begin of a
/// TLS handshake.
fn pull(stream: &mut TcpStream, lane: &mut Lane, now: Instant) -> io::Result<bool> {
    if !lane.wants_more() {
        return Ok(false);
    }
    let mut bytes = [0; 16 * 1024];
    match stream.read(&mut bytes) {
        Ok(0) => lane.ended = true,
        Ok(count) => {
            lane.push(&bytes[..count], now);
            return Ok(bytes[..count].windows(3).any(|begin| begin == CLIENT_HELLO));
        }
        Err(error) if not_now(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(false)
}

/// Writes what is due, at most `limit` bytes, and a FIN after the last; returns how many.
fn push(lane: &mut Lane, stream: &mut TcpStream, limit: usize, now: Instant) -> io::Result<usize> {
    let mut sent = 0;
    loop {
        let due = lane.due(now);
        let due = &due[..due.len().min(limit - sent)];
        if due.is_empty() {
            break;
        }
        match stream.write(due) {
            Ok(count) => {
                lane.written(count, now);
                sent += count;
            }
            Err(error) if not_now(&error) => break,
            Err(error) => return Err(error),
        }
    }
    if lane.ended && lane.is_empty() && !lane.shut {
        stream.shutdown(Shutdown::Write)?;
        lane.shut();
    }
    Ok(sent)
}

fn not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
