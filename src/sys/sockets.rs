//! What the kernel knows about a socket, without a round trip, and a few other system
//! calls: the only file with unsafe code and with code for one platform.
//!
//! The law of the peek (measured on Linux, PostgreSQL 15 and MariaDB 10.11):
//! an orderly PostgreSQL termination leaves a FATAL message in front of the FIN,
//! so "zero bytes = closed" alone hands out dead connections; `poll` distinguishes
//! data in front of a FIN from data on an open connection. A peek clears the error
//! of a RST, so the first verdict counts and no connection is peeked twice.
#![expect(unsafe_code, reason = "the system calls that no dependency wraps")]

use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(unix))]
compile_error!("poolwarden reads sockets by unix means; other systems are not supported");

/// The peer has closed its half. Where the system has no such flag, data in front
/// of a FIN counts as unsolicited, and the driver classifies its bytes.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const PEER_CLOSED: libc::c_short = libc::POLLRDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const PEER_CLOSED: libc::c_short = 0;

/// The result of a peek at an idle connection's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No data, no FIN, no error: as far as the kernel knows it is healthy.
    Quiet,
    /// The peer has closed it; this many bytes precede the FIN.
    Closed(usize),
    /// The kernel reports this error number for it.
    Failed(i32),
    /// This many bytes arrived on an idle connection that is still open.
    Unsolicited(usize),
}

/// How many bytes of an unsolicited message a peek reads: enough for the longest
/// final message seen (PostgreSQL's crash notice, 396 bytes).
pub(crate) const PEEK_BYTES: usize = 1024;

/// A descriptor of our own for a driver's socket; it stays open when the driver
/// closes its own.
///
/// Only such a duplicate is ever shut down, never a bare number, because the number
/// may by then name another file.
///
/// Clones share the descriptor, which is closed when the last clone is dropped.
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

    /// Shuts both directions down; a thread blocked on the socket returns.
    pub(crate) fn abort(&self) {
        // SAFETY: shutdown takes a descriptor number, and ours is open as
        // long as `self`; no memory is passed.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_RDWR) };
    }

    /// Sends our FIN; the peer's can still be received.
    pub(crate) fn finish(&self) {
        // SAFETY: as in `abort`.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_WR) };
    }

    /// Ends the connection at both ends now: over TCP the kernel sends a RST, also through
    /// a driver's descriptor that is still open.
    pub(crate) fn reset(&self) {
        // SAFETY: for this plain value of numbers every bit pattern is valid; zeros are
        // the family AF_UNSPEC.
        let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
        let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>());
        let length = length.expect("an address's size fits its length");
        // connect(2): "connecting to an address with the sa_family member of sockaddr set
        // to AF_UNSPEC" dissolves the association; of an established one by a RST.
        // SAFETY: the pointer and the length are those of one live value.
        let done = unsafe { libc::connect(self.0.as_raw_fd(), &raw const nowhere, length) };
        if done != 0 {
            // A unix socket: its peer's writes fail once nothing can be received here.
            self.abort();
        }
    }

    /// Returns `true` if the other descriptor is one for the same socket.
    pub(crate) fn is_same_socket(&self, other: BorrowedFd<'_>) -> bool {
        let own = identity(self.0.as_raw_fd());
        own.is_some() && own == identity(other.as_raw_fd())
    }

    /// Returns `true` if the peer's FIN or RST has arrived, also after `abort`.
    ///
    /// After our own shutdown the poll flags are set locally; only the TCP state shows
    /// whether the server has closed its end. `None`: unknown for this kind of socket.
    pub(crate) fn released_by_peer(&self) -> Option<bool> {
        tcp_state(self.as_fd()).map(|state| state == TCP_CLOSE)
    }

    /// Returns `true` if the peer has closed its half or has reset the connection.
    /// Meaningless after a shutdown of ours.
    pub(crate) fn is_ended_by_peer(&self) -> bool {
        is_ended_by_peer(self.as_fd())
    }

    /// Waits until the peer has closed its half or has reset the connection; returns
    /// `true` if it has. Meaningless after a shutdown of the reading half.
    pub(crate) fn wait_ended_by_peer(&self, timeout: Duration) -> bool {
        let mut entry = [poll_entry(self.as_fd(), PEER_CLOSED)];
        poll(&mut entry, timeout);
        entry[0].revents != 0
    }
}

/// Peeks at an idle socket: one system call if it is quiet.
///
/// Never for a connection in use: it slows the socket, and its result means nothing.
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
    // An error of the system owns nothing: its drop would only cost time.
    match ManuallyDrop::new(io::Error::last_os_error()).raw_os_error().unwrap_or(0) {
        libc::EAGAIN => Verdict::Quiet,
        // Interrupted by a signal before anything was read: repeated.
        libc::EINTR => peek(socket, buffer),
        error => Verdict::Failed(error),
    }
}

/// Returns `true` if an idle socket has no data, no FIN and no error.
///
/// Unlike a peek it does not clear the kernel's error, which names the cause.
pub(crate) fn is_quiet(socket: BorrowedFd<'_>) -> bool {
    poll_one(socket) == 0
}

/// Returns `true` if the peer has closed its half or has reset the connection, also of a
/// connection in use: nothing is read. Meaningless after a shutdown of ours.
pub(crate) fn is_ended_by_peer(socket: BorrowedFd<'_>) -> bool {
    poll_one(socket) & (PEER_CLOSED | libc::POLLHUP | libc::POLLERR) != 0
}

fn after_data(socket: BorrowedFd<'_>, bytes: usize) -> Verdict {
    if is_ended_by_peer(socket) { Verdict::Closed(bytes) } else { Verdict::Unsolicited(bytes) }
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

/// The buffer for the bytes that a peek reads; not initialised, so that a healthy
/// check-out does not pay for clearing it.
pub(crate) struct PeekBuffer([MaybeUninit<u8>; PEEK_BYTES], usize);

impl PeekBuffer {
    pub(crate) fn new() -> PeekBuffer {
        PeekBuffer([const { MaybeUninit::uninit() }; PEEK_BYTES], 0)
    }

    /// Returns the bytes that the last peek read.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `peek` sets the length to what the kernel wrote there.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }
}

/// Waits until the waker, if there is one, is readable, the peer of one of the sockets
/// has closed its end, or the timeout has passed; returns for each socket whether its
/// peer has.
///
/// Received data does not count: it would make every wait return immediately while
/// the server still keeps the connection open.
pub(crate) fn wait_ended(
    waker: Option<BorrowedFd<'_>>,
    sockets: &[BorrowedFd<'_>],
    timeout: Duration,
) -> Vec<bool> {
    let watched = sockets.iter().map(|socket| poll_entry(*socket, PEER_CLOSED));
    let mut entries: Vec<_> = watched.collect();
    entries.extend(waker.map(|waker| poll_entry(waker, libc::POLLIN)));
    poll(&mut entries, timeout);
    let ends = PEER_CLOSED | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;
    entries[..sockets.len()].iter().map(|entry| entry.revents & ends != 0).collect()
}

/// Polls for at most this time, and for at most a minute.
fn poll(entries: &mut [libc::pollfd], timeout: Duration) {
    // Rounded up, so that a wait of less than a millisecond does not spin.
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(60_000);
    let count = libc::nfds_t::try_from(entries.len()).expect("a poll set fits its count");
    let millis = libc::c_int::try_from(millis).expect("a minute of milliseconds fits");
    // SAFETY: the pointer and the count are those of one live slice.
    let polled = unsafe { libc::poll(entries.as_mut_ptr(), count, millis) };
    if polled < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        poll_one_by_one(entries, timeout);
    }
}

/// How long a wait is in which no socket can wake us.
const BLIND_WAIT: Duration = Duration::from_millis(20);

/// Does without a wait for all: poll(2) refuses more entries than the process may have
/// descriptors, and that limit may be lowered below what is open.
#[cold]
fn poll_one_by_one(entries: &mut [libc::pollfd], timeout: Duration) {
    let mut ready = 0;
    for entry in &mut *entries {
        // SAFETY: one valid entry is passed, with its count of one.
        ready += unsafe { libc::poll(entry, 1, 0) }.max(0);
    }
    if ready == 0 {
        std::thread::sleep(timeout.min(BLIND_WAIT));
    }
}

/// The number that an [`EndPoll`] reports when it is woken.
#[cfg(any(target_os = "linux", target_os = "android"))]
const WOKEN: u64 = u64::MAX;

/// Waits for the ends of many sockets, each of which is registered once.
///
/// An end is reported once, with the number of the socket. Received data wakes nothing,
/// because it is not asked for (epoll(7): EPOLLRDHUP without EPOLLIN).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) struct EndPoll {
    epoll: OwnedFd,
    waker: std::fs::File,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl EndPoll {
    pub(crate) fn new() -> io::Result<EndPoll> {
        // SAFETY: both calls take numbers only, and return a new descriptor or an error.
        let (epoll, waker) = unsafe {
            let epoll = owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            (epoll, owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?)
        };
        let poll = EndPoll { epoll, waker: waker.into() };
        poll.control(libc::EPOLL_CTL_ADD, poll.waker.as_fd(), libc::EPOLLIN, WOKEN)?;
        Ok(poll)
    }

    /// Registers a socket. An end that has arrived already is reported as well.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, libc::EPOLLRDHUP, number)
    }

    pub(crate) fn remove(&self, socket: BorrowedFd<'_>) {
        let _ = self.control(libc::EPOLL_CTL_DEL, socket, 0, 0);
    }

    /// Ends a wait under way, or the next one.
    pub(crate) fn wake(&self) {
        // A counter that is full has not been read: the wait ends without another byte.
        let _ = io::Write::write(&mut &self.waker, &1u64.to_ne_bytes());
    }

    fn control(
        &self,
        action: libc::c_int,
        file: BorrowedFd<'_>,
        events: libc::c_int,
        number: u64,
    ) -> io::Result<()> {
        let events = (events | libc::EPOLLET).cast_unsigned();
        let mut event = libc::epoll_event { events, u64: number };
        let (epoll, file) = (self.epoll.as_raw_fd(), file.as_raw_fd());
        // SAFETY: the event is one live value, which the kernel only reads.
        match unsafe { libc::epoll_ctl(epoll, action, file, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits for ends, or until woken, for at most this time if there is one; returns the
    /// numbers, also of ends that arrived meanwhile, and none if the time has passed.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Vec<u64> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 128];
        let millis = timeout.map_or(-1, |timeout| {
            libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX)
        });
        let most = libc::c_int::try_from(events.len()).expect("the length of an array fits");
        // SAFETY: the kernel writes at most `most` events to the array.
        let found =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), most, millis) };
        let found = usize::try_from(found).unwrap_or(0);
        events[..found].iter().map(|event| event.u64).collect()
    }
}

/// Here the system has no such poll: the sweep of the housekeeper finds the ends.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) struct EndPoll;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl EndPoll {
    pub(crate) fn new() -> io::Result<EndPoll> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub(crate) fn add(&self, _: BorrowedFd<'_>, _: u64) -> io::Result<()> {
        Ok(())
    }
    pub(crate) fn remove(&self, _: BorrowedFd<'_>) {}
    pub(crate) fn wake(&self) {}
    pub(crate) fn wait(&self, _: Option<Duration>) -> Vec<u64> {
        Vec::new()
    }
}

/// Owns the descriptor that a system call has returned.
///
/// # Safety
///
/// The number is an error, or a new descriptor that nothing else owns.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn owned(raw: RawFd) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(raw) })
}

/// `TCP_CLOSE` of the kernel's list of TCP states (Linux, net/tcp_states.h).
pub(super) const TCP_CLOSE: u8 = 7;

#[cfg(target_os = "linux")]
pub(super) fn tcp_state(socket: BorrowedFd<'_>) -> Option<u8> {
    // The state is the first byte of struct tcp_info (Linux, linux/tcp.h).
    let mut state = 0u8;
    get_option(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut state).then_some(state)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn tcp_state(_socket: BorrowedFd<'_>) -> Option<u8> {
    None
}

/// Reads a socket option; `false` if the kernel did not write a whole `T`.
pub(super) fn get_option<T: Copy>(
    socket: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut T,
) -> bool {
    let mut length =
        libc::socklen_t::try_from(size_of::<T>()).expect("an option's size fits its length");
    let wanted = length;
    // SAFETY: the kernel writes at most `length` bytes to `value`, a plain
    // value of that size for which every bit pattern is valid (u8, c_int, timeval, bytes).
    let done = unsafe {
        libc::getsockopt(socket, level, name, std::ptr::from_mut(value).cast(), &raw mut length)
    };
    done == 0 && length == wanted
}

/// Sets an option that is a number; `false` if the socket has none of this name.
#[cfg(target_os = "linux")]
pub(super) fn set_number(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> bool {
    let pointer = std::ptr::from_ref(&value).cast();
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes, which are those of one live value.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer, length) == 0 }
}

/// Duplicates a bare number for which the question is answered by yes; asks it of the
/// duplicate as well, because the number may meanwhile name another file.
pub(crate) fn duplicate_verified(
    raw: RawFd,
    is_wanted: impl Fn(BorrowedFd<'_>) -> bool,
) -> io::Result<Option<Descriptor>> {
    // SAFETY: only system calls that read are made on it; to them a number that is closed
    // meanwhile is an error, and one that names another file is a wrong answer.
    let number = unsafe { BorrowedFd::borrow_raw(raw) };
    if !is_wanted(number) {
        return Ok(None);
    }
    let copy = number.try_clone_to_owned()?;
    if is_wanted(copy.as_fd()) {
        return Ok(Some(Descriptor(Arc::new(copy))));
    }
    if socket_type(copy.as_raw_fd()).is_err() {
        // A file that took the number a moment ago. Closing any descriptor of a file drops
        // this process's POSIX locks on it, SQLite's among them: it stays open.
        std::mem::forget(copy);
    }
    Ok(None)
}

/// Borrows the descriptor of a value that owns one, for as long as the value.
pub(crate) fn borrow<T: AsRawFd>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps the descriptor open at least as long as it
    // lives, and the result cannot outlive the borrow of the owner.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// Returns the type of the socket with this number; the system's error number if it is none.
pub(super) fn socket_type(raw: RawFd) -> Result<libc::c_int, i32> {
    let mut kind: libc::c_int = 0;
    if get_option(raw, libc::SOL_SOCKET, libc::SO_TYPE, &mut kind) {
        return Ok(kind);
    }
    Err(io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// Returns what tells open files apart: the device and the inode.
pub(crate) fn identity(raw: RawFd) -> Option<(u64, u64)> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes one `stat` to the pointer, or fails.
    if unsafe { libc::fstat(raw, status.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call has succeeded, so the value is written.
    let status = unsafe { status.assume_init() };
    #[expect(clippy::unnecessary_cast, reason = "their types differ between systems")]
    Some((status.st_dev as u64, status.st_ino as u64))
}

/// Returns the address to which a socket is connected.
pub(crate) fn peer_address(raw: RawFd) -> Option<socket2::SockAddr> {
    // SAFETY: only read from, as in `duplicate_verified`.
    let socket = unsafe { BorrowedFd::borrow_raw(raw) };
    socket2::SockRef::from(&socket).peer_addr().ok()
}

/// Runs a function in every process that is forked from this one, before `fork` returns
/// there. It may do only what a signal handler may.
pub(crate) fn run_in_forked_child(function: extern "C" fn()) {
    // SAFETY: the function takes nothing and lives as long as the program.
    unsafe { libc::pthread_atfork(None, None, Some(function)) };
}

/// Returns the nanoseconds of this clock of the system; 0 if there is none.
#[inline]
pub(crate) fn time_of(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` to the pointer, or fails and writes none.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Neither is negative.
    #[cfg_attr(target_pointer_width = "64", expect(clippy::useless_conversion, reason = "64 bits"))]
    let (seconds, nanos) = (i64::from(time.tv_sec), i64::from(time.tv_nsec));
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos).cast_unsigned()
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
