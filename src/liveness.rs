//! What the kernel knows about a socket, without a round trip: the only file
//! with unsafe code and with code for one platform.
//!
//! The law of the peek (measured on Linux, PostgreSQL 15 and MariaDB 10.11):
//! an orderly PostgreSQL termination leaves a FATAL message in front of the FIN,
//! so "zero bytes = closed" alone hands out dead connections; data in front of a
//! FIN is told apart by `poll`. A peek eats the error of a RST, so the first
//! verdict counts and no connection is peeked twice to make sure.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(unix))]
compile_error!("poolwarden reads sockets by unix means; other systems are not supported");

/// The other side has closed its half. Where the system has no such flag, data
/// in front of a FIN counts as unsolicited, and drivers judge by its bytes.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const PEER_CLOSED: libc::c_short = libc::POLLRDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const PEER_CLOSED: libc::c_short = 0;

/// What a peek at an idle connection's socket found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No byte, no end, no error: as far as the kernel knows it is healthy.
    Quiet,
    /// The other side has closed it; so many bytes wait in front of the end.
    Closed(usize),
    /// The kernel reports an error for it, by its number.
    Failed(i32),
    /// So many bytes arrived on an idle connection that is still open.
    Unsolicited(usize),
}

/// How many bytes of an unsolicited message a peek looks at: enough for the
/// longest parting words seen (PostgreSQL's crash notice, 396 bytes).
pub(crate) const PEEK_BYTES: usize = 1024;

/// A descriptor of our own for a driver's socket: it outlives the driver's.
///
/// Only such a duplicate is ever shut down, never a bare number, because a
/// number may already belong to somebody else.
///
/// Clones share the descriptor; it is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Descriptor(Arc<OwnedFd>);

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Descriptor {
    /// Duplicates a socket's descriptor.
    ///
    /// # Errors
    ///
    /// The system's error, usually that the process has no descriptor left.
    pub fn duplicate(socket: impl AsFd) -> io::Result<Descriptor> {
        socket.as_fd().try_clone_to_owned().map(|fd| Descriptor(Arc::new(fd)))
    }

    /// Ends both directions now; a thread blocked on the socket comes back.
    pub(crate) fn abort(&self) {
        // SAFETY: shutdown takes a descriptor number, and ours is open as
        // long as `self`; no memory is passed.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_RDWR) };
    }

    /// Sends our FIN and goes on listening for the other side's.
    pub(crate) fn finish(&self) {
        // SAFETY: as in `abort`.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_WR) };
    }

    /// Tells whether the other side's FIN or RST is in, also after `abort`.
    ///
    /// After our own shutdown the poll flags are set locally; only the TCP
    /// state tells whether the server has let go. `None`: this kind of
    /// socket cannot tell.
    pub(crate) fn released_by_peer(&self) -> Option<bool> {
        tcp_state(self.as_fd()).map(|state| state == TCP_CLOSE)
    }

    /// Throws away what has been received and nobody will read, of so many bytes at
    /// most; tells how many. Never waits.
    ///
    /// The other side's FIN lies behind them: where they fill the buffer, it cannot be
    /// sent.
    pub(crate) fn discard_received(&self, most: usize) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut thrown = 0;
        while thrown < most {
            let socket = socket2::SockRef::from(self);
            match socket.recv_with_flags(&mut buffer, libc::MSG_DONTWAIT) {
                Ok(count) if count > 0 => thrown += count,
                _ => break,
            }
        }
        thrown
    }

    /// Tells whether the other side has closed its half, or has reset it. Means
    /// nothing after a shutdown of ours.
    pub(crate) fn is_ended_by_peer(&self) -> bool {
        poll_one(self.as_fd()) & (PEER_CLOSED | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// Waits until the other side has closed its half or has reset it; tells whether
    /// it came to that. Means nothing after a shutdown of the reading half.
    pub(crate) fn wait_ended_by_peer(&self, timeout: Duration) -> bool {
        let mut entry = [poll_entry(self.as_fd(), PEER_CLOSED)];
        poll(&mut entry, timeout);
        entry[0].revents != 0
    }

    /// Tells whether both ends of the socket are the same: it talks to itself.
    pub(crate) fn is_connected_to_itself(&self) -> bool {
        let socket = socket2::SockRef::from(self);
        match (socket.local_addr(), socket.peer_addr()) {
            (Ok(local), Ok(peer)) => local.is_ipv4() | local.is_ipv6() && local == peer,
            _ => false,
        }
    }
}

/// Looks at an idle socket: one system call if it is quiet.
///
/// Never for a connection in use: it slows the socket and means nothing.
pub(crate) fn peek(socket: BorrowedFd<'_>, buffer: &mut PeekBuffer) -> Verdict {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the buffer is valid for PEEK_BYTES writable bytes for the
    // whole call, and the kernel writes no more than that.
    let got =
        unsafe { libc::recv(socket.as_raw_fd(), buffer.0.as_mut_ptr().cast(), PEEK_BYTES, flags) };
    if got > 0 {
        buffer.1 = got.unsigned_abs();
        return after_data(socket, buffer.1);
    }
    if got == 0 {
        return Verdict::Closed(0);
    }
    match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
        libc::EAGAIN => Verdict::Quiet,
        // A signal came first; the call was not made, so it may be repeated.
        libc::EINTR => peek(socket, buffer),
        error => Verdict::Failed(error),
    }
}

/// Tells whether there is nothing on an idle socket: no byte, no end, no error.
///
/// Unlike a peek it leaves the kernel's error there for who asks for the cause.
#[cfg_attr(not(feature = "mysql"), allow(dead_code))]
pub(crate) fn is_quiet(socket: BorrowedFd<'_>) -> bool {
    poll_one(socket) == 0
}

/// Tells of a socket that a peek found closed whether it was reset, by an error that
/// whoever used it has taken already.
///
/// Linux, `tcp_reset`: a reset that follows a FIN, because something was written after
/// it, leaves EPIPE behind. Where the kernel does not tell, and after two writes, it
/// may be mistaken.
pub(crate) fn was_reset(socket: BorrowedFd<'_>) -> bool {
    let mut error: libc::c_int = 0;
    tcp_state(socket) == Some(TCP_CLOSE)
        && get_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, &mut error)
        && error == 0
}

fn after_data(socket: BorrowedFd<'_>, bytes: usize) -> Verdict {
    if poll_one(socket) & (PEER_CLOSED | libc::POLLHUP | libc::POLLERR) != 0 {
        Verdict::Closed(bytes)
    } else {
        Verdict::Unsolicited(bytes)
    }
}

fn poll_one(socket: BorrowedFd<'_>) -> libc::c_short {
    let mut entry = poll_entry(socket, libc::POLLIN | PEER_CLOSED);
    // SAFETY: one valid entry is passed, with its count of one.
    unsafe { libc::poll(&raw mut entry, 1, 0) };
    entry.revents
}

fn poll_entry(socket: BorrowedFd<'_>, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 }
}

/// Room for the bytes that a peek finds; not initialised, so that a healthy
/// check-out does not pay for clearing it.
pub(crate) struct PeekBuffer([MaybeUninit<u8>; PEEK_BYTES], usize);

impl PeekBuffer {
    pub(crate) fn new() -> PeekBuffer {
        PeekBuffer([const { MaybeUninit::uninit() }; PEEK_BYTES], 0)
    }

    /// The bytes that the last peek found.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `peek` sets the length to what the kernel wrote there.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }
}

/// Waits until the waker can be read, one of the sockets was ended by the other
/// side, or the time is over; returns for each socket whether it has ended.
///
/// Data that waits on a socket does not count: it would make every wait return
/// at once while the server still holds on.
pub(crate) fn wait_ended(
    waker: BorrowedFd<'_>,
    sockets: &[BorrowedFd<'_>],
    timeout: Duration,
) -> Vec<bool> {
    let mut entries = vec![poll_entry(waker, libc::POLLIN)];
    entries.extend(sockets.iter().map(|socket| poll_entry(*socket, PEER_CLOSED)));
    poll(&mut entries, timeout);
    let ends = PEER_CLOSED | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;
    entries[1..].iter().map(|entry| entry.revents & ends != 0).collect()
}

/// Polls for at most the time given, or a minute.
fn poll(entries: &mut [libc::pollfd], timeout: Duration) {
    // Rounded up, so that a wait of less than a millisecond does not spin.
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(60_000);
    let count = libc::nfds_t::try_from(entries.len()).expect("a poll set fits its count");
    let millis = libc::c_int::try_from(millis).expect("a minute of milliseconds fits");
    // SAFETY: the pointer and the count are those of one live slice.
    unsafe { libc::poll(entries.as_mut_ptr(), count, millis) };
}

/// `TCP_CLOSE` of the kernel's list of TCP states (Linux, net/tcp_states.h).
const TCP_CLOSE: u8 = 7;

#[cfg(target_os = "linux")]
fn tcp_state(socket: BorrowedFd<'_>) -> Option<u8> {
    // The state is the first byte of struct tcp_info (Linux, linux/tcp.h).
    let mut state = 0u8;
    get_option(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut state).then_some(state)
}

#[cfg(not(target_os = "linux"))]
fn tcp_state(_socket: BorrowedFd<'_>) -> Option<u8> {
    None
}

/// Reads a socket option; a type that the option may be cut off to.
fn get_option<T: Copy>(
    socket: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut T,
) -> bool {
    let mut length =
        libc::socklen_t::try_from(size_of::<T>()).expect("an option's size fits its length");
    let wanted = length;
    // SAFETY: the kernel writes at most `length` bytes to `value`, a plain
    // value of that size for which every bit pattern is valid (u8, c_int, timeval).
    let done = unsafe {
        libc::getsockopt(socket, level, name, std::ptr::from_mut(value).cast(), &raw mut length)
    };
    done == 0 && length == wanted
}

/// Duplicates descriptor number `raw` if it is the socket between these two
/// addresses; the number may be anybody's, so the duplicate is what is asked.
pub(crate) fn verified_duplicate(
    raw: RawFd,
    local: SocketAddr,
    peer: SocketAddr,
) -> Option<Descriptor> {
    let copy = duplicate_number(raw)?;
    let socket = socket2::SockRef::from(&copy);
    let same = |address: io::Result<socket2::SockAddr>, wanted: SocketAddr| {
        address.ok().and_then(|address| address.as_socket()) == Some(wanted)
    };
    (same(socket.local_addr(), local) && same(socket.peer_addr(), peer)).then_some(copy)
}

fn duplicate_number(raw: RawFd) -> Option<Descriptor> {
    // SAFETY: fcntl takes numbers only; a number that is not open is an error.
    let copy = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, 0) };
    // SAFETY: the kernel has just made this descriptor for us alone.
    (copy >= 0).then(|| Descriptor(Arc::new(unsafe { OwnedFd::from_raw_fd(copy) })))
}

/// Borrows the descriptor of a value that owns one, for as long as the value.
pub(crate) fn borrow<T: AsRawFd>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps the descriptor open at least as long as it
    // lives, and the result cannot outlive the borrow of the owner.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// The numbers of this process's open sockets with their inodes.
///
/// Only what is a socket is ever duplicated: closing a duplicate of a file
/// would drop this process's POSIX locks on it, SQLite's among them.
fn own_sockets() -> Vec<(RawFd, u64)> {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let numbers = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(|raw: RawFd| Some((raw, inode_of(raw)?))).collect()
}

fn inode_of(raw: RawFd) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/self/fd/{raw}")).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Finds the sockets whose receive time-out is this mark (whole seconds).
///
/// A driver that hides its socket while it connects lets us set that option;
/// a value nobody would choose makes the socket known among all others.
pub(crate) fn find_marked(mark: Duration) -> Vec<Descriptor> {
    let seconds = libc::time_t::try_from(mark.as_secs()).unwrap_or(libc::time_t::MAX);
    let marked = |raw: RawFd| {
        let mut value = libc::timeval { tv_sec: 0, tv_usec: 0 };
        get_option(raw, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &mut value) && value.tv_sec == seconds
    };
    // Asked again on the duplicate: the number may have changed hands.
    let found = own_sockets().into_iter().filter(|(raw, _)| marked(*raw));
    let copies = found.filter_map(|(raw, _)| duplicate_number(raw));
    copies.filter(|copy| marked(copy.0.as_raw_fd())).collect()
}

/// Finds the unix sockets connected to this path, one for each inode.
pub(crate) fn find_unix(path: &std::path::Path) -> Vec<(u64, Descriptor)> {
    let mut sockets = own_sockets();
    sockets.sort_unstable_by_key(|(_, inode)| *inode);
    sockets.dedup_by_key(|(_, inode)| *inode);
    let copies = sockets.into_iter().filter_map(|(raw, inode)| {
        let copy = duplicate_number(raw)?;
        (inode_of(copy.0.as_raw_fd()) == Some(inode)).then_some((inode, copy))
    });
    let leads_there = |copy: &Descriptor| {
        let peer = socket2::SockRef::from(copy).peer_addr().ok();
        peer.as_ref().and_then(|peer| peer.as_pathname()) == Some(path)
    };
    copies.filter(|(_, copy)| leads_there(copy)).collect()
}

/// Takes the time-outs that a dial set off a socket again.
pub(crate) fn clear_timeouts(socket: BorrowedFd<'_>) -> io::Result<()> {
    let socket = socket2::SockRef::from(&socket);
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback binds");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
        (near, listener.accept().expect("accept").0)
    }

    fn settled_peek(socket: &TcpStream) -> (Verdict, Vec<u8>) {
        std::thread::sleep(Duration::from_millis(20));
        let mut buffer = PeekBuffer::new();
        let verdict = peek(socket.as_fd(), &mut buffer);
        (verdict, buffer.bytes().to_vec())
    }

    #[test]
    fn a_silent_socket_is_quiet() {
        let (near, _far) = pair();
        assert_eq!(settled_peek(&near).0, Verdict::Quiet);
    }

    #[test]
    fn a_fin_is_closed_and_a_half_close_too() {
        let (near, far) = pair();
        far.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(settled_peek(&near).0, Verdict::Closed(0));
    }

    #[test]
    fn data_in_front_of_a_fin_is_closed_and_the_words_are_kept() {
        let (near, mut far) = pair();
        far.write_all(b"goodbye").expect("write");
        drop(far);
        assert_eq!(settled_peek(&near), (Verdict::Closed(7), b"goodbye".to_vec()));
    }

    #[test]
    fn data_on_a_living_socket_is_unsolicited() {
        let (near, mut far) = pair();
        far.write_all(b"hello").expect("write");
        assert_eq!(settled_peek(&near), (Verdict::Unsolicited(5), b"hello".to_vec()));
    }

    #[test]
    fn a_reset_is_a_failure_with_its_number() {
        let (near, far) = pair();
        socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).expect("linger");
        drop(far);
        assert_eq!(settled_peek(&near).0, Verdict::Failed(libc::ECONNRESET));
    }

    #[test]
    fn after_our_abort_only_the_peers_close_counts_as_released() {
        let (near, far) = pair();
        let copy = Descriptor::duplicate(&near).expect("duplicate");
        copy.abort();
        assert_eq!(copy.released_by_peer(), Some(false));
        drop(far);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(copy.released_by_peer(), Some(true));
    }

    #[test]
    fn an_end_behind_data_that_fills_the_buffer_is_seen_once_they_are_thrown_away() {
        let (near, mut far) = pair();
        let copy = Descriptor::duplicate(&near).expect("duplicate");
        far.set_write_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        while far.write_all(&[7; 64 * 1024]).is_ok() {}
        copy.abort();
        drop((near, far));
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(copy.released_by_peer(), Some(false));
        let mut looks = 0;
        while copy.released_by_peer() != Some(true) {
            copy.discard_received(1 << 20);
            std::thread::sleep(Duration::from_millis(5));
            looks += 1;
            assert!(looks < 2_000, "its end never came");
        }
    }

    #[test]
    fn after_our_fin_the_peers_fin_is_seen_by_poll() {
        let (near, far) = pair();
        let copy = Descriptor::duplicate(&near).expect("duplicate");
        copy.finish();
        let (waker, _other) = pair();
        let ended =
            |millis| wait_ended(waker.as_fd(), &[copy.as_fd()], Duration::from_millis(millis))[0];
        assert!(!ended(20));
        drop(far);
        assert!(ended(2_000));
    }

    #[test]
    fn a_socket_connected_to_itself_is_known() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("bind");
        let own = socket.local_addr().expect("an address");
        socket.connect(&own).expect("a socket may connect to itself");
        assert!(Descriptor::duplicate(&socket).expect("duplicate").is_connected_to_itself());
        let (near, _far) = pair();
        assert!(!Descriptor::duplicate(&near).expect("duplicate").is_connected_to_itself());
    }

    #[test]
    fn a_marked_socket_is_found_among_all_others() {
        let (near, _far) = pair();
        let mark = Duration::from_secs(104_729);
        near.set_read_timeout(Some(mark)).expect("option");
        assert_eq!(find_marked(mark).len(), 1);
        clear_timeouts(near.as_fd()).expect("option");
        assert!(find_marked(mark).is_empty());
    }
}
