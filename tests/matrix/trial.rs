//! Brings a pool into a position, applies the fault, and compares with the rule.

use crate::cell::{Cell, FaultKind, Position};
use crate::grid::Entry;
use crate::products::Product;
use crate::rules::{self, CANCEL, CONNECT, CallerResult, LATE, PING, Rule, SLACK, STATEMENT};
use poolwarden::{Builder, Error, ErrorKind, Pool, RetrySafety, Usability, Validation};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::proxy::{Direction, Fault, Mode, Proxy};
use support::wait::eventually;

const SOON: Duration = Duration::from_secs(10);
/// The number of connections that each pool has for work.
const SIZE: u32 = 2;

/// One cell's pool and proxy.
struct Trial<'a, P: Product> {
    product: &'a P,
    cell: Cell,
    proxy: Proxy,
    pool: Pool<P::Driver>,
    /// The key of its rows.
    key: u32,
}

/// The result of a cell's caller, and its time.
struct Observed {
    outcome: Result<(), Error>,
    took: Duration,
}

/// Runs a cell; returns its entry for the table, or the rule that it broke.
pub fn run_cell<P: Product>(product: &P, cell: Cell) -> Result<Entry, String> {
    static KEYS: AtomicU32 = AtomicU32::new(1);
    let trial = Trial::new(product, cell, KEYS.fetch_add(2, SeqCst));
    let observed = trial.run();
    let result = result_of(cell, &observed.outcome);
    trial
        .compare(&observed, result)
        .map_err(|what| format!("{what}; {}", trial.describe(&observed)))?;
    let closed = trial.pool.snapshot().close_reasons().map(|(reason, _)| reason.as_str()).next();
    trial.check_recovery().map_err(|what| format!("{what}; {}", trial.describe(&observed)))?;
    let word = match result {
        CallerResult::Ok => "ok",
        CallerResult::Connect => "connect",
        CallerResult::Failed => "failed",
        CallerResult::Unknown => "unknown",
    };
    Ok(Entry {
        result: format!("{word}/{}", observed.took.as_millis()),
        closed: closed.unwrap_or("-"),
    })
}

/// An error in a transaction's statement is followed by its rollback, so only an
/// autocommitted statement has the unknown outcome of its error.
fn result_of(cell: Cell, outcome: &Result<(), Error>) -> CallerResult {
    match outcome {
        Ok(()) => CallerResult::Ok,
        Err(error) if error.kind() == ErrorKind::Connect => CallerResult::Connect,
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => CallerResult::Unknown,
        Err(error)
            if cell.position.may_take_effect()
                && error.fault().retry_safety() == RetrySafety::OutcomeUnknown =>
        {
            CallerResult::Unknown
        }
        Err(_) => CallerResult::Failed,
    }
}

impl<'a, P: Product> Trial<'a, P> {
    fn new(product: &'a P, cell: Cell, key: u32) -> Trial<'a, P> {
        let proxy = Proxy::to_port(product.port());
        let driver = product.driver(proxy.port(), cell.encryption);
        let options: Builder<P::Driver> = Pool::builder().max_size(SIZE).checkout_timeout(SOON);
        let opens = matches!(cell.position, Position::Connecting | Position::Handshake);
        let options =
            options.connect_timeout(if cell.needs_a_timeout() && opens { CONNECT } else { SOON });
        let options = options.ping_timeout(if cell.needs_a_timeout() { PING } else { SOON });
        let options = options.close_grace(PING);
        let options = match cell.needs_a_timeout() && cell.position.is_work() {
            true => options
                .max_size(SIZE + P::RESERVED)
                .statement_timeout(STATEMENT)
                .cancel_timeout(CANCEL),
            false => options,
        };
        let options = match cell.position {
            Position::Idle => options.ping_after(PING / 6),
            Position::CheckOut => options.validation(Validation::AlwaysPing),
            _ => options,
        };
        Trial {
            product,
            cell,
            proxy,
            pool: options.build_lazy(driver).expect("options agree"),
            key,
        }
    }

    fn run(&self) -> Observed {
        match self.cell.position {
            Position::Connecting => self.opening(Fault::Hold(Direction::ToClient)),
            Position::Handshake => self.opening(Fault::HoldTlsHandshake),
            Position::Idle => self.idle(),
            Position::CheckOut => {
                self.fill(1);
                self.while_held(Direction::ToClient, || self.pool.get().map(drop))
            }
            Position::Query => {
                // Prepares the statement if the driver does.
                P::read(&self.pool).expect("no fault was applied yet");
                self.while_held(Direction::ToClient, || P::read(&self.pool))
            }
            Position::Write => {
                P::write(&self.pool, self.key + 1).expect("no fault was applied yet");
                self.while_held(Direction::ToClient, || P::write(&self.pool, self.key))
            }
            Position::Between => self.between(),
            Position::CommitSent => self.commit(Direction::ToServer),
            Position::CommitDone => self.commit(Direction::ToClient),
            Position::CheckIn => {
                let mut guard = self.pool.get().expect("no fault was applied yet");
                P::begin_and_insert(&mut guard, self.key);
                self.while_held(Direction::ToClient, || {
                    drop(guard);
                    Ok(())
                })
            }
        }
    }

    /// Opens this number of connections and leaves them idle.
    fn fill(&self, size: u32) {
        let all: Vec<_> = (0..size).map(|_| self.pool.get().expect("the server accepts")).collect();
        drop(all);
    }

    /// Applies the fault to all connections; then a caller comes.
    fn idle(&self) -> Observed {
        self.fill(SIZE);
        self.apply_fault();
        // So long that the next check-out pings.
        thread::sleep(PING / 3);
        timed(|| P::transact(&self.pool, self.key, &|| (), &|| ()))
    }

    /// Applies the fault while the caller's request, or the reply to it, is held.
    fn while_held(
        &self,
        direction: Direction,
        work: impl FnOnce() -> Result<(), Error> + Send,
    ) -> Observed {
        assert_eq!(self.proxy.apply(&Fault::Hold(direction)), 1, "one connection is open");
        self.apply_fault_during(work)
    }

    fn apply_fault_during(&self, work: impl FnOnce() -> Result<(), Error> + Send) -> Observed {
        thread::scope(|scope| {
            let (report, reported) = mpsc::channel();
            scope.spawn(move || drop(report.send(timed(work))));
            assert!(eventually(SOON, || self.proxy.held(0) > 0), "no bytes were held");
            self.proxy.set_mode(Mode::Pass);
            self.apply_fault();
            reported.recv_timeout(SOON + SLACK).expect("the caller gets a result")
        })
    }

    fn between(&self) -> Observed {
        self.fill(1);
        thread::scope(|scope| {
            let (report, reported) = mpsc::channel();
            let work = || P::transact(&self.pool, self.key, &|| self.apply_fault(), &|| ());
            scope.spawn(move || drop(report.send(timed(work))));
            reported.recv_timeout(SOON + SLACK).expect("the caller gets a result")
        })
    }

    fn commit(&self, direction: Direction) -> Observed {
        self.fill(1);
        let hold = || assert_eq!(self.proxy.apply(&Fault::Hold(direction)), 1);
        self.apply_fault_during(|| P::transact(&self.pool, self.key, &|| (), &hold))
    }

    fn opening(&self, hold: Fault) -> Observed {
        self.proxy.set_mode(Mode::With(hold));
        self.apply_fault_during(|| self.pool.get().map(drop))
    }

    /// Applies the fault to all connections.
    fn apply_fault(&self) {
        let apply_fault =
            |fault: &Fault| assert!(self.proxy.apply(fault) > 0, "no connection is open");
        match self.cell.fault_kind {
            FaultKind::Fin => apply_fault(&Fault::Fin),
            FaultKind::HalfClose => apply_fault(&Fault::HalfClose),
            FaultKind::Rst => apply_fault(&Fault::Rst),
            FaultKind::Stall => apply_fault(&Fault::Stall),
            FaultKind::BlackHole => apply_fault(&Fault::BlackHole),
            FaultKind::Truncated => apply_fault(&Fault::Truncate(P::PARTIAL_MESSAGE.to_vec())),
            FaultKind::Injected => {
                apply_fault(&Fault::Inject(P::INVALID_MESSAGE.to_vec()));
                self.proxy.apply(&Fault::Pass);
            }
            FaultKind::Delay => apply_fault(&Fault::Delay(LATE)),
        }
    }

    /// Checks the caller's result and time, the close reasons, and the rows in the table.
    fn compare(&self, observed: &Observed, result: CallerResult) -> Result<(), String> {
        let rule = rules::of(self.cell);
        ensure(result == rule.result, || {
            format!("the result is {result:?}, expected {:?}", rule.result)
        })?;
        let bounds = rule.at_least..=rule.at_least + SLACK;
        ensure(bounds.contains(&observed.took), || format!("took {:?}", observed.took))?;
        if let Err(error) = &observed.outcome {
            self.compare_error(error, &rule)?;
        }
        let closed = || self.pool.snapshot().closed() > 0;
        let closed = rule.closed.is_empty() || eventually(SOON, closed);
        ensure(closed, || "nothing was closed".to_owned())?;
        let other = |found: &poolwarden::CloseReason| !rule.closed.contains(found);
        let unexpected = self.pool.snapshot().close_reasons().map(|(reason, _)| reason).find(other);
        ensure(unexpected.is_none(), || format!("a connection was closed by {unexpected:?}"))?;
        let rows = self.product.rows(self.key);
        ensure(self.right_rows(result).contains(&rows), || format!("{rows} rows were written"))
    }

    /// An error reports the connection as broken, or the fault of the failed attempt.
    fn compare_error(&self, error: &Error, rule: &Rule) -> Result<(), String> {
        let fault = error.connect_error().map(|cause| cause.class());
        ensure(rule.connect.is_empty() == fault.is_none(), || format!("connect: {fault:?}"))?;
        let fits = fault.is_none_or(|fault| rule.connect.contains(&fault));
        ensure(fits, || format!("the attempt failed with {fault:?}"))?;
        let usable = error.fault().connection() != Usability::Broken;
        ensure(!usable, || format!("the connection is {:?}", error.fault().connection()))
    }

    /// Returns the allowed numbers of rows: all or none of a transaction's.
    fn right_rows(&self, result: CallerResult) -> &'static [usize] {
        match (self.cell.position, result) {
            // The server has done it, and its reply was lost: the result "failed" would
            // be wrong.
            (Position::Write, _) => &[1],
            (Position::CommitDone, _) => &[2],
            // The request was lost, except under the fault that lets it through.
            (Position::CommitSent, CallerResult::Unknown)
                if self.cell.fault_kind == FaultKind::Injected =>
            {
                &[0, 2]
            }
            (Position::CommitSent, CallerResult::Unknown) => &[0],
            (Position::CheckOut | Position::CheckIn, _) => &[0],
            (Position::Query | Position::Connecting | Position::Handshake, _) => &[0],
            (_, CallerResult::Ok) => &[2],
            _ => &[0],
        }
    }

    /// Checks that the books balance, and that all permits can be used at the same time.
    fn check_recovery(&self) -> Result<(), String> {
        self.proxy.set_mode(Mode::Pass);
        if self.cell.fault_kind == FaultKind::Delay {
            self.proxy.apply(&Fault::Pass);
        }
        let began = Instant::now();
        let all = || (0..SIZE).map(|_| self.pool.get()).collect::<Result<Vec<_>, _>>();
        // The pool reports a failed attempt for a moment.
        let all = loop {
            match all() {
                Ok(all) => break all,
                Err(_) if began.elapsed() < SOON => thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(format!("a permit is lost: {error}")),
            }
        };
        let books = self.pool.snapshot();
        let allowed = (SIZE + P::RESERVED + books.abandoned) as usize;
        let live = self.proxy.live();
        ensure(live <= allowed, || format!("{live} connections are open"))?;
        drop(all);
        P::read(&self.pool).map_err(|error| format!("the next query failed: {error}"))?;
        let balanced = eventually(SOON, || {
            let books = self.pool.snapshot();
            books.levels.open == books.levels.idle
                && books.levels.open <= SIZE + P::RESERVED
                && (
                    books.levels.in_use,
                    books.levels.pending,
                    books.levels.closing,
                    books.levels.waiting,
                ) == (0, 0, 0, 0)
        });
        ensure(balanced, || "the books do not balance".to_owned())
    }

    fn describe(&self, observed: &Observed) -> String {
        format!("{:?} after {:?}; {}", observed.outcome, observed.took, self.pool.snapshot())
    }
}

fn timed(work: impl FnOnce() -> Result<(), Error>) -> Observed {
    let began = Instant::now();
    let outcome = work();
    Observed { outcome, took: began.elapsed() }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
