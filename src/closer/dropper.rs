//! Drops driver connections on a thread that the closer can leave behind.
//!
//! Not every drop that blocks ends with its socket: the `postgres` driver waits for
//! ever for the reader of rows that a borrower forgot (`mem::forget`).

use crate::fence::drop_fenced;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::time::Duration;

/// How much longer than its bound, at which its socket is shut down, a drop may take
/// before it is left behind.
const PATIENCE: Duration = Duration::from_millis(100);

/// The thread that drops, while there is one.
#[derive(Default)]
pub(super) struct Dropper {
    thread: Option<Thread>,
}

struct Thread {
    jobs: Sender<Box<dyn Send>>,
    done: Receiver<()>,
}

impl Dropper {
    /// Drops a connection, whose socket is shut down when the bound is over.
    ///
    /// Blocks for little longer than the bound. What has not ended then goes on, or
    /// hangs, on the thread that is left behind with it.
    pub(super) fn drop_within(&mut self, connection: Box<dyn Send>, bound: Duration) {
        let Some(thread) = self.thread.take().or_else(Thread::start) else {
            let _ = drop_fenced(connection);
            return;
        };
        if let Err(unsent) = thread.jobs.send(connection) {
            let _ = drop_fenced(unsent.into_inner());
        } else if thread.done.recv_timeout(bound + PATIENCE).is_ok() {
            self.thread = Some(thread);
        }
    }
}

impl Thread {
    fn start() -> Option<Thread> {
        let (jobs, incoming) = bounded::<Box<dyn Send>>(1);
        let (report, done) = bounded(1);
        let work = move || {
            for connection in incoming {
                let _ = drop_fenced(connection);
                // Left behind: nobody listens any more.
                if report.send(()).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("poolwarden-drop".into()).spawn(work).ok()?;
        Some(Thread { jobs, done })
    }
}
