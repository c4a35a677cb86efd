//! Drops driver connections on threads that the closer can leave behind.
//!
//! Shutting the socket down does not end every drop that blocks: the `postgres` driver
//! waits forever for the reader of rows that a borrower leaked (`mem::forget`).

use super::closing_socket::Closing;
use crate::sys::catch_panic::drop_catching;
use crate::sys::deadlines::{self, Watch};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::time::{Duration, Instant};

/// How much longer than its bound, at which its socket is shut down, a drop may take
/// before its thread is left behind.
const LEAVE_AFTER: Duration = Duration::from_millis(100);

/// How many threads drop at a time.
const THREADS: usize = 4;

/// How many of them one pool may have: its slow drops delay no other pool's.
const OF_ONE_POOL: usize = THREADS - 1;

/// How long a drop may take before another thread helps; a healthy one takes less.
const HELP_AFTER: Duration = Duration::from_millis(2);

/// The threads that drop connections, and what they are dropping.
pub(super) struct Droppers {
    idle: Vec<Thread>,
    busy: Vec<Busy>,
    /// Wakes the closer when a drop has ended.
    wake: fn(),
}

struct Thread {
    jobs: Sender<Box<dyn Send>>,
    done: Receiver<()>,
}

/// One drop under way.
struct Busy {
    thread: Thread,
    closing: Closing,
    began: Instant,
    /// The end of its bound.
    deadline: Instant,
    watch: Watch,
    is_done: bool,
}

impl Droppers {
    pub(super) fn new(wake: fn()) -> Droppers {
        Droppers { idle: Vec::new(), busy: Vec::new(), wake }
    }

    /// Returns `true` if a drop of this pool may begin now.
    pub(super) fn have_room(&self, pool: usize, now: Instant) -> bool {
        let of_pool = self.busy.iter().filter(|busy| busy.closing.pool == pool).count();
        let helps = self.busy.iter().all(|busy| now >= busy.began + HELP_AFTER);
        of_pool < OF_ONE_POOL && (!self.idle.is_empty() || self.busy.len() < THREADS && helps)
    }

    /// Begins to drop a connection, whose socket is shut down at the end of the bound.
    ///
    /// Does not block. If no thread can be started, returns both.
    pub(super) fn begin(
        &mut self,
        connection: Box<dyn Send>,
        closing: Closing,
        bound: Duration,
    ) -> Result<(), (Box<dyn Send>, Closing)> {
        let Some(thread) = self.idle.pop().or_else(|| Thread::start(self.wake)) else {
            return Err((connection, closing));
        };
        let began = Instant::now();
        let deadline = began + bound;
        let watch = deadlines::abort_at(deadline, closing.socket.clone());
        if let Err(unsent) = thread.jobs.send(connection) {
            let _ = drop_catching(unsent.into_inner());
        }
        self.busy.push(Busy { thread, closing, began, deadline, watch, is_done: false });
        Ok(())
    }

    /// Returns what has been dropped, or takes so long that its thread is left behind.
    pub(super) fn finished(&mut self, now: Instant) -> Vec<Closing> {
        let is_over = |busy: &mut Busy| {
            busy.is_done |= busy.thread.done.try_recv().is_ok();
            busy.is_done || now >= busy.deadline + LEAVE_AFTER
        };
        let over: Vec<Busy> = self.busy.extract_if(.., is_over).collect();
        over.into_iter().map(|busy| self.finish(busy, now)).collect()
    }

    fn finish(&mut self, busy: Busy, now: Instant) -> Closing {
        let Busy { thread, mut closing, deadline, watch, is_done, .. } = busy;
        drop(watch);
        // From the deadline on the timer's callback may be running: then the socket counts
        // as aborted, and the poll flags that the abort sets are not taken for the peer's FIN.
        if now >= deadline {
            closing.abort();
        }
        if is_done {
            self.idle.push(thread);
        }
        closing
    }

    /// Returns how long until a drop is overdue, or may be helped.
    pub(super) fn next_look(&self, now: Instant) -> Option<Duration> {
        let look = |busy: &Busy| match busy.began + HELP_AFTER {
            help if now < help => help,
            _ => busy.deadline + LEAVE_AFTER,
        };
        let next = self.busy.iter().map(look).min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Waits for the oldest drop; for a closer that nothing can wake. Returns `false` if
    /// there is none.
    pub(super) fn wait(&mut self, timeout: Duration) -> bool {
        let Some(oldest) = self.busy.first_mut() else { return false };
        oldest.is_done |= oldest.thread.done.recv_timeout(timeout).is_ok();
        true
    }

    pub(super) fn are_busy(&self) -> bool {
        !self.busy.is_empty()
    }
}

impl Thread {
    fn start(wake: fn()) -> Option<Thread> {
        let (jobs, incoming) = bounded::<Box<dyn Send>>(1);
        let (report, done) = bounded(1);
        let work = move || {
            for connection in incoming {
                let _ = drop_catching(connection);
                // The closer has left this thread behind.
                if report.send(()).is_err() {
                    return;
                }
                wake();
            }
        };
        std::thread::Builder::new().name("poolwarden-drop".into()).spawn(work).ok()?;
        Some(Thread { jobs, done })
    }
}
