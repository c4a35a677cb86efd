//! Our pool on both servers.

use super::{Effort, POOL_SIZE, Teller};
use crate::bank::{Told, Transfer};
use crate::stage::OURS;
use mysql::prelude::Queryable;
use poolwarden::{
    CloseReason, Driver, Error, ErrorKind, MySql, Pool, Postgres, RetryPolicy, Snapshot,
};
use std::error::Error as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long a transfer goes on before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a server that is down, and repeats what was provably not done.
const POLICY: RetryPolicy = RetryPolicy::script(PATIENCE);

/// What both of ours have in common.
struct Common<D: Driver> {
    pool: Pool<D>,
    repeats: AtomicU64,
    seen: Mutex<Option<Snapshot>>,
}

impl<D: Driver> Common<D> {
    fn new(driver: D) -> Common<D> {
        let pool = Pool::builder().max_size(POOL_SIZE).name(OURS).build(driver);
        let pool = pool.expect("the server runs");
        Common { pool, repeats: AtomicU64::new(0), seen: Mutex::new(None) }
    }

    fn note(&self, attempt: u32) {
        self.repeats.fetch_add(u64::from(attempt > 1), Relaxed);
    }

    fn effort(&self) -> Effort {
        let opened = self.pool.snapshot().opened;
        Effort { repeats: self.repeats.load(Relaxed), opened }
    }

    fn reasons(&self) -> String {
        let now = self.pool.snapshot();
        let before = self.seen.lock().expect("no thread panics with it").replace(now.clone());
        let since = |reason: CloseReason| {
            let before = before.as_ref().map_or(0, |before| before.closed_by(reason));
            now.closed_by(reason) - before
        };
        let new = now.close_reasons().map(|(reason, _)| (reason, since(reason)));
        let texts = new.filter(|(_, count)| *count > 0);
        texts.map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
    }

    fn at_rest(&self) -> Result<String, String> {
        let now = self.pool.snapshot();
        let balanced = now.in_use == 0
            && now.open == now.idle
            && now.opened == now.closed() + u64::from(now.open)
            && now.open <= now.max_size;
        if balanced { Ok(now.to_string()) } else { Err(format!("the books do not balance: {now}")) }
    }

    fn told(outcome: Result<(), Error>) -> Told {
        match outcome {
            Ok(()) => Told::Done,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => Told::Unknown(words(&error)),
            Err(error) => Told::Failed(words(&error)),
        }
    }
}

fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Our pool on PostgreSQL.
pub struct OursOnPostgres(Common<Postgres>);

impl OursOnPostgres {
    pub fn new(url: &str) -> OursOnPostgres {
        OursOnPostgres(Common::new(Postgres::new(url).expect("a URL of our own")))
    }
}

impl Teller for OursOnPostgres {
    fn name(&self) -> &'static str {
        OURS
    }

    fn describe(&self) -> String {
        format!("transactions that go on for {PATIENCE:?}, repeated only if nothing was done")
    }

    fn transfer(&self, transfer: &Transfer) -> Told {
        let Transfer { id, source, target, amount } = transfer;
        let outcome = self.0.pool.transaction_with(POLICY, |tx, attempt| {
            self.0.note(attempt);
            let text = "insert into journal values ($1, $2, $3, $4)";
            tx.execute(text, &[id, source, target, amount])?;
            for (account, change) in transfer.bookings() {
                let text = "update accounts set balance = balance + $1 where id = $2";
                tx.execute(text, &[&change, &account])?;
            }
            Ok(())
        });
        Common::<Postgres>::told(outcome)
    }

    fn effort(&self) -> Effort {
        self.0.effort()
    }

    fn tells_reasons(&self) -> bool {
        true
    }

    fn reasons(&self) -> String {
        self.0.reasons()
    }

    fn at_rest(&self) -> Result<String, String> {
        self.0.at_rest()
    }
}

/// Our pool on MariaDB.
pub struct OursOnMySql(Common<MySql>);

impl OursOnMySql {
    pub fn new(url: &str) -> OursOnMySql {
        OursOnMySql(Common::new(MySql::new(url).expect("a URL of our own")))
    }
}

impl Teller for OursOnMySql {
    fn name(&self) -> &'static str {
        OURS
    }

    fn describe(&self) -> String {
        format!("transactions that go on for {PATIENCE:?}, repeated only if nothing was done")
    }

    fn transfer(&self, transfer: &Transfer) -> Told {
        let Transfer { id, source, target, amount } = transfer;
        let outcome = self.0.pool.transaction_with(POLICY, |tx, attempt| {
            self.0.note(attempt);
            let text = "insert into journal values (?, ?, ?, ?)";
            tx.exec_drop(text, (id, source, target, amount))?;
            for (account, change) in transfer.bookings() {
                let text = "update accounts set balance = balance + ? where id = ?";
                tx.exec_drop(text, (change, account))?;
            }
            Ok(())
        });
        Common::<MySql>::told(outcome)
    }

    fn effort(&self) -> Effort {
        self.0.effort()
    }

    fn tells_reasons(&self) -> bool {
        true
    }

    fn reasons(&self) -> String {
        self.0.reasons()
    }

    fn at_rest(&self) -> Result<String, String> {
        self.0.at_rest()
    }
}
