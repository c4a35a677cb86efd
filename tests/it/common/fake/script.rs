//! What the scripted driver does at each of its methods, and what it was asked.

use super::server::Server;
use crate::common::gate::Gate;
use poolwarden::{BoxError, ConnectFault};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A method of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    Connect,
    Ping,
    Link,
    IsBroken,
    Leftovers,
    Reset,
    Drop,
    Label,
    MayBlock,
    Words,
    Unsolicited,
}

/// What a method comes to.
#[derive(Clone, Debug)]
pub enum Act {
    Pass,
    /// An error; of this class if it is a connect.
    Fault(ConnectFault),
    /// An error whose text panics.
    Unreadable,
    Panic,
    /// Waits until the gate opens, then passes.
    Hang(Gate),
    Sleep(Duration),
    /// A ping that is answered, and then takes this long to come back.
    Dawdle(Duration),
    /// A drop that says goodbye and waits until the server has closed.
    Farewell,
}

impl Act {
    /// Does it, wherever nothing special is asked for.
    pub(super) fn play(self) -> Result<(), BoxError> {
        match self {
            Act::Pass | Act::Farewell | Act::Dawdle(_) => Ok(()),
            Act::Fault(fault) => Err(format!("a scripted fault: {fault:?}").into()),
            Act::Unreadable => Err(super::Unreadable.into()),
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
}

/// What is to come of one method, and what it was called for so far.
#[derive(Default)]
struct Line {
    next: VecDeque<Act>,
    then: Option<Rule>,
    calls: usize,
    /// When and on which thread; not kept for what is asked all the time.
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
        Script(Arc::new(Shared { server: Server::start(), lines, password }))
    }

    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// The next call comes to this; several in a row are kept in order.
    pub fn once(&self, at: At, act: Act) {
        self.lines().entry(at).or_default().next.push_back(act);
    }

    /// All calls without a line of their own come to this.
    pub fn always(&self, at: At, act: Act) {
        self.rule(at, move || act.clone());
    }

    /// A closure decides about all calls without a line of their own.
    pub fn rule(&self, at: At, rule: impl FnMut() -> Act + Send + 'static) {
        self.lines().entry(at).or_default().then = Some(Box::new(rule));
    }

    /// From now on everything works again.
    pub fn heal(&self) {
        for line in self.lines().values_mut() {
            line.next.clear();
            line.then = None;
        }
        self.server().thaw();
    }

    pub fn calls(&self, at: At) -> usize {
        self.lines().get(&at).map_or(0, |line| line.calls)
    }

    /// When each call began; kept for connects, pings, resets and drops.
    pub fn times(&self, at: At) -> Vec<Instant> {
        self.log(at, |(when, _)| *when)
    }

    /// On which thread each call ran; kept for connects, pings, resets and drops.
    pub fn threads(&self, at: At) -> Vec<String> {
        self.log(at, |(_, thread)| thread.clone())
    }

    pub fn set_password(&self, password: &str) {
        *self.0.password.lock().unwrap_or_else(PoisonError::into_inner) = password.to_owned();
    }

    pub(super) fn password(&self) -> String {
        self.0.password.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a call and says what it comes to.
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
