//! The load: a few clients that read, and what the keys add.

use super::activity::Activity;
use super::server::Server;
use poolwarden::Pool;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many clients there are for each two connections: enough to see waiters.
const CLIENTS_FOR_TWO: u32 = 3;

/// Between two queries of one client: at most ten queries a second for each.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a client holds its connection.
const HELD: Duration = Duration::from_millis(40);

/// How long the key for an exhausted pool holds all connections.
const EXHAUSTED: Duration = Duration::from_secs(3);

/// How long the key for a connection that is held too long holds it.
const HELD_TOO_LONG: Duration = Duration::from_secs(4);

/// The load on one pool; it ends when this is dropped.
pub(super) struct Load<D: Server> {
    pool: Pool<D>,
    /// Ends sessions: outside of the watched pool.
    control: Pool<D>,
    activity: Arc<Activity>,
    stopped: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl<D: Server> Load<D> {
    pub(super) fn start(pool: &Pool<D>, control: Pool<D>, activity: &Arc<Activity>) -> Load<D> {
        let stopped = Arc::new(AtomicBool::new(false));
        let count = (pool.snapshot().levels.max_size * CLIENTS_FOR_TWO).div_ceil(2);
        let clients = (1..=count).filter_map(|number| {
            let (pool, activity) = (pool.clone(), Arc::clone(activity));
            let stopped = Arc::clone(&stopped);
            let client = move || read_until_stopped(&pool, &activity, &stopped);
            thread::Builder::new().name(format!("client {number}")).spawn(client).ok()
        });
        let clients = clients.collect();
        Load { pool: pool.clone(), control, activity: Arc::clone(activity), stopped, clients }
    }

    /// Ends every session that a client has seen; on a thread of its own.
    pub(super) fn terminate_sessions(&self) {
        let (control, activity) = (self.control.clone(), Arc::clone(&self.activity));
        let work = move || {
            let sessions = activity.take_sessions();
            let ended = control.get().map(|mut guard| {
                // A session may have ended by itself: that is no failure of the others.
                let each = sessions.iter().map(|session| D::terminate(&mut guard, *session));
                each.filter(Result::is_ok).count()
            });
            match ended {
                Ok(count) => activity.event(&format!("asked the server to end {count} sessions")),
                Err(error) => activity.event(&error.to_string()),
            }
        };
        self.aside("terminator", work);
    }

    /// Holds every connection for a few seconds.
    pub(super) fn exhaust(&self) {
        self.activity.event("taking all connections");
        for _ in 0..self.pool.snapshot().levels.max_size {
            self.hold("taker", EXHAUSTED);
        }
    }

    /// Holds one connection for longer than `held_warning`.
    pub(super) fn hold_too_long(&self) {
        self.activity.event("holding a connection for too long");
        self.hold("slow client", HELD_TOO_LONG);
    }

    fn hold(&self, name: &str, time: Duration) {
        let (pool, stopped) = (self.pool.clone(), Arc::clone(&self.stopped));
        let activity = Arc::clone(&self.activity);
        self.aside(name, move || match pool.get() {
            Ok(guard) => {
                sleep(time, &stopped);
                drop(guard);
            }
            Err(error) => activity.event(&error.to_string()),
        });
    }

    fn aside(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        let started = thread::Builder::new().name(name.to_owned()).spawn(work);
        if let Err(error) = started {
            self.activity.event(&format!("no thread: {error}"));
        }
    }
}

impl<D: Server> Drop for Load<D> {
    fn drop(&mut self) {
        self.stopped.store(true, Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn read_until_stopped<D: Server>(pool: &Pool<D>, activity: &Activity, stopped: &AtomicBool) {
    while !stopped.load(Relaxed) {
        let began = Instant::now();
        let got = pool.get();
        activity.waited(began.elapsed());
        match got {
            Ok(mut guard) => {
                match D::ask(&mut guard) {
                    Ok(session) => activity.session(session),
                    Err(text) => activity.event(&text),
                }
                sleep(HELD, stopped);
            }
            Err(error) => activity.event(&error.to_string()),
        }
        sleep(PAUSE, stopped);
    }
}

/// Sleeps, and wakes soon after the load has been stopped.
fn sleep(time: Duration, stopped: &AtomicBool) {
    let end = Instant::now() + time;
    while !stopped.load(Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
