//! The script: what each method of the driver does, and how often it was called.

use super::server::Server;
use crate::common::gate::Gate;
use poolwarden::{BoxError, FaultClass};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A method of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    Connect,
    Ping,
    SocketAccess,
    IsBroken,
    SessionState,
    Reset,
    Drop,
    Label,
    MayBlock,
    Usable,
    /// A fault is the answer that the server takes no writes.
    IsWritable,
    /// A fault is the answer that the server is no standby.
    IsStandby,
    ServerMessage,
    Unsolicited,
    Limits,
    /// Only after [`Script::set_cancellable`].
    Cancel,
}

/// The outcome of a method.
#[derive(Clone, Debug)]
pub enum Act {
    Pass,
    /// An error; with this fault if it is a connect.
    Fault(FaultClass),
    /// An error whose text panics.
    Unprintable,
    Panic,
    /// Waits until the gate opens, then passes.
    Hang(Gate),
    Sleep(Duration),
    /// A ping that gets its reply, and then takes this long to return.
    ReturnLate(Duration),
    /// A reset that gets its reply, whereupon the server freezes; it returns when the
    /// pool has shut the socket down.
    FreezeAfterReply,
    /// A connect that names its socket afterwards only.
    SkipWatch,
    /// A drop that sends a terminate message and waits until the server has closed.
    GracefulClose,
}

impl Act {
    /// Plays the action where the method needs no special handling of it.
    pub(super) fn play(self) -> Result<(), BoxError> {
        match self {
            Act::Pass
            | Act::GracefulClose
            | Act::ReturnLate(_)
            | Act::SkipWatch
            | Act::FreezeAfterReply => Ok(()),
            Act::Fault(fault) => Err(format!("a scripted fault: {fault:?}").into()),
            Act::Unprintable => Err(super::Unprintable.into()),
            Act::Panic => panic!("scripted: the driver panics"),
            Act::Hang(gate) => {
                gate.pass();
                Ok(())
            }
            Act::Sleep(time) => {
                thread::sleep(time);
                Ok(())
            }
        }
    }
}

/// The handle of a scripted driver; clones are the same script.
#[derive(Clone)]
pub struct Script(Arc<Shared>);

struct Shared {
    server: Server,
    lines: Mutex<HashMap<At, Line>>,
    password: Mutex<String>,
    cancellable: AtomicBool,
}

/// The scripted actions of one method, and its calls so far.
#[derive(Default)]
struct Line {
    next: VecDeque<Act>,
    then: Option<Rule>,
    calls: usize,
    /// When and on which thread; not kept for methods that are called all the time.
    log: Vec<(Instant, String)>,
}

type Rule = Box<dyn FnMut() -> Act + Send>;

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    pub(super) fn new() -> Script {
        let (lines, password) = (Mutex::default(), Mutex::default());
        let cancellable = AtomicBool::new(false);
        Script(Arc::new(Shared { server: Server::start(), lines, password, cancellable }))
    }

    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// Sets the action of the next call; several are used in order.
    pub fn once(&self, at: At, act: Act) {
        self.lines().entry(at).or_default().next.push_back(act);
    }

    /// Sets the action of all calls that have none from [`Script::once`].
    pub fn always(&self, at: At, act: Act) {
        self.rule(at, move || act.clone());
    }

    /// Sets a closure that decides the action of those calls.
    pub fn rule(&self, at: At, rule: impl FnMut() -> Act + Send + 'static) {
        self.lines().entry(at).or_default().then = Some(Box::new(rule));
    }

    /// Removes all actions and thaws the server: everything works from now on.
    pub fn clear(&self) {
        for line in self.lines().values_mut() {
            line.next.clear();
            line.then = None;
        }
        self.server().thaw();
    }

    pub fn calls(&self, at: At) -> usize {
        self.lines().get(&at).map_or(0, |line| line.calls)
    }

    /// Returns when each call began; kept for connects, pings, resets and drops.
    pub fn times(&self, at: At) -> Vec<Instant> {
        self.log(at, |(when, _)| *when)
    }

    /// Returns the thread of each call; kept for connects, pings, resets and drops.
    pub fn threads(&self, at: At) -> Vec<String> {
        self.log(at, |(_, thread)| thread.clone())
    }

    /// Makes statements cancellable by a request from now on.
    pub fn set_cancellable(&self) {
        self.0.cancellable.store(true, Relaxed);
    }

    pub(super) fn is_cancellable(&self) -> bool {
        self.0.cancellable.load(Relaxed)
    }

    pub fn set_password(&self, password: &str) {
        *self.0.password.lock().unwrap_or_else(PoisonError::into_inner) = password.to_owned();
    }

    pub(super) fn password(&self) -> String {
        self.0.password.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a call and returns its action.
    pub(super) fn act(&self, at: At) -> Act {
        let mut lines = self.lines();
        let line = lines.entry(at).or_default();
        line.calls += 1;
        if matches!(at, At::Connect | At::Ping | At::Reset | At::Drop) {
            let thread = thread::current().name().unwrap_or_default().to_owned();
            line.log.push((Instant::now(), thread));
        }
        let then = |then: &mut Option<Rule>| then.as_mut().map(|rule| rule());
        line.next.pop_front().or_else(|| then(&mut line.then)).unwrap_or(Act::Pass)
    }

    fn log<T>(&self, at: At, read: impl Fn(&(Instant, String)) -> T) -> Vec<T> {
        self.lines().get(&at).map_or_else(Vec::new, |line| line.log.iter().map(read).collect())
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<At, Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
