//! The one thread that closes: drops driver connections, and waits until the
//! server has let go of them before their permits go back.
//!
//! A drop may block (an unsent message to a frozen server), so each has a bound,
//! enforced by the watchdog, or a thread of its own if there is no socket to bound
//! it by. One that hangs all the same is left behind on its thread. Waiting for the
//! server's FIN (2 to 10 ms with PostgreSQL) is never done in line: our own duplicates
//! of the descriptors lie in one poll set. What a frozen server never confirms goes
//! back after the grace, and is counted as abandoned until it does.

mod dropper;
mod farewell;
mod stop;
mod watch;

pub(crate) use farewell::{Farewell, Manner};
pub(crate) use stop::Stop;

use crate::fence::fence;
use crate::watchdog::LINGER;
use dropper::Dropper;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use watch::Watched;

struct Desk {
    jobs: VecDeque<Farewell>,
    /// The pool-wide waker's sending end, while the thread runs.
    waker: Option<UnixStream>,
}

static DESK: Mutex<Desk> = Mutex::new(Desk { jobs: VecDeque::new(), waker: None });

/// Gives a connection to the closer. Never blocks and never panics.
pub(crate) fn submit(job: Farewell) {
    let mut desk = DESK.lock();
    desk.jobs.push_back(job);
    match &mut desk.waker {
        // A full pipe wakes as well as one more byte would.
        Some(waker) => drop(waker.write(&[1])),
        None => desk.waker = start(),
    }
}

/// Starts the thread. Without one the jobs stay queued for the next submission.
fn start() -> Option<UnixStream> {
    let (sender, receiver) = UnixStream::pair().ok()?;
    sender.set_nonblocking(true).ok()?;
    receiver.set_nonblocking(true).ok()?;
    let thread = std::thread::Builder::new().name("poolwarden-closer".into());
    thread.spawn(move || run(&receiver)).ok()?;
    Some(sender)
}

fn run(waker: &UnixStream) {
    let mut watched: Vec<Watched> = Vec::new();
    let mut dropper = Dropper::default();
    let mut last_work = Instant::now();
    loop {
        drain(waker);
        while let Some((job, behind)) = next_job() {
            watched.extend(fence(|| job.say(behind, &mut dropper)).unwrap_or(None));
            last_work = Instant::now();
        }
        let now = Instant::now();
        watched.retain_mut(|watched| !watched.is_over(now));
        if !watched.is_empty() {
            last_work = now;
        } else if now - last_work >= LINGER && close_desk() {
            return;
        }
        wait(waker, &mut watched, now);
    }
}

fn drain(waker: &UnixStream) {
    let mut bytes = [0u8; 64];
    let mut waker = waker;
    while matches!(waker.read(&mut bytes), Ok(n) if n > 0) {}
}

/// The next job, and how many wait behind it.
fn next_job() -> Option<(Farewell, usize)> {
    let mut desk = DESK.lock();
    let job = desk.jobs.pop_front()?;
    Some((job, desk.jobs.len()))
}

/// Ends the thread's service unless a job came in the last moment.
fn close_desk() -> bool {
    let mut desk = DESK.lock();
    let idle = desk.jobs.is_empty();
    if idle {
        desk.waker = None;
    }
    idle
}

fn wait(waker: &UnixStream, watched: &mut [Watched], now: Instant) {
    let timeout = watched.iter().map(|watched| watched.next_look(now)).min();
    let timeout = timeout.unwrap_or(LINGER).max(Duration::from_millis(1));
    let mut polled: Vec<&mut Watched> = watched.iter_mut().filter(|w| w.is_polled()).collect();
    let ended = {
        let sockets: Vec<_> = polled.iter().map(|watched| watched.socket().as_fd()).collect();
        crate::liveness::wait_ended(waker.as_fd(), &sockets, timeout)
    };
    for (watched, ended) in polled.iter_mut().zip(ended) {
        if ended {
            watched.confirm();
        }
    }
}
