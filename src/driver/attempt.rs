//! One attempt to open a connection: its deadline, its phase, and the socket to shut
//! down at the deadline.

use crate::config::{FleetCap, Role, TcpOptions};
use crate::error::Phase;
use crate::sys::clock;
use crate::sys::deadlines;
use crate::sys::deadlines::Watch;
use crate::sys::sockets::Descriptor;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// One attempt to open a connection, as the driver sees it; clones share the attempt.
#[derive(Clone)]
pub struct Attempt(Arc<Inner>);

/// The timeout, socket options, server role and fleet of an attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttemptOptions {
    pub(crate) timeout: Duration,
    pub(crate) tcp: TcpOptions,
    pub(crate) role: Role,
    pub(crate) fleet_cap: Option<FleetCap>,
    /// The server's limits will be read over the new connection, whose session nothing
    /// changes before that.
    pub(crate) reads_limits: bool,
}

struct Inner {
    began: Instant,
    deadline: Instant,
    options: AttemptOptions,
    phase: AtomicU8,
    /// See [`Attempt::set_reading_limits`].
    is_reading_limits: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    expired: bool,
    self_connected: bool,
    /// The deadline of the endpoint being tried, where there are several.
    endpoint_deadline: Option<Instant>,
    endpoint_timed_out: bool,
    socket: Option<Descriptor>,
    search: Option<Box<Search>>,
}

/// How often the deadline thread searches for the socket of an expired attempt.
const SEARCH_EVERY: Duration = Duration::from_millis(5);

/// How often an attempt with several endpoints is checked: the share of the next
/// endpoint may end before this one's would have.
const ENDPOINT_CHECK_EVERY: Duration = Duration::from_millis(200);

/// Finds the socket of a driver that does not expose it; called on the deadline thread.
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
    pub(crate) fn new(began: Instant, options: AttemptOptions) -> Attempt {
        let state = State::default();
        Attempt(Arc::new(Inner {
            began,
            deadline: clock::after(began, options.timeout),
            options,
            phase: AtomicU8::new(Phase::Starting as u8),
            is_reading_limits: AtomicBool::new(false),
            state: Mutex::new(state),
        }))
    }

    /// Returns the instant by which the connection must be open: while one of several
    /// endpoints is tried, the end of that endpoint's share.
    pub fn deadline(&self) -> Instant {
        self.0.state.lock().endpoint_deadline.unwrap_or(self.0.deadline)
    }

    /// Returns how much time is left; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        clock::left(self.deadline(), Instant::now())
    }

    /// Starts the next of several endpoints, with its own deadline, and forgets the
    /// socket of the last one.
    pub(crate) fn begin_host(&self, deadline: Instant) {
        let mut state = self.0.state.lock();
        state.endpoint_deadline = Some(deadline.min(self.0.deadline));
        state.endpoint_timed_out = false;
        (state.socket, state.search) = (None, None);
    }

    /// Ends the endpoint's own deadline: what follows has all the time that is left.
    /// Returns `true` if the endpoint was shut down at the end of its share.
    pub(crate) fn end_host(&self) -> bool {
        let mut state = self.0.state.lock();
        state.endpoint_deadline = None;
        std::mem::take(&mut state.endpoint_timed_out)
    }

    /// Returns the options to set on a TCP socket, unless the driver's own configuration
    /// sets them.
    pub fn tcp(&self) -> TcpOptions {
        self.0.options.tcp
    }

    /// Returns the role that the server must have; a server of another role is skipped.
    pub fn role(&self) -> Role {
        self.0.options.role
    }

    /// Returns the fleet whose slots the connection must have one of, if there is one.
    ///
    /// Set only if the driver has [`slots`](crate::driver::Driver::slots).
    pub fn fleet_cap(&self) -> Option<&FleetCap> {
        self.0.options.fleet_cap.as_ref()
    }

    /// Returns `true` if the pool will ask for the server's limits when the connection is
    /// open: a driver that asks the server something anyway can read them with it.
    pub(crate) fn reads_limits(&self) -> bool {
        self.0.options.reads_limits
    }

    /// Sets whether the driver is reading the server's limits: if the attempt fails meanwhile,
    /// that was the reason.
    pub(crate) fn set_reading_limits(&self, is_reading: bool) {
        self.0.is_reading_limits.store(is_reading, Relaxed);
    }

    pub(crate) fn is_reading_limits(&self) -> bool {
        self.0.is_reading_limits.load(Relaxed)
    }

    /// Sets the phase that the attempt has reached, for error messages.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Relaxed);
    }

    pub(crate) fn current_phase(&self) -> Phase {
        Phase::from_u8(self.0.phase.load(Relaxed))
    }

    pub(crate) fn began(&self) -> Instant {
        self.0.began
    }

    /// Returns `true` if the deadline has passed and the socket was shut down.
    pub fn is_expired(&self) -> bool {
        self.0.state.lock().expired
    }

    /// Sets the socket to shut down at the deadline; replaces an earlier one.
    ///
    /// # Errors
    ///
    /// [`Expired`] if the deadline has passed: the driver must return an error, and the
    /// socket is already shut down.
    #[cfg(unix)]
    pub fn watch(&self, socket: Descriptor) -> Result<(), Expired> {
        let mut state = self.0.state.lock();
        if state.expired || state.endpoint_timed_out {
            socket.abort();
            return Err(Expired);
        }
        state.socket = Some(socket);
        Ok(())
    }

    /// Sets the search for the socket of a driver that does not expose it.
    pub(crate) fn search_with(&self, search: Box<Search>) {
        let mut state = self.0.state.lock();
        (state.socket, state.search) = (None, Some(search));
    }

    /// Returns the watched socket.
    pub(crate) fn socket(&self) -> Option<Descriptor> {
        self.0.state.lock().socket.clone()
    }

    /// Ends the search, and returns the watched socket.
    pub(crate) fn take_socket(&self) -> Option<Descriptor> {
        let mut state = self.0.state.lock();
        state.search = None;
        state.socket.take()
    }

    /// Shuts the socket down if it is connected to itself: no reply will ever arrive.
    pub(crate) fn abort_if_self_connected(&self) {
        self.0.state.lock().abort_if_self_connected();
    }

    /// Returns `true` if the attempt was ended because its socket connected to itself.
    pub(crate) fn is_self_connected(&self) -> bool {
        self.0.state.lock().self_connected
    }

    /// Called on the deadline thread: shuts the socket down at the deadline, or at the end
    /// of an endpoint's share. Returns when to call it next, if at all.
    pub(crate) fn check_deadline(&self, now: Instant) -> Option<Instant> {
        let mut state = self.0.state.lock();
        if now >= self.0.deadline {
            state.expired = true;
            state.find_socket();
            // The driver may be about to open it.
            return (!state.shut_down()).then(|| now + SEARCH_EVERY);
        }
        state.abort_if_self_connected();
        let next = match state.endpoint_deadline {
            None if state.socket.is_some() || state.search.is_none() => self.0.deadline,
            // Not found yet: a thread that is slow to start may connect at any time.
            None => now + now.saturating_duration_since(self.0.began).max(FIRST_CHECK),
            Some(end) if now < end => end.min(now + ENDPOINT_CHECK_EVERY),
            Some(_) => {
                state.endpoint_timed_out = true;
                state.shut_down();
                now + SEARCH_EVERY
            }
        };
        Some(next.min(self.0.deadline))
    }
}

impl State {
    fn abort_if_self_connected(&mut self) {
        self.find_socket();
        if self.socket.as_ref().is_some_and(Descriptor::is_connected_to_itself) {
            self.self_connected = true;
            self.shut_down();
        }
    }

    fn find_socket(&mut self) {
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

/// When an attempt is first checked for a socket connected to itself.
const FIRST_CHECK: Duration = Duration::from_millis(100);

/// Ends an attempt to open a connection at its deadline.
pub(crate) fn bound(attempt: &Arc<Attempt>) -> Watch {
    let early = attempt.deadline().min(attempt.began() + FIRST_CHECK);
    let attempt = Arc::clone(attempt);
    deadlines::arm(early, Arc::new(move || attempt.check_deadline(Instant::now())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_socket_that_is_not_there_yet_is_searched_for_until_it_is_found() {
        let began = Instant::now();
        let timeout = Duration::from_secs(10);
        let attempt = Attempt::new(began, AttemptOptions { timeout, ..AttemptOptions::default() });
        let (near, _far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let socket = Descriptor::duplicate(near.as_fd()).expect("a duplicate");
        let mut searches = 0;
        attempt.search_with(Box::new(move || {
            searches += 1;
            (searches > 2).then(|| socket.clone())
        }));
        let check = |millis| {
            let next = attempt.check_deadline(began + Duration::from_millis(millis));
            next.map(|next| (next - began).as_millis())
        };
        assert_eq!(check(100), Some(200));
        assert_eq!(check(200), Some(400));
        assert_eq!(check(400), Some(10_000), "found: nothing to do before the deadline");
    }
}
