//! One attempt to open a connection: its deadline, how far it has come, and the
//! socket by which it can be ended.

use crate::clock;
use crate::error::Phase;
use crate::liveness::Descriptor;
use crate::role::Role;
use crate::tcp::TcpOptions;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// One attempt to open a connection, as the driver sees it; clones are the same
/// attempt.
#[derive(Clone)]
pub struct Attempt(Arc<Inner>);

/// What an attempt is to bring, and by when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) timeout: Duration,
    pub(crate) tcp: TcpOptions,
    pub(crate) role: Role,
}

struct Inner {
    began: Instant,
    deadline: Instant,
    terms: Terms,
    phase: AtomicU8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    expired: bool,
    self_connected: bool,
    /// While one of several places is tried: until when.
    leg: Option<Instant>,
    leg_is_over: bool,
    socket: Option<Descriptor>,
    search: Option<Box<Search>>,
}

/// How often the socket of an attempt is looked for after its deadline.
const SEARCH_EVERY: Duration = Duration::from_millis(5);

/// How often an attempt with several places is looked at: the next one's share may be
/// over before this one's would have been.
const LEG_LOOK: Duration = Duration::from_millis(200);

/// Finds the socket of a driver that hides it; called on the watchdog's thread.
type Search = dyn FnMut() -> Option<Descriptor> + Send;

/// The attempt's deadline has passed: no further socket may be opened for it.
#[derive(Clone, Copy, Debug)]
pub struct Expired;

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline of the attempt has passed")
    }
}

impl std::error::Error for Expired {}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("phase", &self.current_phase()).finish_non_exhaustive()
    }
}

impl Attempt {
    pub(crate) fn new(began: Instant, terms: Terms) -> Attempt {
        let state = State::default();
        Attempt(Arc::new(Inner {
            began,
            deadline: clock::after(began, terms.timeout),
            terms,
            phase: AtomicU8::new(Phase::Starting as u8),
            state: Mutex::new(state),
        }))
    }

    /// Returns the instant by which the connection must be open; while one of several
    /// places is tried, the end of its share.
    pub fn deadline(&self) -> Instant {
        self.0.state.lock().leg.unwrap_or(self.0.deadline)
    }

    /// Returns how much time is left; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        clock::left(self.deadline(), Instant::now())
    }

    /// Begins with the next of several places, which has until then; what the last one
    /// has left is forgotten.
    pub(crate) fn begin_leg(&self, deadline: Instant) {
        let mut state = self.0.state.lock();
        state.leg = Some(deadline.min(self.0.deadline));
        state.leg_is_over = false;
        (state.socket, state.search) = (None, None);
    }

    /// No further place follows: what is still to do has all the time that is left.
    /// Tells whether the last one was cut at the end of its share.
    pub(crate) fn end_leg(&self) -> bool {
        let mut state = self.0.state.lock();
        state.leg = None;
        std::mem::take(&mut state.leg_is_over)
    }

    /// Returns what to set on a TCP socket unless the driver's own configuration
    /// says otherwise.
    pub fn tcp(&self) -> TcpOptions {
        self.0.terms.tcp
    }

    /// Returns what the server must be: one that is not is passed over.
    pub fn role(&self) -> Role {
        self.0.terms.role
    }

    /// Says how far the attempt has come, for error messages.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Relaxed);
    }

    pub(crate) fn current_phase(&self) -> Phase {
        Phase::from_u8(self.0.phase.load(Relaxed))
    }

    pub(crate) fn began(&self) -> Instant {
        self.0.began
    }

    /// Tells whether the deadline has passed and the socket was shut down.
    pub fn is_expired(&self) -> bool {
        self.0.state.lock().expired
    }

    /// Names the socket to shut down at the deadline; replaces an earlier one.
    ///
    /// # Errors
    ///
    /// [`Expired`] if the deadline has passed: the driver must give up, and the
    /// socket is shut down already.
    pub fn watch(&self, socket: Descriptor) -> Result<(), Expired> {
        let mut state = self.0.state.lock();
        if state.expired || state.leg_is_over {
            socket.abort();
            return Err(Expired);
        }
        state.socket = Some(socket);
        Ok(())
    }

    /// Names a way to find the socket of a driver that hides it.
    pub(crate) fn search_with(&self, search: Box<Search>) {
        let mut state = self.0.state.lock();
        (state.socket, state.search) = (None, Some(search));
    }

    /// Gives the watched socket up to the caller, and ends the search.
    pub(crate) fn take_socket(&self) -> Option<Descriptor> {
        let mut state = self.0.state.lock();
        state.search = None;
        state.socket.take()
    }

    /// Looks whether the socket was connected to itself; nobody will ever answer on
    /// such a one.
    pub(crate) fn abort_if_self_connected(&self) {
        self.0.state.lock().abort_if_self_connected();
    }

    /// Tells whether the attempt was ended because it talked to itself.
    pub(crate) fn is_self_connected(&self) -> bool {
        self.0.state.lock().self_connected
    }

    /// What the watchdog does from time to time: shuts the socket down at the deadline,
    /// or at the end of a place's share. Returns when to look again, if at all.
    pub(crate) fn look(&self, now: Instant) -> Option<Instant> {
        let mut state = self.0.state.lock();
        if now >= self.0.deadline {
            state.expired = true;
            state.look_for_socket();
            // If there is none yet, it may still be about to appear.
            return (!state.shut_down()).then(|| now + SEARCH_EVERY);
        }
        state.abort_if_self_connected();
        let next = match state.leg {
            None => self.0.deadline,
            Some(leg) if now < leg => leg.min(now + LEG_LOOK),
            Some(_) => {
                state.leg_is_over = true;
                state.shut_down();
                now + SEARCH_EVERY
            }
        };
        Some(next.min(self.0.deadline))
    }
}

impl State {
    fn abort_if_self_connected(&mut self) {
        self.look_for_socket();
        if self.socket.as_ref().is_some_and(Descriptor::is_connected_to_itself) {
            self.self_connected = true;
            self.shut_down();
        }
    }

    fn look_for_socket(&mut self) {
        if self.socket.is_none()
            && let Some(search) = &mut self.search
        {
            self.socket = search();
        }
    }

    fn shut_down(&self) -> bool {
        if let Some(socket) = &self.socket {
            socket.abort();
        }
        self.socket.is_some()
    }
}
