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

use super::channel::{self, Inbox, Outbox};
use super::pipe::Pipe;
use super::{Direction, Fault, spawn};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// "poll(2)": the peer has closed, or shut down its writing. The `nix` crate lacks it.
const RDHUP: PollFlags = PollFlags::from_bits_retain(0x2000);

/// The proxy's handle of a connection.
#[derive(Debug)]
pub(super) struct Handle {
    outbox: Outbox<FaultRequest>,
    status: Arc<Status>,
    thread: JoinHandle<()>,
}

/// The status that the connection's thread publishes.
#[derive(Debug)]
pub(super) struct Status {
    /// False once the client has closed.
    live: AtomicBool,
    /// The number of bytes that a hold keeps.
    held: AtomicUsize,
}

/// A fault to apply; the answer comes when it has happened.
#[derive(Debug)]
pub(super) struct FaultRequest {
    fault: Fault,
    done: Sender<()>,
}

/// The destination of the client's bytes.
#[derive(Debug)]
pub(super) enum Peer {
    Upstream(SocketAddr, Fault),
    /// None: they are read and dropped.
    Unconnected,
}

impl Handle {
    /// Starts the thread of a new connection.
    pub(super) fn start(client: TcpStream, peer: Peer) -> Handle {
        let (outbox, inbox) = channel::pair();
        let status = Status { live: AtomicBool::new(true), held: AtomicUsize::new(0) };
        let status = Arc::new(status);
        let theirs = Arc::clone(&status);
        let body = move || match Connection::open(client, &peer, Arc::clone(&theirs)) {
            Some(connection) => connection.run(&inbox),
            None => theirs.gone(),
        };
        Handle { outbox, status, thread: spawn("proxy-connection", body) }
    }

    pub(super) fn live(&self) -> bool {
        self.status.live.load(Ordering::SeqCst)
    }

    pub(super) fn held(&self) -> usize {
        self.status.held.load(Ordering::SeqCst)
    }

    /// Applies a fault; the receiver gets a message when it has, or an error if the
    pub(super) fn apply(&self, fault: &Fault) -> Receiver<()> {
        let (done, is_done) = channel();
        self.outbox.send(FaultRequest { fault: fault.clone(), done });
        is_done
    }

    /// Ends the connection and waits for its thread.
    pub(super) fn end(self) {
        drop(self.outbox);
        let _ = self.thread.join();
    }
}

impl Status {
    fn gone(&self) {
        self.live.store(false, Ordering::SeqCst);
    }
}

struct Connection {
    client: TcpStream,
    /// `None` for an unresponsive connection.
    upstream: Option<TcpStream>,
    /// Towards the client.
    down: Pipe,
    /// Towards the upstream.
    up: Pipe,
    stalled: bool,
    /// The number of further bytes that may go to the client.
    close_after: Option<usize>,
    /// Hold the bytes to the client once it begins a TLS handshake.
    hold_tls_handshake: bool,
    status: Arc<Status>,
    ended: bool,
}

impl Connection {
    fn open(client: TcpStream, peer: &Peer, status: Arc<Status>) -> Option<Connection> {
        let upstream = match peer {
            Peer::Unconnected => None,
            Peer::Upstream(addr, _) => match TcpStream::connect_timeout(addr, CONNECT_LIMIT) {
                Ok(upstream) => Some(upstream),
                // As real proxies do: accepted, then closed.
                Err(_) => return close_gently(&client).ok().and(None),
            },
        };
        for stream in [Some(&client), upstream.as_ref()].into_iter().flatten() {
            stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).ok()?;
        }
        let (down, up) = (Pipe::default(), Pipe::default());
        let (stalled, hold_tls_handshake, close_after, ended) = (false, false, None, false);
        let mut connection = Connection {
            client,
            upstream,
            down,
            up,
            stalled,
            close_after,
            hold_tls_handshake,
            status,
            ended,
        };
        match peer {
            Peer::Upstream(_, fault) => connection.apply(fault),
            Peer::Unconnected => connection.up.shut(),
        }
        Some(connection)
    }

    fn run(mut self, inbox: &Inbox<FaultRequest>) {
        while !self.ended {
            self.wait(inbox);
            let Some(orders) = inbox.take() else {
                self.close();
                break;
            };
            for FaultRequest { fault, done } in orders {
                self.apply(&fault);
                if self.ended {
                    // Closed before the request is answered.
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
        let status = Arc::clone(&self.status);
        drop(self);
        status.gone();
    }

    // Polls only for the events that are needed: an error condition that remains
    // would otherwise end every poll immediately.
    fn wait(&self, inbox: &Inbox<FaultRequest>) {
        let now = Instant::now();
        let mut polled = vec![PollFd::new(inbox.wake(), PollFlags::POLLIN)];
        let client = self.interest(&self.up, &self.down, now);
        let watch = self.stalled && self.status.live.load(Ordering::SeqCst);
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
            self.status.gone();
        }
    }

    fn interest(&self, from: &Pipe, to: &Pipe, now: Instant) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, !self.stalled && from.wants_more());
        flags.set(PollFlags::POLLOUT, !self.stalled && !to.due(now).is_empty());
        flags
    }

    fn timeout(&self, now: Instant) -> PollTimeout {
        let next = [&self.down, &self.up].into_iter().filter_map(Pipe::next_due);
        // Bytes that are due wait for their target, not for a time.
        match next.filter(|due| *due > now).min().filter(|_| !self.stalled) {
            // Rounded up: an early wake-up would only poll again.
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
        if tls && self.hold_tls_handshake {
            self.down.hold();
        }
        if self.up.ended {
            self.status.gone();
        }
        let Some(upstream) = &mut self.upstream else {
            self.ended = self.up.ended;
            return Ok(());
        };
        pull(upstream, &mut self.down, now)?;
        push(&mut self.up, upstream, usize::MAX, now)?;
        let sent =
            push(&mut self.down, &mut self.client, self.close_after.unwrap_or(usize::MAX), now)?;
        self.close_after = self.close_after.map(|left| left - sent);
        if self.close_after == Some(0) {
            self.close();
        }
        self.ended |= self.up.shut && self.down.shut && self.up.ended;
        self.status.held.store(self.down.kept() + self.up.kept(), Ordering::SeqCst);
        Ok(())
    }

    fn apply(&mut self, fault: &Fault) {
        let now = Instant::now();
        match fault {
            Fault::Pass => {
                (self.stalled, self.hold_tls_handshake, self.close_after) = (false, false, None);
                self.down.clear_faults(now);
                self.up.clear_faults(now);
            }
            Fault::Stall => self.stalled = true,
            Fault::BlackHole => self.drop_packets(),
            Fault::Hold(Direction::ToClient) => self.down.hold(),
            Fault::Hold(Direction::ToServer) => self.up.hold(),
            Fault::HoldTlsHandshake => self.hold_tls_handshake = true,
            Fault::HalfClose => self.half_close(),
            Fault::Fin | Fault::CloseAfter(0) => self.close(),
            Fault::Rst => self.reset(),
            Fault::Inject(bytes) => self.inject(bytes),
            Fault::Delay(delay) => {
                self.hold_tls_handshake = false;
                self.down.set_delay(*delay);
                self.down.release(now);
                self.up.release(now);
            }
            Fault::Truncate(alone) => self.truncate(alone),
            Fault::CloseAfter(count) => self.close_after = Some(*count),
            Fault::Throttle { bytes, every } => self.down.set_throttle(*bytes, *every, now),
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
        self.ended = true;
    }

    // Not by a close with no time to linger: while another thread starts a process,
    // that process has a copy of the descriptor until its exec, and no RST is sent.
    // "connect(2)", AF_UNSPEC dissolves the association, on Linux by a RST.
    fn reset(&mut self) {
        for stream in [Some(&self.client), self.upstream.as_ref()].into_iter().flatten() {
            let _ = rustix::net::connect_unspec(stream);
        }
        self.ended = true;
    }

    // A filter that keeps no byte of any packet: "socket(7)", SO_ATTACH_FILTER. TCP
    // itself never gets them, so it acknowledges nothing.
    fn drop_packets(&mut self) {
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
        // A client that has closed, or does not read, gets nothing.
        let client = &mut self.client;
        let _ = client
            .set_nonblocking(false)
            .and_then(|()| client.set_write_timeout(Some(CONNECT_LIMIT)))
            .and_then(|()| client.write_all(bytes))
            .and_then(|()| client.set_nonblocking(true));
    }
}

/// Sends a FIN and reads the pending bytes: a close with unread bytes would send a RST.
fn close_gently(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_nonblocking(true)?;
    while stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

/// RFC 8446, "Record Layer": a handshake record, of the version that a first
/// ClientHello shows.
const CLIENT_HELLO: [u8; 3] = [22, 3, 1];

/// Reads once from `stream` if the pipe has room; returns `true` if it read the begin of a
/// TLS handshake.
fn pull(stream: &mut TcpStream, pipe: &mut Pipe, now: Instant) -> io::Result<bool> {
    if !pipe.wants_more() {
        return Ok(false);
    }
    let mut bytes = [0; 16 * 1024];
    match stream.read(&mut bytes) {
        Ok(0) => pipe.ended = true,
        Ok(count) => {
            pipe.push(&bytes[..count], now);
            return Ok(bytes[..count].windows(3).any(|begin| begin == CLIENT_HELLO));
        }
        Err(error) if would_block(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(false)
}

/// Writes the due bytes, at most `limit`, and a FIN after the last; returns how many.
fn push(pipe: &mut Pipe, stream: &mut TcpStream, limit: usize, now: Instant) -> io::Result<usize> {
    let mut sent = 0;
    loop {
        let due = pipe.due(now);
        let due = &due[..due.len().min(limit - sent)];
        if due.is_empty() {
            break;
        }
        match stream.write(due) {
            Ok(count) => {
                pipe.written(count, now);
                sent += count;
            }
            Err(error) if would_block(&error) => break,
            Err(error) => return Err(error),
        }
    }
    if pipe.ended && pipe.is_empty() && !pipe.shut {
        stream.shutdown(Shutdown::Write)?;
        pipe.shut();
    }
    Ok(sent)
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
