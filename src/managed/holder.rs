//! Who holds which connection: for the person who reads a time-out at night.
//!
//! Written at every check-out with three relaxed stores, read only when an error
//! is made. Three loads of one holder may mix two check-outs: it is a hint.

use parking_lot::Mutex;
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// The instant from which stored times count.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Who has one connection checked out, since when, and from where.
pub(crate) struct Holder {
    connection: u64,
    /// Nanoseconds since the epoch, plus one; zero while the connection is idle.
    since: AtomicU64,
    thread: AtomicU64,
    site: AtomicU64,
}

impl Holder {
    pub(crate) fn new(connection: u64) -> Holder {
        LazyLock::force(&EPOCH);
        Holder {
            connection,
            since: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            site: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn check_out(&self, site: &'static Location<'static>, now: Instant) {
        let since = now.saturating_duration_since(*EPOCH).as_nanos();
        let (thread, site) = here(site);
        self.site.store(site, Relaxed);
        self.thread.store(thread, Relaxed);
        self.since.store(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Relaxed);
    }

    #[inline]
    pub(crate) fn check_in(&self) {
        self.since.store(0, Relaxed);
    }

    /// Where it was checked out last.
    pub(crate) fn site(&self) -> Site {
        Site(site_of(self.site.load(Relaxed)))
    }

    pub(crate) fn is_out(&self) -> bool {
        self.since.load(Relaxed) != 0
    }
}

/// A place in a program, for a message.
pub(crate) struct Site(Option<&'static Location<'static>>);

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(site) => write!(f, "{}:{}", site.file(), site.line()),
            None => f.write_str("a place unknown"),
        }
    }
}

/// The call sites of check-outs, each kept once: a place in a program.
static SITES: Mutex<Vec<&'static Location<'static>>> = Mutex::new(Vec::new());

/// A thread's number, and the call site it used last with that site's number.
#[derive(Clone, Copy)]
struct Here {
    thread: u64,
    last: Option<(&'static Location<'static>, u64)>,
}

thread_local!(static HERE: Cell<Here> = const { Cell::new(Here { thread: 0, last: None }) });

/// The numbers of this thread and of this call site; no lock for the site that
/// the thread used last.
#[inline]
fn here(site: &'static Location<'static>) -> (u64, u64) {
    let numbers = HERE.try_with(|cell| {
        let here = cell.get();
        match here.last {
            Some((last, number)) if std::ptr::eq(last, site) => (here.thread, number),
            _ => learn(cell, here, site),
        }
    });
    // A destructor of another thread-local may check out while ours is gone.
    numbers.unwrap_or((u64::MAX, u64::MAX))
}

#[cold]
fn learn(cell: &Cell<Here>, here: Here, site: &'static Location<'static>) -> (u64, u64) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let thread = if here.thread == 0 { NEXT.fetch_add(1, Relaxed) } else { here.thread };
    let mut sites = SITES.lock();
    let known = sites.iter().position(|known| *known == site);
    let number = known.unwrap_or_else(|| {
        sites.push(site);
        sites.len() - 1
    });
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    cell.set(Here { thread, last: Some((site, number)) });
    (thread, number)
}

fn this_thread() -> Option<u64> {
    HERE.try_with(|cell| cell.get().thread).ok().filter(|thread| *thread != 0)
}

fn site_of(number: u64) -> Option<&'static Location<'static>> {
    SITES.lock().get(usize::try_from(number).ok()?).copied()
}

/// All open connections of one pool or manager, by their holders.
#[derive(Default)]
pub(crate) struct Roster {
    /// Touched when a connection is opened or closed, and for an error's text.
    holders: Mutex<Vec<Arc<Holder>>>,
}

impl Roster {
    pub(crate) fn enrol(&self, holder: &Arc<Holder>) {
        self.holders.lock().push(Arc::clone(holder));
    }

    pub(crate) fn dismiss(&self, holder: &Arc<Holder>) {
        let mut holders = self.holders.lock();
        if let Some(place) = holders.iter().position(|other| Arc::ptr_eq(other, holder)) {
            holders.swap_remove(place);
        }
    }

    /// Describes who holds connections, the longest first.
    pub(crate) fn report(&self, now: Instant) -> Holders {
        let here = this_thread();
        let elapsed = now.saturating_duration_since(*EPOCH).as_nanos();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let mut out: Vec<Held> = Vec::new();
        for holder in self.holders.lock().iter() {
            let since = holder.since.load(Relaxed);
            if since == 0 {
                continue;
            }
            out.push(Held {
                connection: holder.connection,
                held: Duration::from_nanos(elapsed.saturating_sub(since - 1)),
                by_this_thread: here == Some(holder.thread.load(Relaxed)),
                site: site_of(holder.site.load(Relaxed)),
            });
        }
        out.sort_by_key(|held| std::cmp::Reverse(held.held));
        Holders(out)
    }
}

/// Who holds connections at one moment.
pub(crate) struct Holders(Vec<Held>);

struct Held {
    connection: u64,
    held: Duration,
    by_this_thread: bool,
    site: Option<&'static Location<'static>>,
}

/// How many holders a message names; the rest is counted.
const NAMED: usize = 5;

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.0.iter().filter(|held| held.by_this_thread).count();
        if own > 0 {
            write!(
                f,
                "; this very thread holds {own} of them and waits for another: a nested \
                 check-out can block itself for ever"
            )?;
        }
        for (place, held) in self.0.iter().take(NAMED).enumerate() {
            let lead = if place == 0 { "; held: " } else { ", " };
            write!(f, "{lead}connection {} for {:.1?}", held.connection, held.held)?;
            if let Some(site) = held.site {
                write!(f, " from {}:{}", site.file(), site.line())?;
            }
            if held.by_this_thread {
                f.write_str(" (this thread)")?;
            }
        }
        if self.0.len() > NAMED {
            write!(f, " and {} more", self.0.len() - NAMED)?;
        }
        Ok(())
    }
}
