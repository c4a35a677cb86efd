//! May this connection be handed out? May it be kept?

use super::brake::Parting;
use super::{Managed, Parts, Warden};
use crate::clock;
use crate::config::Validation;
use crate::driver::{Driver, Link, Unsolicited};
use crate::error::BoxError;
use crate::fence::{Panicked, fence};
use crate::lifetime;
use crate::liveness::{self, PeekBuffer, Verdict};
use crate::observe::{CloseReason, Words};
use crate::reset::{Cleaned, Handling, Leftovers};
use crate::role::Role;
use crate::watchdog;
use std::sync::Arc;
use std::time::Instant;

/// The decision to close a connection.
#[derive(Debug)]
pub(crate) struct Discard {
    pub(crate) reason: CloseReason,
    /// What the server said about it.
    pub(crate) words: Option<Words>,
    /// A statement may still run on it.
    pub(crate) busy: bool,
}

impl Discard {
    pub(crate) fn planned(reason: CloseReason) -> Discard {
        Discard { reason, words: None, busy: false }
    }

    pub(crate) fn busy(reason: CloseReason) -> Discard {
        Discard { reason, words: None, busy: true }
    }
}

impl CloseReason {
    /// The other side ended it, before we did anything to its socket.
    pub(super) fn peer_has_ended_it(self) -> bool {
        matches!(
            self,
            CloseReason::ServerShutdown
                | CloseReason::ServerCrash
                | CloseReason::ServerIdleTimeout
                | CloseReason::ServerError
                | CloseReason::ServerClosed
                | CloseReason::ConnectionReset
        )
    }

    /// The server itself may be gone, not only this connection.
    pub(crate) fn hints_at_an_outage(self) -> bool {
        self.peer_has_ended_it() || self.peer_is_deaf() || self == CloseReason::Broken
    }

    /// What ended this one without our doing may have ended others. The server's own
    /// limit on idling is met by each connection at its own time.
    pub(super) fn casts_doubt(self) -> bool {
        self.hints_at_an_outage()
            && !matches!(self, CloseReason::ServerIdleTimeout | CloseReason::Condemned)
    }

    /// The other side is deaf: an orderly goodbye would only wait.
    pub(super) fn peer_is_deaf(self) -> bool {
        matches!(
            self,
            CloseReason::NetworkTimeout | CloseReason::PingTimeout | CloseReason::Condemned
        )
    }
}

/// What a check without a round trip found.
pub(crate) enum Look {
    /// It may be handed out.
    Fine,
    /// It may be handed out if it answers a ping.
    AskServer,
    /// The same, but only because another one was lost since it was last proven.
    Doubted,
    /// It must be closed.
    Close(Discard),
}

impl<D: Driver> Managed<D> {
    /// Checks a connection without a round trip: one system call at most.
    #[inline]
    pub(crate) fn look(&mut self, now: Instant) -> Look {
        if !self.is_in_its_prime(now)
            && let Some(reason) = self.past_its_prime(now)
        {
            return Look::Close(Discard::planned(reason));
        }
        let validation = self.warden.config().validation;
        if validation == Validation::Off {
            return Look::Fine;
        }
        let doubted = self.warden.doubted_since().is_some_and(|since| self.verified <= since);
        if doubted && let Some(reason) = self.is_given_up() {
            return Look::Close(Discard::planned(reason));
        }
        let Ok(link) = self.link() else {
            return Look::Close(Discard::planned(CloseReason::Panicked));
        };
        match self.peek(&link) {
            Look::Fine if self.wants_ping(&link, now) => Look::AskServer,
            Look::Fine if doubted && !matches!(link, Link::InProcess) => Look::Doubted,
            Look::Close(discard) => Look::Close(self.with_last_words(discard)),
            look => look,
        }
    }

    /// A ping timed out while this one lay idle and nothing has proven it since; or it
    /// leads to a server that takes no writes.
    #[cold]
    fn is_given_up(&self) -> Option<CloseReason> {
        let silent = self.warden.suspected_since();
        if silent.is_some_and(|since| self.verified <= since && self.idle_since <= since) {
            return Some(CloseReason::Condemned);
        }
        let shunned = self.warden.shunned_since().is_some_and(|since| self.birth <= since);
        shunned.then_some(CloseReason::ReadOnly)
    }

    fn wants_ping(&self, link: &Link<'_>, now: Instant) -> bool {
        let fresh = self.never_out && !lifetime::idled(self.idle_since, Some(FRESH), now);
        let config = self.warden.config();
        let always = config.validation == Validation::AlwaysPing;
        if matches!(link, Link::InProcess) {
            return always && !fresh;
        }
        let idle_for_long = lifetime::idled(self.idle_since, config.ping_after, now);
        let hidden = matches!(link, Link::Hidden);
        idle_for_long || !fresh && (hidden || always)
    }

    #[inline]
    pub(super) fn link(&self) -> Result<Link<'_>, Panicked> {
        match &self.parts {
            Some(parts) => parts.link(&self.warden),
            None => Ok(Link::Hidden),
        }
    }

    /// Asks the kernel about the socket.
    fn peek(&self, link: &Link<'_>) -> Look {
        let Some(parts) = &self.parts else {
            return Look::Close(Discard::planned(CloseReason::Broken));
        };
        let Link::Socket(socket) = link else { return Look::Fine };
        self.warden.totals().count_peek();
        let mut buffer = PeekBuffer::new();
        match liveness::peek(*socket, &mut buffer) {
            Verdict::Quiet => Look::Fine,
            verdict => judge(&self.warden, parts, verdict, buffer.bytes()),
        }
    }

    /// Adds what the server said before it ended the connection, if that takes the
    /// driver to read.
    #[cold]
    fn with_last_words(&mut self, discard: Discard) -> Discard {
        if discard.words.is_some() || !discard.reason.peer_has_ended_it() {
            return discard;
        }
        let Some(parts) = &mut self.parts else { return discard };
        let (connection, side) = (&mut parts.connection, &mut parts.side);
        let words = self.warden.ask(|driver| driver.last_words(connection, side)).ok().flatten();
        words.map_or(discard, Words::into_discard)
    }

    /// Pings; by the deadline it is answered or the connection is to be closed.
    ///
    /// Blocks on the server for at most the deadline. `patience_is_full` says
    /// that the deadline is the configured one, so that silence means something.
    pub(crate) fn ping(
        &mut self,
        deadline: Instant,
        patience_is_full: bool,
    ) -> Result<(), Discard> {
        self.warden.totals().count_ping();
        let began = Instant::now();
        let watch = self.socket_copy().map(|socket| watchdog::cut_at(deadline, socket));
        let answer = self.fenced_ping(deadline);
        drop(watch);
        let now = Instant::now();
        match answer {
            // At the deadline its socket was shut down, whatever it has answered.
            Ok(Ok(true)) if now < deadline => {
                self.verified = now;
                Ok(())
            }
            Ok(Ok(false)) if now < deadline => {
                self.warden.doubt(began);
                Err(Discard::planned(CloseReason::ReadOnly))
            }
            Err(_panicked) => {
                self.warden.totals().count_panic();
                Err(Discard::planned(CloseReason::Panicked))
            }
            Ok(Err(error)) if now < deadline => {
                let warden = &*self.warden;
                let words = fence(|| warden.driver().words_of(&error)).ok().flatten();
                let said = || fence(|| error.to_string()).unwrap_or_default();
                let text = || Words::new("", said(), CloseReason::PingFailed);
                let found = self.with_last_words(Discard::planned(CloseReason::ServerClosed)).words;
                Err(words.or(found).unwrap_or_else(text).into_discard())
            }
            Ok(_late) => {
                if patience_is_full {
                    self.warden.suspect(began);
                }
                Err(Discard::planned(CloseReason::PingTimeout))
            }
        }
    }

    /// Whether the server is what the pool wants; an error if it does not answer.
    fn fenced_ping(&mut self, deadline: Instant) -> Result<Result<bool, BoxError>, Panicked> {
        let warden = Arc::clone(&self.warden);
        let parts = self.parts.as_mut().expect("bug: a closed connection was pinged");
        let (connection, side) = (&mut parts.connection, &mut parts.side);
        fence(|| match warden.config().role {
            Role::Any => warden.driver().ping(connection, side, deadline).map(|()| true),
            Role::Writable => warden.driver().is_writable(connection, side, deadline),
        })
    }

    /// Asks the server, whatever role the pool wants, whether it takes writes; false
    /// only if it says that it does not. Blocks on it for at most `ping_timeout`.
    pub(crate) fn takes_writes(&mut self) -> bool {
        let deadline = clock::after(Instant::now(), self.warden.config().ping_timeout);
        let watch = self.socket_copy().map(|socket| watchdog::cut_at(deadline, socket));
        let warden = Arc::clone(&self.warden);
        let parts = self.parts.as_mut().expect("bug: a closed connection was asked");
        let (connection, side) = (&mut parts.connection, &mut parts.side);
        let answer = warden.ask(|driver| driver.is_writable(connection, side, deadline));
        drop(watch);
        !matches!(answer, Ok(Ok(false)))
    }

    /// Tells whether a ping ends at its deadline on the caller's own thread.
    pub(crate) fn ping_is_bounded(&self) -> bool {
        let bounded = || self.warden.ask(D::ping_is_bounded).unwrap_or(false);
        self.warden.config().role == Role::Any && bounded() || !self.is_hidden()
    }

    /// How long a ping may take: the knob, cut off at the caller's deadline.
    pub(crate) fn ping_deadline(&self, now: Instant, caller: Instant) -> (Instant, bool) {
        let full = clock::after(now, self.warden.config().ping_timeout);
        if full <= caller { (full, true) } else { (caller, false) }
    }

    /// Decides at check-in whether the connection may be kept; no I/O.
    #[inline]
    pub(crate) fn keep(&mut self, now: Instant) -> Result<Kept, Discard> {
        self.holder.check_in();
        if self.release_brake() == Parting::Cut {
            return Err(Discard::busy(CloseReason::StatementTimeout));
        }
        if self.is_too_old(now) {
            return Err(Discard::planned(CloseReason::MaxLifetime));
        }
        if self.is_retired() {
            return Err(Discard::planned(CloseReason::Retired));
        }
        if self.warden.budget().is_over() && self.leave_if_surplus() {
            return Err(Discard::planned(CloseReason::Surplus));
        }
        let (warden, handling) = (&*self.warden, self.handling);
        let parts = self.parts.as_mut().expect("bug: a closed connection was checked in");
        let (connection, side) = (&mut parts.connection, &mut parts.side);
        let reset = warden.config().reset;
        let state = warden.ask(|driver| match driver.is_broken(connection, side) {
            true => Err(CloseReason::Broken),
            false => Ok(driver.leftovers(connection, side, handling, reset)),
        });
        match state.unwrap_or(Err(CloseReason::Panicked)) {
            Ok(Leftovers::None) if !self.shaken => {
                self.now_idle(now);
                Ok(Kept::Clean)
            }
            Ok(Leftovers::None | Leftovers::Some) => Ok(Kept::Soiled),
            Ok(Leftovers::Unanswered) => Err(self.autopsy(Discard::busy(CloseReason::Dirty))),
            Err(reason) => Err(self.autopsy(Discard::planned(reason))),
        }
    }

    #[inline]
    fn now_idle(&mut self, now: Instant) {
        self.idle_since = now;
        self.never_out = false;
        self.handling = Handling::Untouched;
    }

    /// Cleans a connection that was kept but is soiled. What cannot be cleaned
    /// within `ping_timeout` is to be closed.
    ///
    /// Blocks on the server until then at most, if it has a socket.
    pub(crate) fn clean(&mut self) -> Result<(), Discard> {
        let warden = Arc::clone(&self.warden);
        let deadline = clock::after(Instant::now(), warden.config().ping_timeout);
        if self.shaken && !self.has_settled(deadline) {
            return Err(Discard::busy(CloseReason::Dirty));
        }
        let watch = self.socket_copy().map(|socket| watchdog::cut_at(deadline, socket));
        let outcome = self.wash(deadline);
        drop(watch);
        let now = Instant::now();
        let is_clean = match outcome {
            Ok(Ok(cleaned)) => {
                warden.totals().count_reset();
                if cleaned.rolled_back {
                    let site = self.holder.site();
                    warden.journal().rolled_back(warden.totals(), self.id, &site, now);
                }
                true
            }
            Ok(Err(_)) | Err(_) => false,
        };
        let finding = Discard::busy(CloseReason::Dirty);
        if now >= deadline {
            // Its socket was shut down: the poll flags would confirm an end by themselves.
            return Err(finding);
        }
        if !is_clean {
            return Err(self.autopsy(finding));
        }
        // An answer is as good as a ping's.
        self.verified = now;
        self.calm_down();
        self.now_idle(now);
        Ok(())
    }

    /// Resets the session. After a request to cancel there may be nothing to reset,
    /// and one answer more is waited for: should the server have kept anything of the
    /// request, this is what it hits.
    fn wash(&mut self, deadline: Instant) -> Result<Result<Cleaned, BoxError>, Panicked> {
        let (handling, shaken) = (self.handling, self.shaken);
        let warden = Arc::clone(&self.warden);
        let parts = self.parts.as_mut().expect("bug: a closed connection was cleaned");
        let (connection, side) = (&mut parts.connection, &mut parts.side);
        let reset = warden.config().reset;
        warden.ask(|driver| {
            let is_clean =
                shaken && driver.leftovers(connection, side, handling, reset) == Leftovers::None;
            let cleaned = match is_clean {
                true => Cleaned::default(),
                false => driver.reset(connection, side, handling, reset)?,
            };
            if shaken {
                driver.ping(connection, side, deadline)?;
            }
            Ok(cleaned)
        })
    }

    /// Tells whether this thread may wait for a reset, and its end is bounded.
    pub(crate) fn may_clean_here(&self) -> bool {
        !self.is_hidden() && self.warden.ask(D::may_block_here).unwrap_or(false)
    }
}

/// What a connection that is kept still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing.
    Clean,
    /// A reset.
    Soiled,
}

/// A connection just opened needs no ping, whatever the policy.
const FRESH: std::time::Duration = std::time::Duration::from_secs(1);

#[cold]
pub(super) fn judge<D: Driver>(
    warden: &Warden<D>,
    parts: &Parts<D>,
    verdict: Verdict,
    bytes: &[u8],
) -> Look {
    let words = || warden.ask(|driver| driver.read_words(bytes)).ok().flatten();
    match verdict {
        Verdict::Quiet => Look::Fine,
        Verdict::Closed(_) => {
            let silent = || Discard::planned(CloseReason::ServerClosed);
            Look::Close(words().map_or_else(silent, Words::into_discard))
        }
        Verdict::Failed(libc::ETIMEDOUT) => {
            Look::Close(Discard::planned(CloseReason::NetworkTimeout))
        }
        Verdict::Failed(_) => Look::Close(Discard::planned(CloseReason::ConnectionReset)),
        Verdict::Unsolicited(_) => {
            let decision = warden.ask(|driver| driver.unsolicited(&parts.side, bytes));
            match decision.unwrap_or(Unsolicited::Discard) {
                Unsolicited::Keep => Look::Fine,
                Unsolicited::Ping => Look::AskServer,
                // The words may be there a moment before the end that they announce.
                Unsolicited::Discard => {
                    let silent = || Discard::planned(CloseReason::Unsolicited);
                    Look::Close(words().map_or_else(silent, Words::into_discard))
                }
            }
        }
    }
}
