//! The watcher: one thread of the process that learns from the kernel when the peer of an
//! open connection closes its end or resets it.
//!
//! Each socket is registered once. An end marks its connection, which is one load for
//! whatever asks, and the pool is told once for all ends that arrived together. Received
//! data wakes nothing.
//!
//! The thread starts with the first registration and ends when there has been none for a
//! while. Where it cannot start, connections are not watched: they must be looked at.

use super::catch_panic::catch_panic;
use super::deadlines::LINGER;
use super::process;
use super::sockets::{Descriptor, EndPoll};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What is called after ends were noticed. On the watcher's thread, which catches its
/// panics and holds no lock; it must not block.
pub(crate) type OnEnd = dyn Fn() + Send + Sync;

/// No end was noticed so far.
const OPEN: u8 = 0;
const ENDED: u8 = 1;
/// There is no thread that would notice an end.
const UNWATCHED: u8 = 2;

/// The registration of one socket; dropping it ends that.
pub(crate) struct Watched {
    number: u64,
    socket: Descriptor,
    mark: Arc<AtomicU8>,
    poll: Arc<EndPoll>,
    /// The process that registered it: a forked child has the same poll, which is not its
    /// own to change.
    generation: usize,
}

struct Entry {
    mark: Arc<AtomicU8>,
    on_end: Arc<OnEnd>,
}

struct Watcher {
    /// Law: present while the thread runs or is being started.
    poll: Option<Arc<EndPoll>>,
    /// Law: one for each live [`Watched`] of the poll. Emptied before the thread ends.
    entries: BTreeMap<u64, Entry>,
    next: u64,
}

/// Law: no system call is made under it. A forked child never takes it.
static WATCHER: Mutex<Watcher> =
    Mutex::new(Watcher { poll: None, entries: BTreeMap::new(), next: 0 });

/// Registers a socket; `None` if it cannot be watched.
pub(crate) fn watch(socket: &Descriptor, on_end: &Arc<OnEnd>) -> Option<Watched> {
    let (mark, socket) = (Arc::new(AtomicU8::new(OPEN)), socket.clone());
    let entry = || Entry { mark: Arc::clone(&mark), on_end: Arc::clone(on_end) };
    let known = WATCHER.lock().enter(entry());
    let (poll, number) = known.or_else(|| enter_first(entry()))?;
    let generation = process::generation();
    let watched = Watched { number, socket, mark, poll, generation };
    // On an error the registration is dropped, which removes its entry.
    watched.poll.add(watched.socket.as_fd(), number).ok()?;
    Some(watched)
}

/// Starts the thread for this entry, unless another caller does so meanwhile.
fn enter_first(entry: Entry) -> Option<(Arc<EndPoll>, u64)> {
    let poll = Arc::new(EndPoll::new().ok()?);
    let (entered, is_first) = {
        let mut watcher = WATCHER.lock();
        let is_first = watcher.poll.is_none();
        watcher.poll.get_or_insert_with(|| Arc::clone(&poll));
        (watcher.enter(entry), is_first)
    };
    let thread = std::thread::Builder::new().name("poolwarden-watcher".into());
    if is_first && thread.spawn(move || serve(&poll)).is_err() {
        let entries = WATCHER.lock().give_up();
        drop(entries);
        return None;
    }
    entered
}

impl Watcher {
    fn enter(&mut self, entry: Entry) -> Option<(Arc<EndPoll>, u64)> {
        let poll = Arc::clone(self.poll.as_ref()?);
        let number = self.next;
        self.next += 1;
        self.entries.insert(number, entry);
        Some((poll, number))
    }

    /// Tells those that have registered meanwhile that no thread notices anything.
    fn give_up(&mut self) -> BTreeMap<u64, Entry> {
        self.poll = None;
        let entries = std::mem::take(&mut self.entries);
        entries.values().for_each(|entry| entry.mark.store(UNWATCHED, Relaxed));
        entries
    }

    /// Marks the connections with these numbers; returns what is to be called, each once.
    fn mark(&self, numbers: &[u64]) -> Vec<Arc<OnEnd>> {
        let mut calls: Vec<Arc<OnEnd>> = Vec::new();
        for entry in numbers.iter().filter_map(|number| self.entries.get(number)) {
            entry.mark.store(ENDED, Relaxed);
            if !calls.iter().any(|call| Arc::ptr_eq(call, &entry.on_end)) {
                calls.push(Arc::clone(&entry.on_end));
            }
        }
        calls
    }
}

impl Watched {
    /// Returns `true` if the peer has ended the connection, as far as was noticed.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.mark.load(Relaxed) == ENDED
    }

    /// Returns `true` if an end would have been noticed, and none was.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.mark.load(Relaxed) == OPEN
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.generation != process::generation() {
            return;
        }
        self.poll.remove(self.socket.as_fd());
        let (entry, is_last) = {
            let mut watcher = WATCHER.lock();
            let entry = watcher.entries.remove(&self.number);
            (entry, watcher.entries.is_empty())
        };
        if is_last {
            self.poll.wake();
        }
        drop(entry);
    }
}

fn serve(poll: &EndPoll) {
    loop {
        let is_unused = WATCHER.lock().entries.is_empty();
        let found = poll.wait(is_unused.then_some(LINGER));
        let calls = {
            let mut watcher = WATCHER.lock();
            if is_unused && found.is_empty() && watcher.entries.is_empty() {
                watcher.poll = None;
                return;
            }
            watcher.mark(&found)
        };
        calls.iter().for_each(|call| drop(catch_panic(|| call())));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, bounded};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback binds");
        let near = TcpStream::connect(listener.local_addr().expect("an address"));
        (near.expect("it connects"), listener.accept().expect("it accepts").0)
    }

    fn reporting() -> (Arc<OnEnd>, Receiver<()>) {
        let (report, calls) = bounded(16);
        let on_end = move || {
            let _ = report.try_send(());
        };
        (Arc::new(on_end), calls)
    }

    fn watched(near: &impl AsFd, on_end: &Arc<OnEnd>) -> Watched {
        let socket = Descriptor::duplicate(near).expect("a descriptor");
        watch(&socket, on_end).expect("the watcher starts")
    }

    #[test]
    fn an_end_is_noticed_and_data_is_not() {
        let (near, mut far) = tcp_pair();
        let (on_end, calls) = reporting();
        let watched = watched(&near, &on_end);
        far.write_all(b"data").expect("it is sent");
        assert!(calls.recv_timeout(Duration::from_millis(50)).is_err(), "data is no end");
        assert!(watched.is_open() && !watched.has_ended());
        drop(far);
        calls.recv_timeout(SOON).expect("the end is noticed");
        assert!(watched.has_ended() && !watched.is_open());
    }

    #[test]
    fn an_end_before_the_registration_is_noticed_also_of_a_unix_socket() {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        drop(far);
        let (on_end, calls) = reporting();
        let watched = watched(&near, &on_end);
        calls.recv_timeout(SOON).expect("the end is noticed");
        assert!(watched.has_ended());
    }

    #[test]
    fn a_dropped_registration_notices_nothing_and_a_panic_ends_nothing() {
        let (faulty, far_faulty) = tcp_pair();
        let panicking: Arc<OnEnd> = Arc::new(|| panic!("a faulty callback"));
        let faulty = watched(&faulty, &panicking);
        let (near, far) = tcp_pair();
        let (on_end, calls) = reporting();
        drop(watched(&near, &on_end));
        drop((far_faulty, far));
        let (other, far_other) = tcp_pair();
        let (on_other, other_calls) = reporting();
        let other = watched(&other, &on_other);
        drop(far_other);
        other_calls.recv_timeout(SOON).expect("the thread goes on");
        assert!(other.has_ended());
        assert!(calls.try_recv().is_err(), "it was dropped before the end");
        drop(faulty);
    }

    #[test]
    fn ends_that_arrive_together_are_one_call_and_each_is_marked() {
        let poll = Some(Arc::new(EndPoll::new().expect("two descriptors")));
        let mut watcher = Watcher { poll, entries: BTreeMap::new(), next: 0 };
        let (on_end, _) = reporting();
        let marks = [(); 3].map(|()| {
            let mark = Arc::new(AtomicU8::new(OPEN));
            let entry = Entry { mark: Arc::clone(&mark), on_end: Arc::clone(&on_end) };
            watcher.enter(entry).expect("there is a poll");
            mark
        });
        let read = || marks.each_ref().map(|mark| mark.load(Relaxed));
        assert_eq!(watcher.mark(&[0, 2, 7]).len(), 1);
        assert_eq!(read(), [ENDED, OPEN, ENDED]);
        assert_eq!(watcher.give_up().len(), 3, "no thread has started");
        assert_eq!(read(), [UNWATCHED; 3]);
        let entry = Entry { mark: Arc::clone(&marks[0]), on_end };
        assert!(watcher.enter(entry).is_none(), "the next caller starts a thread");
    }
}
