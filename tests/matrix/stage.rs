//! Brings a pool into a position, strikes, and compares with the rule.

use crate::cell::{Blow, Cell, Position};
use crate::grid::Shown;
use crate::products::Product;
use crate::rules::{self, CANCEL, CONNECT, LATE, PING, Rule, SLACK, STATEMENT, Told};
use poolwarden::{Builder, Error, ErrorKind, Pool, Repeat, Usability, Validation};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::proxy::{Fault, Mode, Proxy, Way};
use support::wait::eventually;

const SOON: Duration = Duration::from_secs(10);
/// How many connections each pool has for work.
const SIZE: u32 = 2;

/// One cell's pool and proxy.
struct Stage<'a, P: Product> {
    product: &'a P,
    cell: Cell,
    proxy: Proxy,
    pool: Pool<P::Driver>,
    /// What its rows are known by.
    key: u32,
}

/// What the caller of a cell was told, and when.
struct Seen {
    outcome: Result<(), Error>,
    took: Duration,
}

/// Plays a cell; the report for the table, or what was not as the rule says.
pub fn perform<P: Product>(product: &P, cell: Cell) -> Result<Shown, String> {
    static KEYS: AtomicU32 = AtomicU32::new(1);
    let stage = Stage::set(product, cell, KEYS.fetch_add(2, SeqCst));
    let seen = stage.play();
    let told = told(cell, &seen.outcome);
    stage.compare(&seen, told).map_err(|what| format!("{what}; {}", stage.account(&seen)))?;
    let closed = stage.pool.snapshot().close_reasons().map(|(reason, _)| reason.as_str()).next();
    stage.aftermath().map_err(|what| format!("{what}; {}", stage.account(&seen)))?;
    let word = match told {
        Told::Ok => "ok",
        Told::Connect => "connect",
        Told::Failed => "failed",
        Told::Unknown => "unknown",
    };
    Ok(Shown { told: format!("{word}/{}", seen.took.as_millis()), closed: closed.unwrap_or("-") })
}

/// An error in a transaction's statement is followed by its rollback, so only a lone
/// statement is as uncertain as its error says.
fn told(cell: Cell, outcome: &Result<(), Error>) -> Told {
    match outcome {
        Ok(()) => Told::Ok,
        Err(error) if error.kind() == ErrorKind::Connect => Told::Connect,
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => Told::Unknown,
        Err(error)
            if cell.position.is_decided_by_itself()
                && error.fault().repeat() == Repeat::OutcomeUnknown =>
        {
            Told::Unknown
        }
        Err(_) => Told::Failed,
    }
}

impl<'a, P: Product> Stage<'a, P> {
    fn set(product: &'a P, cell: Cell, key: u32) -> Stage<'a, P> {
        let proxy = Proxy::to_port(product.port());
        let driver = product.driver(proxy.port(), cell.security);
        let knobs: Builder<P::Driver> = Pool::builder().max_size(SIZE).checkout_timeout(SOON);
        let opens = matches!(cell.position, Position::Connecting | Position::Handshake);
        let knobs = knobs.connect_timeout(if cell.is_silent() && opens { CONNECT } else { SOON });
        let knobs = knobs.ping_timeout(if cell.is_silent() { PING } else { SOON });
        let knobs = knobs.close_grace(PING);
        let knobs = match cell.is_silent() && cell.position.is_work() {
            true => knobs
                .max_size(SIZE + P::RESERVED)
                .statement_timeout(STATEMENT)
                .cancel_timeout(CANCEL),
            false => knobs,
        };
        let knobs = match cell.position {
            Position::Idle => knobs.ping_after(PING / 6),
            Position::CheckOut => knobs.validation(Validation::AlwaysPing),
            _ => knobs,
        };
        Stage { product, cell, proxy, pool: knobs.build_lazy(driver).expect("knobs agree"), key }
    }

    fn play(&self) -> Seen {
        match self.cell.position {
            Position::Connecting => self.opening(Fault::Hold(Way::Down)),
            Position::Handshake => self.opening(Fault::HoldTls),
            Position::Idle => self.idle(),
            Position::CheckOut => {
                self.fill(1);
                self.caught(Way::Down, || self.pool.get().map(drop))
            }
            Position::Query => {
                // Prepares it, where that is done.
                P::read(&self.pool).expect("nothing has struck yet");
                self.caught(Way::Down, || P::read(&self.pool))
            }
            Position::Write => {
                P::write(&self.pool, self.key + 1).expect("nothing has struck yet");
                self.caught(Way::Down, || P::write(&self.pool, self.key))
            }
            Position::Between => self.between(),
            Position::CommitSent => self.commit(Way::Up),
            Position::CommitDone => self.commit(Way::Down),
            Position::CheckIn => {
                let mut guard = self.pool.get().expect("nothing has struck yet");
                P::soil(&mut guard, self.key);
                self.caught(Way::Down, || {
                    drop(guard);
                    Ok(())
                })
            }
        }
    }

    /// Opens so many connections and leaves them idle.
    fn fill(&self, size: u32) {
        let all: Vec<_> =
            (0..size).map(|_| self.pool.get().expect("the server is there")).collect();
        drop(all);
    }

    /// All that is open is struck; then somebody comes.
    fn idle(&self) -> Seen {
        self.fill(SIZE);
        self.strike();
        // So long that the next check-out pings.
        thread::sleep(PING / 3);
        timed(|| P::transact(&self.pool, self.key, &|| (), &|| ()))
    }

    /// Strikes while the answer to what the caller does, or its request, is under way.
    fn caught(&self, way: Way, work: impl FnOnce() -> Result<(), Error> + Send) -> Seen {
        assert_eq!(self.proxy.apply(&Fault::Hold(way)), 1, "one connection is open");
        self.strike_during(work)
    }

    fn strike_during(&self, work: impl FnOnce() -> Result<(), Error> + Send) -> Seen {
        thread::scope(|scope| {
            let (report, reported) = mpsc::channel();
            scope.spawn(move || drop(report.send(timed(work))));
            assert!(eventually(SOON, || self.proxy.held(0) > 0), "nothing came to hold");
            self.proxy.set_mode(Mode::Pass);
            self.strike();
            reported.recv_timeout(SOON + SLACK).expect("the caller is told")
        })
    }

    fn between(&self) -> Seen {
        self.fill(1);
        thread::scope(|scope| {
            let (report, reported) = mpsc::channel();
            let work = || P::transact(&self.pool, self.key, &|| self.strike(), &|| ());
            scope.spawn(move || drop(report.send(timed(work))));
            reported.recv_timeout(SOON + SLACK).expect("the caller is told")
        })
    }

    fn commit(&self, way: Way) -> Seen {
        self.fill(1);
        let hold = || assert_eq!(self.proxy.apply(&Fault::Hold(way)), 1);
        self.strike_during(|| P::transact(&self.pool, self.key, &|| (), &hold))
    }

    fn opening(&self, hold: Fault) -> Seen {
        self.proxy.set_mode(Mode::With(hold));
        self.strike_during(|| self.pool.get().map(drop))
    }

    /// Strikes all connections.
    fn strike(&self) {
        let strike = |fault: &Fault| assert!(self.proxy.apply(fault) > 0, "nothing to strike");
        match self.cell.blow {
            Blow::Fin => strike(&Fault::Fin),
            Blow::HalfClose => strike(&Fault::HalfClose),
            Blow::Rst => strike(&Fault::Rst),
            Blow::Stall => strike(&Fault::Stall),
            Blow::BlackHole => strike(&Fault::BlackHole),
            Blow::Truncated => strike(&Fault::Truncate(P::STUMP.to_vec())),
            Blow::Injected => {
                strike(&Fault::Inject(P::NONSENSE.to_vec()));
                self.proxy.apply(&Fault::Pass);
            }
            Blow::Delay => strike(&Fault::Delay(LATE)),
        }
    }

    /// What the caller was told, how soon, why what was closed, and what the table holds.
    fn compare(&self, seen: &Seen, told: Told) -> Result<(), String> {
        let rule = rules::of(self.cell);
        ensure(told == rule.told, || format!("{:?} was to be told, not {told:?}", rule.told))?;
        let bounds = rule.at_least..=rule.at_least + SLACK;
        ensure(bounds.contains(&seen.took), || format!("took {:?}", seen.took))?;
        if let Err(error) = &seen.outcome {
            self.compare_error(error, &rule)?;
        }
        let closed = || self.pool.snapshot().closed() > 0;
        let closed = rule.closed.is_empty() || eventually(SOON, closed);
        ensure(closed, || "nothing was closed".to_owned())?;
        let other = |found: &poolwarden::CloseReason| !rule.closed.contains(found);
        let odd = self.pool.snapshot().close_reasons().map(|(reason, _)| reason).find(other);
        ensure(odd.is_none(), || format!("a connection was closed by {odd:?}"))?;
        let rows = self.product.rows(self.key);
        ensure(self.right_rows(told).contains(&rows), || format!("{rows} rows were written"))
    }

    /// An error says that the connection is gone, or of what class the failed attempt is.
    fn compare_error(&self, error: &Error, rule: &Rule) -> Result<(), String> {
        let fault = error.connect_error().map(|cause| cause.fault());
        ensure(rule.connect.is_empty() == fault.is_none(), || format!("connect: {fault:?}"))?;
        let fits = fault.is_none_or(|fault| rule.connect.contains(&fault));
        ensure(fits, || format!("the attempt failed by {fault:?}"))?;
        let usable = error.fault().connection() != Usability::Broken;
        ensure(!usable, || format!("the connection is {:?}", error.fault().connection()))
    }

    /// How many rows there must be: all or none of a transaction's.
    fn right_rows(&self, told: Told) -> &'static [usize] {
        match (self.cell.position, told) {
            // The server has done it, and its answer was lost: who was told "failed" was
            // told wrong.
            (Position::Write, _) => &[1],
            (Position::CommitDone, _) => &[2],
            // Here it is the request that was lost, but for the one that lets it through.
            (Position::CommitSent, Told::Unknown) if self.cell.blow == Blow::Injected => &[0, 2],
            (Position::CommitSent, Told::Unknown) => &[0],
            (Position::CheckOut | Position::CheckIn, _) => &[0],
            (Position::Query | Position::Connecting | Position::Handshake, _) => &[0],
            (_, Told::Ok) => &[2],
            _ => &[0],
        }
    }

    /// The books balance, and all places can be taken and worked in at the same time.
    fn aftermath(&self) -> Result<(), String> {
        self.proxy.set_mode(Mode::Pass);
        if self.cell.blow == Blow::Delay {
            self.proxy.apply(&Fault::Pass);
        }
        let began = Instant::now();
        let all = || (0..SIZE).map(|_| self.pool.get()).collect::<Result<Vec<_>, _>>();
        // An attempt that failed is told again for a moment.
        let all = loop {
            match all() {
                Ok(all) => break all,
                Err(_) if began.elapsed() < SOON => thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(format!("a place is lost: {error}")),
            }
        };
        let books = self.pool.snapshot();
        let allowed = (SIZE + P::RESERVED + books.abandoned) as usize;
        let live = self.proxy.live();
        ensure(live <= allowed, || format!("{live} are open on the wire"))?;
        drop(all);
        P::read(&self.pool).map_err(|error| format!("the next query failed: {error}"))?;
        let balanced = eventually(SOON, || {
            let books = self.pool.snapshot();
            books.open == books.idle
                && books.open <= SIZE + P::RESERVED
                && (books.in_use, books.pending, books.closing, books.waiting) == (0, 0, 0, 0)
        });
        ensure(balanced, || "the books do not balance".to_owned())
    }

    fn account(&self, seen: &Seen) -> String {
        format!("{:?} after {:?}; {}", seen.outcome, seen.took, self.pool.snapshot())
    }
}

fn timed(work: impl FnOnce() -> Result<(), Error>) -> Seen {
    let began = Instant::now();
    let outcome = work();
    Seen { outcome, took: began.elapsed() }
}

fn ensure(fine: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if fine { Ok(()) } else { Err(what()) }
}
