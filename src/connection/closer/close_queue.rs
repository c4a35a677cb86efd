//! The closer: one thread of the process that drops driver connections, and releases
//! their permits when the server has confirmed the close.
//!
//! A drop may block (an unsent message to a frozen server), so each has a bound,
//! enforced by a deadline timer, or a thread of its own if there is no socket to bound
//! it by. One that hangs nevertheless is left behind on its thread. The closer never
//! waits for the FIN of one server (2 to 10 ms with PostgreSQL) before the next job:
//! our own duplicates of the descriptors are in one poll set. If the server never
//! confirms, the permit is released after the grace, and the connection is counted as
//! abandoned until the server does.

use super::close_job::CloseJob;
use super::closing_socket::Watched;
use super::dropper::Droppers;
use crate::sys::catch_panic::catch_panic;
use crate::sys::deadlines::LINGER;
use crate::sys::process::{DEPTH, PerProcess};
use crate::sys::sockets;
use crate::sys::stalled::{self, RETRY};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct CloseQueue {
    jobs: VecDeque<CloseJob>,
    /// The thread runs, or is being started.
    is_served: bool,
    /// The sending end of the thread's waker, while the thread runs, if it has one.
    waker: Option<Arc<UnixStream>>,
}

static QUEUE: PerProcess<Mutex<CloseQueue>> =
    PerProcess::new([const { Mutex::new(CloseQueue::new()) }; DEPTH]);

/// Gives a connection to the closer. Never blocks and never panics.
pub(crate) fn submit(job: CloseJob) {
    let must_start = {
        let mut queue = QUEUE.get().lock();
        queue.jobs.push_back(job);
        queue.claim()
    };
    if !must_start {
        wake();
    } else if start() {
        stalled::retry_later("closer", start_if_needed);
    }
}

/// Starts the thread if jobs need it; returns `true` if it cannot be started.
fn start_if_needed() -> bool {
    let must_start = {
        let mut queue = QUEUE.get().lock();
        !queue.jobs.is_empty() && queue.claim()
    };
    must_start && start()
}

/// Starts the thread, which the caller has claimed; returns `true` if it cannot be started.
fn start() -> bool {
    let (sender, receiver) = waker_pair().unzip();
    QUEUE.get().lock().waker = sender.map(Arc::new);
    let thread = std::thread::Builder::new().name("poolwarden-closer".into());
    let is_started = thread.spawn(move || Closer::new(receiver).run()).is_ok();
    if !is_started {
        let waker = QUEUE.get().lock().end();
        drop(waker);
    }
    !is_started
}

fn wake() {
    let waker = QUEUE.get().lock().waker.clone();
    // A full pipe needs no further byte to wake the thread.
    let _ = waker.map(|waker| (&*waker).write(&[1]));
}

impl CloseQueue {
    const fn new() -> CloseQueue {
        CloseQueue { jobs: VecDeque::new(), is_served: false, waker: None }
    }

    /// Returns `true` if the caller must start the thread: it does not run, and no other
    /// caller starts it.
    fn claim(&mut self) -> bool {
        !std::mem::replace(&mut self.is_served, true)
    }

    fn end(&mut self) -> Option<Arc<UnixStream>> {
        self.is_served = false;
        self.waker.take()
    }

    /// Ends the thread's service unless a job was submitted at the last moment.
    fn close(&mut self) -> bool {
        let idle = self.jobs.is_empty();
        if idle {
            let _ = self.end();
        }
        idle
    }

    /// Takes the first job that can begin; returns it and how many wait behind it.
    fn next(&mut self, can_begin: impl Fn(&CloseJob) -> bool) -> Option<(CloseJob, usize)> {
        let place = self.jobs.iter().position(can_begin)?;
        Some((self.jobs.remove(place)?, self.jobs.len()))
    }
}

/// Closing is what releases descriptors, so it must work without two for a waker: the
/// thread then looks for jobs periodically.
fn waker_pair() -> Option<(UnixStream, UnixStream)> {
    let (sender, receiver) = UnixStream::pair().ok()?;
    sender.set_nonblocking(true).ok()?;
    receiver.set_nonblocking(true).ok()?;
    Some((sender, receiver))
}

/// What the thread works on.
struct Closer {
    waker: Option<UnixStream>,
    droppers: Droppers,
    watched: Vec<Watched>,
    last_work: Instant,
}

impl Closer {
    fn new(waker: Option<UnixStream>) -> Closer {
        let (droppers, watched) = (Droppers::new(wake), Vec::new());
        Closer { waker, droppers, watched, last_work: Instant::now() }
    }

    fn run(&mut self) {
        loop {
            self.waker.iter().for_each(drain);
            let now = Instant::now();
            // Before jobs begin: they need the threads that have finished.
            let dropped = self.droppers.finished(now);
            self.watched.extend(dropped.into_iter().filter_map(|closing| closing.watch(now)));
            let longest = if self.begin_jobs() { RETRY } else { LINGER };
            let now = Instant::now();
            self.watched.retain_mut(|watched| !watched.is_over(now));
            if !self.watched.is_empty() || self.droppers.are_busy() {
                self.last_work = now;
            } else if now - self.last_work >= LINGER && QUEUE.get().lock().close() {
                return;
            }
            self.wait(longest, now);
        }
    }

    /// Begins what can begin; returns `true` if a job must be retried soon.
    fn begin_jobs(&mut self) -> bool {
        let mut postponed = Vec::new();
        loop {
            let now = Instant::now();
            let droppers = &self.droppers;
            let can_begin =
                |job: &CloseJob| !job.needs_dropper() || droppers.have_room(job.pool(), now);
            let Some((job, behind)) = QUEUE.get().lock().next(can_begin) else { break };
            self.last_work = now;
            let begun = catch_panic(|| job.run(behind, &mut self.droppers, submit));
            if let Ok(Err(job)) = begun {
                postponed.push(*job);
            }
        }
        let is_lacking = !postponed.is_empty();
        QUEUE.get().lock().jobs.extend(postponed);
        is_lacking
    }

    fn wait(&mut self, longest: Duration, now: Instant) {
        let looks = self.watched.iter().map(|watched| watched.next_look(now));
        let next = looks.chain(self.droppers.next_look(now)).min().unwrap_or(longest);
        let longest = if self.waker.is_some() { longest } else { RETRY };
        let timeout = next.min(longest).max(Duration::from_millis(1));
        if self.waker.is_none() && self.droppers.wait(timeout) {
            return;
        }
        let waker = self.waker.as_ref().map(AsFd::as_fd);
        let mut polled: Vec<_> = self.watched.iter_mut().filter(|one| one.is_polled()).collect();
        let ended = {
            let sockets: Vec<_> = polled.iter().map(|one| one.socket().as_fd()).collect();
            sockets::wait_ended(waker, &sockets, timeout)
        };
        polled.iter_mut().zip(ended).filter(|(_, ended)| *ended).for_each(|(one, _)| one.confirm());
    }
}

fn drain(waker: &UnixStream) {
    let mut bytes = [0u8; 64];
    let mut waker = waker;
    while matches!(waker.read(&mut bytes), Ok(n) if n > 0) {}
}

#[cfg(test)]
mod tests {
    use super::super::close_job::CloseMode;
    use super::*;

    #[test]
    fn a_job_submitted_as_the_thread_is_about_to_end_keeps_it_running() {
        let (waker, _sleeper) = UnixStream::pair().expect("a socket pair");
        let job = CloseJob {
            connection: Box::new(()),
            socket: None,
            permit: None,
            grace: Duration::ZERO,
            mode: CloseMode::Graceful,
        };
        let mut queue = CloseQueue {
            jobs: VecDeque::from([job]),
            is_served: true,
            waker: Some(Arc::new(waker)),
        };
        assert!(!queue.close(), "a job is left");
        assert!(
            queue.is_served && queue.waker.is_some(),
            "the next submission must not start a second thread"
        );
        queue.jobs.clear();
        assert!(queue.close());
        assert!(!queue.is_served && queue.waker.is_none(), "the next submission must start one");
        assert!(queue.claim() && !queue.claim(), "one caller starts it");
    }
}
