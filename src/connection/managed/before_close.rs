//! The hook `before_close`: it runs on a thread of its own, which then hands the
//! connection to the closer.

use super::managed::Managed;
use super::parts::Parts;
use crate::connection::closer;
use crate::connection::closer::{CloseJob, CloseMode};
use crate::connection::hooks::CloseHook;
use crate::connection::permits::Permit;
use crate::connection::shared::Shared;
use crate::driver::{Driver, Session};
use crate::sys::catch_panic::catch_panic;
use crate::sys::sockets::Descriptor;
use crate::sys::spawn::spawn_with;
use crate::sys::{clock, deadlines};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the hook's thread may continue after its socket was shut down, before the
/// permit is released without it.
const LEAVE_AFTER: Duration = Duration::from_millis(100);

impl<D: Driver> Managed<D> {
    /// Returns the hook, if this close is one that it is called for: the pool or its user
    /// has decided on it, and nothing is known against the connection.
    fn hook_of_close(&self) -> Option<Arc<CloseHook<D::Connection>>> {
        let hook = self.shared.hooks().before_close()?;
        let cause = self.cause.as_ref();
        let is_planned = cause.is_none_or(|cause| cause.reason.is_planned() && !cause.busy);
        is_planned.then(|| Arc::clone(hook))
    }

    /// Has the hook called and the connection closed on another thread; returns `false` if
    /// the connection is to be closed without that.
    pub(super) fn close_after_hook(&mut self) -> bool {
        let Some(hook) = self.hook_of_close() else { return false };
        let Some(parts) = self.parts.take() else { return false };
        let shared = Arc::clone(&self.shared);
        let socket = parts.socket_copy(&shared);
        let owed = Mutex::new(Some((socket, self.permit.take())));
        let closing = Arc::new(Closing { shared, owed });
        let work = {
            let closing = Arc::clone(&closing);
            move |parts| closing.run(&*hook, parts)
        };
        if let Err(parts) = spawn_with("poolwarden-before-close", parts, work) {
            // There is no thread now; the closer waits for one.
            self.permit = closing.owed.lock().take().and_then(|(_, permit)| permit);
            self.parts = Some(parts);
            return false;
        }
        true
    }
}

/// A connection whose hook runs.
struct Closing<D: Driver> {
    shared: Arc<Shared<D>>,
    /// Law: taken by the one that hands the permit to the closer: the hook's thread, or
    /// the deadline of a hook that does not return.
    owed: Mutex<Option<(Option<Descriptor>, Option<Permit>)>>,
}

impl<D: Driver> Closing<D> {
    /// Calls the hook, for at most `close_grace`, then closes the connection.
    fn run(self: &Arc<Self>, hook: &CloseHook<D::Connection>, mut parts: Parts<D>) {
        let deadline = clock::after(Instant::now(), self.shared.config().close_grace);
        let socket = parts.socket_copy(&self.shared);
        let abort = socket.map(|socket| deadlines::abort_at(deadline, socket));
        let closing = Arc::clone(self);
        let give_up = move || closing.submit(None, true);
        let leave = deadlines::arm(deadline + LEAVE_AFTER, Arc::new(give_up));
        if catch_panic(|| hook(parts.session.connection_mut())).is_err() {
            self.shared.totals().count_panic();
        }
        drop((abort, leave));
        let owed = parts.give_up(&self.shared);
        let is_late = Instant::now() >= deadline;
        self.submit(Some(parts), owed || is_late);
    }

    /// Hands the connection to the closer, or only its permit if the hook still has it.
    fn submit(&self, parts: Option<Parts<D>>, abort: bool) -> Option<Instant> {
        let owed = self.owed.lock().take();
        let (socket, permit) = owed.unwrap_or_default();
        let grace = self.shared.config().close_grace;
        let mode = if abort { CloseMode::Abort } else { CloseMode::Graceful };
        closer::submit(CloseJob { connection: Box::new(parts), socket, permit, grace, mode });
        None
    }
}
