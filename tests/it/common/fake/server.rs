//! The fake server: one thread that holds the server's end of every connection.

use super::Transport;
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

/// The server's end of all connections of one scripted driver.
pub struct Server {
    state: Arc<Mutex<State>>,
    waker: UnixStream,
    thread: Option<JoinHandle<()>>,
    /// Locked during a connect, so that both ends of a TCP connection belong together.
    listener: Mutex<Option<Socket>>,
}

/// How a server may close an idle connection.
#[derive(Clone, Copy, Debug)]
pub enum ServerClose {
    Fin,
    /// As PostgreSQL does it: a message with the reason, and a FIN behind it.
    MessageAndFin,
    /// TCP only.
    Rst,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<u64, Arc<Session>>,
    opened: u64,
    most: usize,
    frozen: bool,
    /// Ends every new session before the driver's connect returns.
    hangs_up: bool,
    ungreeted: Vec<Arc<Session>>,
    stopped: bool,
}

impl Server {
    pub(super) fn start() -> Server {
        let (waker, wake_end) = UnixStream::pair().expect("a descriptor is left");
        waker.set_nonblocking(true).expect("the option can be set");
        wake_end.set_nonblocking(true).expect("the option can be set");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let named = thread::Builder::new().name("fake-server".into());
        let thread = named.spawn(move || run(&shared, &wake_end)).expect("a thread is left");
        Server { state, waker, thread: Some(thread), listener: Mutex::new(None) }
    }

    /// Begins a session; returns its number and the client's end of its socket.
    pub(super) fn accept(&self, transport: Transport) -> (u64, Option<Socket>) {
        let (near, far) = match transport {
            Transport::InProcess | Transport::Hidden => (None, None),
            Transport::Unix => pair(),
            Transport::Tcp => self.tcp_pair(),
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
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = listener.get_or_insert_with(listen);
        let near = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
        let address = listener.local_addr().expect("a bound socket has an address");
        near.connect(&address).expect("the listener accepts");
        let far = listener.accept().expect("a connect is pending").0;
        far.set_nonblocking(true).expect("the option can be set");
        (Some(near), Some(far))
    }

    /// Returns the number of sessions.
    pub fn live(&self) -> usize {
        lock(&self.state).sessions.len()
    }

    /// Returns the highest number of sessions at a time.
    pub fn most(&self) -> usize {
        lock(&self.state).most
    }

    /// Returns the numbers of the open sessions.
    pub fn numbers(&self) -> Vec<u64> {
        lock(&self.state).sessions.keys().copied().collect()
    }

    /// Ends a session by a FIN, which is sent when this returns.
    #[track_caller]
    pub fn close(&self, number: u64) {
        let session = self.forget(number).expect("the session exists");
        let far = session.far.as_ref().expect("a session with a socket");
        // The client may have closed first.
        let _ = far.shutdown(Shutdown::Both);
    }

    /// As `close`, but only if the session still exists and has a socket.
    pub fn end(&self, number: u64) {
        let mut state = lock(&self.state);
        if state.sessions.get(&number).is_some_and(|session| session.far.is_some()) {
            let session = state.sessions.remove(&number);
            drop(state);
            let far = session.as_ref().and_then(|session| session.far.as_ref());
            let _ = far.map(|far| far.shutdown(Shutdown::Both));
        }
    }

    /// Ends a session by a RST (TCP only), which is sent when this returns.
    #[track_caller]
    pub fn reset(&self, number: u64) {
        let mut session = self.forget(number).expect("the session exists");
        let far = session.far.as_ref().expect("a session with a socket");
        far.set_linger(Some(Duration::ZERO)).expect("the option can be set");
        // The server's thread holds it too while it polls.
        while let Err(shared) = Arc::try_unwrap(session) {
            session = shared;
            self.wake();
            thread::yield_now();
        }
    }

    /// Ends a session in one of the ways of a real server.
    #[track_caller]
    pub fn terminate(&self, number: u64, how: ServerClose) {
        match how {
            ServerClose::Fin => self.close(number),
            ServerClose::MessageAndFin => {
                self.write(number, b"E57P01terminated by order");
                self.close(number);
            }
            ServerClose::Rst => self.reset(number),
        }
    }

    /// Writes unsolicited bytes.
    #[track_caller]
    pub fn write(&self, number: u64, bytes: &[u8]) {
        let state = lock(&self.state);
        state.sessions.get(&number).expect("the session exists").send(bytes);
    }

    /// Stops all replies, also the FIN in answer to a FIN.
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

    /// Stops the replies to pings on the current connections; new ones get them.
    pub fn mute(&self) {
        let state = lock(&self.state);
        state.sessions.values().for_each(|session| session.mute.store(true, Relaxed));
    }

    /// Greets every new session from now on and ends it immediately.
    pub fn hang_up(&self) {
        lock(&self.state).hangs_up = true;
    }

    pub(super) fn hangs_up(&self) -> bool {
        lock(&self.state).hangs_up
    }

    /// Removes a session from the list: before its socket closes, so that no client
    /// sees the FIN of a session that still counts.
    pub(super) fn forget(&self, number: u64) -> Option<Arc<Session>> {
        lock(&self.state).sessions.remove(&number)
    }

    fn wake(&self) {
        // If the pipe is full, the thread wakes anyway.
        let _ = (&self.waker).write(&[1]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.state).stopped = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pair() -> (Option<Socket>, Option<Socket>) {
    let (near, far) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("a descriptor is left");
    far.set_nonblocking(true).expect("the option can be set");
    (Some(near), Some(far))
}

fn listen() -> Socket {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&anywhere.into()).expect("loopback can be bound");
    listener.listen(128).expect("a bound socket can listen");
    listener
}

fn run(state: &Mutex<State>, wake_end: &UnixStream) {
    loop {
        greet(state);
        let Some(sessions) = polled_sessions(state) else { return };
        let ready = wait_ready(wake_end, &sessions);
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

/// Returns the sessions to poll: none while frozen, `None` after the stop.
fn polled_sessions(state: &Mutex<State>) -> Option<Vec<(u64, Arc<Session>)>> {
    let state = lock(state);
    let all = state.sessions.iter().filter(|(_, session)| session.far.is_some());
    let polled = all.filter(|_| !state.frozen).map(|(number, far)| (*number, Arc::clone(far)));
    (!state.stopped).then(|| polled.collect())
}

/// Waits for input; returns for each session whether it has some.
fn wait_ready(wake_end: &UnixStream, sessions: &[(u64, Arc<Session>)]) -> Vec<bool> {
    let far = sessions.iter().filter_map(|(_, session)| session.far.as_ref());
    let mut polled = vec![PollFd::new(wake_end.as_fd(), PollFlags::POLLIN)];
    polled.extend(far.map(|far| PollFd::new(far.as_fd(), PollFlags::POLLIN)));
    // A signal ends the wait early: then no session is ready, and the loop polls again.
    let _ = poll(&mut polled, PollTimeout::NONE);
    let mut bytes = [0; 256];
    let mut wake_end = wake_end;
    while matches!(wake_end.read(&mut bytes), Ok(length) if length > 0) {}
    polled[1..].iter().map(|entry| entry.any() == Some(true)).collect()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
