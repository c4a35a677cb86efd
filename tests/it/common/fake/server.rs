//! The fake server: one thread that holds the far end of every connection.

use super::Wire;
use super::session::Session;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The far side of all connections of one scripted driver.
pub struct Server {
    state: Arc<Mutex<State>>,
    waker: UnixStream,
    thread: Option<JoinHandle<()>>,
    /// One connect at a time, so that both ends of a TCP connection meet.
    door: Mutex<Option<Socket>>,
}

/// How a server may end an idle connection.
#[derive(Clone, Copy, Debug)]
pub enum Death {
    Fin,
    /// As PostgreSQL does it: a message that says why, and a FIN behind it.
    WordsAndFin,
    /// TCP only.
    Rst,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<u64, Arc<Session>>,
    opened: u64,
    most: usize,
    frozen: bool,
    /// Ends every new session before the driver has come back with it.
    hangs_up: bool,
    ungreeted: Vec<Arc<Session>>,
    over: bool,
}

impl Server {
    pub(super) fn start() -> Server {
        let (waker, sleeper) = UnixStream::pair().expect("a descriptor is left");
        waker.set_nonblocking(true).expect("a socket can be told");
        sleeper.set_nonblocking(true).expect("a socket can be told");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let named = thread::Builder::new().name("fake-server".into());
        let thread = named.spawn(move || run(&shared, &sleeper)).expect("a thread is left");
        Server { state, waker, thread: Some(thread), door: Mutex::new(None) }
    }

    /// Begins a session; returns its number and the near end of its wire.
    pub(super) fn accept(&self, wire: Wire) -> (u64, Option<Socket>) {
        let (near, far) = match wire {
            Wire::InProcess | Wire::Hidden => (None, None),
            Wire::Unix => pair(),
            Wire::Tcp => self.tcp_pair(),
        };
        let session = Arc::new(Session::new(far));
        let mut state = lock(&self.state);
        state.opened += 1;
        let number = state.opened;
        state.sessions.insert(number, Arc::clone(&session));
        state.most = state.most.max(state.sessions.len());
        state.ungreeted.push(session);
        drop(state);
        self.wake();
        (number, near)
    }

    fn tcp_pair(&self) -> (Option<Socket>, Option<Socket>) {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let door = door.get_or_insert_with(listener);
        let near = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
        let address = door.local_addr().expect("a bound socket has an address");
        near.connect(&address).expect("a listener takes a connect");
        let far = door.accept().expect("a connect is there to accept").0;
        far.set_nonblocking(true).expect("a socket can be told");
        (Some(near), Some(far))
    }

    /// How many sessions there are now.
    pub fn live(&self) -> usize {
        lock(&self.state).sessions.len()
    }

    /// How many there were at a time, at most.
    pub fn most(&self) -> usize {
        lock(&self.state).most
    }

    /// The numbers of the sessions that there are.
    pub fn numbers(&self) -> Vec<u64> {
        lock(&self.state).sessions.keys().copied().collect()
    }

    /// Ends a session in an orderly way: a FIN. Sent when this returns.
    #[track_caller]
    pub fn close(&self, number: u64) {
        let session = self.forget(number).expect("there is such a session");
        let far = session.far.as_ref().expect("a session on a wire");
        // The other side may have been first.
        let _ = far.shutdown(Shutdown::Both);
    }

    /// As `close`, if the session is still there and has a wire.
    pub fn end(&self, number: u64) {
        let mut state = lock(&self.state);
        if state.sessions.get(&number).is_some_and(|session| session.far.is_some()) {
            let session = state.sessions.remove(&number);
            drop(state);
            let far = session.as_ref().and_then(|session| session.far.as_ref());
            let _ = far.map(|far| far.shutdown(Shutdown::Both));
        }
    }

    /// Ends a session by a RST (TCP only). Sent when this returns.
    #[track_caller]
    pub fn reset(&self, number: u64) {
        let mut session = self.forget(number).expect("there is such a session");
        let far = session.far.as_ref().expect("a session on a wire");
        far.set_linger(Some(Duration::ZERO)).expect("a socket can be told");
        // The thread holds it too for as long as it polls.
        while let Err(shared) = Arc::try_unwrap(session) {
            session = shared;
            self.wake();
            thread::yield_now();
        }
    }

    /// Ends a session in one of the ways in which servers do.
    #[track_caller]
    pub fn kill(&self, number: u64, death: Death) {
        match death {
            Death::Fin => self.close(number),
            Death::WordsAndFin => {
                self.write(number, b"E57P01terminated by order");
                self.close(number);
            }
            Death::Rst => self.reset(number),
        }
    }

    /// Writes bytes that nobody asked for.
    #[track_caller]
    pub fn write(&self, number: u64, bytes: &[u8]) {
        let state = lock(&self.state);
        state.sessions.get(&number).expect("there is such a session").say(bytes);
    }

    /// Stops answering anything, the end of a connection included.
    pub fn freeze(&self) {
        lock(&self.state).frozen = true;
        self.wake();
    }

    /// Ends `freeze`, `mute` and `hang_up`.
    pub fn thaw(&self) {
        let mut state = lock(&self.state);
        (state.frozen, state.hangs_up) = (false, false);
        state.sessions.values().for_each(|session| session.mute.store(false, Relaxed));
        drop(state);
        self.wake();
    }

    /// Answers no ping on the connections that there are now; new ones are fine.
    pub fn mute(&self) {
        let state = lock(&self.state);
        state.sessions.values().for_each(|session| session.mute.store(true, Relaxed));
    }

    /// From now on greets every new session and ends it at once.
    pub fn hang_up(&self) {
        lock(&self.state).hangs_up = true;
    }

    pub(super) fn hangs_up(&self) -> bool {
        lock(&self.state).hangs_up
    }

    /// Counts a session off: before its socket closes, so that nobody sees the
    /// end of it while it is still counted.
    pub(super) fn forget(&self, number: u64) -> Option<Arc<Session>> {
        lock(&self.state).sessions.remove(&number)
    }

    fn wake(&self) {
        // A full pipe wakes as well as one more byte would.
        let _ = (&self.waker).write(&[1]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.state).over = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pair() -> (Option<Socket>, Option<Socket>) {
    let (near, far) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("a descriptor is left");
    far.set_nonblocking(true).expect("a socket can be told");
    (Some(near), Some(far))
}

fn listener() -> Socket {
    let door = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    door.bind(&anywhere.into()).expect("loopback can be bound");
    door.listen(128).expect("a bound socket can listen");
    door
}

fn run(state: &Mutex<State>, sleeper: &UnixStream) {
    loop {
        greet(state);
        let Some(sessions) = awake(state) else { return };
        let ready = sleep(sleeper, &sessions);
        for ((number, session), ready) in sessions.iter().zip(ready) {
            // Under the lock, so that nothing is served after a `freeze`.
            let mut state = lock(state);
            if ready && !state.frozen && session.serve() {
                state.sessions.remove(number);
            }
        }
    }
}

fn greet(state: &Mutex<State>) {
    let mut state = lock(state);
    if state.frozen {
        return;
    }
    for session in std::mem::take(&mut state.ungreeted) {
        session.greet();
    }
}

/// The sessions to listen to: none while frozen, `None` when all is over.
fn awake(state: &Mutex<State>) -> Option<Vec<(u64, Arc<Session>)>> {
    let state = lock(state);
    let all = state.sessions.iter().filter(|(_, session)| session.far.is_some());
    let heard = all.filter(|_| !state.frozen).map(|(number, far)| (*number, Arc::clone(far)));
    (!state.over).then(|| heard.collect())
}

/// Waits until something comes; tells which of the sessions have something.
fn sleep(sleeper: &UnixStream, sessions: &[(u64, Arc<Session>)]) -> Vec<bool> {
    let far = sessions.iter().filter_map(|(_, session)| session.far.as_ref());
    let mut polled = vec![PollFd::new(sleeper.as_fd(), PollFlags::POLLIN)];
    polled.extend(far.map(|far| PollFd::new(far.as_fd(), PollFlags::POLLIN)));
    // A signal ends the wait early: then nothing is ready, and all is asked anew.
    let _ = poll(&mut polled, PollTimeout::NONE);
    let mut bytes = [0; 256];
    let mut sleeper = sleeper;
    while matches!(sleeper.read(&mut bytes), Ok(length) if length > 0) {}
    polled[1..].iter().map(|entry| entry.any() == Some(true)).collect()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
