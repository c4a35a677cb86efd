//! A bank under constant kills, deadlocks and serialization failures: however a transfer is
//! written, none is done twice, none is lost, and none is reported wrongly.
//!
//! `BANK_SECONDS` says how long each bank is open; the default is 3.

mod mariadb;
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use poolwarden::driver::Driver;
use poolwarden::{Error, ErrorKind, Pool};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Few enough for transfers to meet.
pub const ACCOUNTS: i64 = 6;

/// What each account has at first.
pub const FIRST_BALANCE: i64 = 1_000;

/// One transfer; its number is written into the journal.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    pub id: i64,
    pub from: i64,
    pub to: i64,
    pub amount: i64,
}

impl Transfer {
    fn any() -> Transfer {
        static NEXT: AtomicI64 = AtomicI64::new(1);
        let from = fastrand::i64(0..ACCOUNTS);
        let to = (from + fastrand::i64(1..ACCOUNTS)) % ACCOUNTS;
        Transfer { id: NEXT.fetch_add(1, Relaxed), from, to, amount: fastrand::i64(1..20) }
    }

    /// The statements of the transfer, in the order of its direction: two of them may wait
    /// for each other.
    pub fn statements(&self) -> [String; 3] {
        let Transfer { id, from, to, amount } = self;
        [
            format!("update accounts set balance = balance - {amount} where id = {from}"),
            format!("update accounts set balance = balance + {amount} where id = {to}"),
            format!("insert into journal values ({id})"),
        ]
    }

    /// The same in one text, between these two statements.
    pub fn text(&self, first: &str, last: &str) -> String {
        format!("{first}; {}; {last}", self.statements().join("; "))
    }

    /// The arguments of a routine.
    pub fn arguments(&self) -> String {
        format!("({}, {}, {}, {})", self.id, self.from, self.to, self.amount)
    }
}

/// Statements that make the bank.
pub fn schema() -> Vec<String> {
    let rows: Vec<_> = (0..ACCOUNTS).map(|id| format!("({id}, {FIRST_BALANCE})")).collect();
    vec![
        "create table accounts (id bigint primary key, balance bigint not null)".into(),
        // No key: a transfer that is done twice is there twice.
        "create table journal (id bigint not null)".into(),
        format!("insert into accounts values {}", rows.join(", ")),
    ]
}

/// One way to write a transfer, and its name.
pub type Way<D> = (&'static str, fn(&Pool<D>, Transfer) -> Result<(), Error>);

/// What the database has in the end.
pub struct Books {
    pub journal: Vec<i64>,
    pub balances: Vec<i64>,
}

/// What a caller was told of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Report {
    Done,
    Failed,
    Unknown,
}

fn report(outcome: &Result<(), Error>) -> Report {
    match outcome {
        Ok(()) => Report::Done,
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => Report::Unknown,
        Err(_) => Report::Failed,
    }
}

/// Runs transfers in all ways while something disturbs them; then compares what was
/// reported with the books.
pub fn open<D: Driver>(
    pool: &Pool<D>,
    ways: &[Way<D>],
    disturb: impl Fn() + Sync,
    books: impl FnOnce() -> Books,
) {
    let seconds = std::env::var("BANK_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(3));
    let (reports, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while Instant::now() < end {
                        let (name, run) = ways[fastrand::usize(..ways.len())];
                        let transfer = Transfer::any();
                        let outcome = run(pool, transfer);
                        let entry = (transfer.id, name, report(&outcome), outcome.err());
                        reports.lock().expect("no panic").push(entry);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                thread::sleep(Duration::from_millis(fastrand::u64(20..120)));
                disturb();
            }
        });
        let ended: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a client panicked");
    });
    compare(&reports.into_inner().expect("no panic"), &books());
}

type Entry = (i64, &'static str, Report, Option<Error>);

fn compare(reports: &[Entry], books: &Books) {
    let mut stands: HashMap<i64, usize> = HashMap::new();
    for id in &books.journal {
        *stands.entry(*id).or_default() += 1;
    }
    let mut counts: HashMap<(&str, Report), usize> = HashMap::new();
    for (id, way, report, error) in reports {
        let times = stands.get(id).copied().unwrap_or(0);
        let allowed = match report {
            Report::Done => 1..=1,
            Report::Failed => 0..=0,
            Report::Unknown => 0..=1,
        };
        let error = error.as_ref().map(|error| format!("{error:?}"));
        assert!(allowed.contains(&times), "{way}: {report:?}, and done {times} times: {error:?}");
        *counts.entry((way, *report)).or_default() += 1;
    }
    assert_eq!(books.balances.iter().sum::<i64>(), ACCOUNTS * FIRST_BALANCE, "money was lost");
    let done: usize = counts.iter().filter(|count| count.0.1 == Report::Done).map(|c| c.1).sum();
    println!("{done} of {} transfers are done: {counts:?}", reports.len());
    assert!(done > 0, "no transfer was done: {counts:?}");
}
