//! poolwarden on both servers.

use super::{Client, Counters, POOL_SIZE};
use crate::bank::{Outcome, Transfer};
use crate::testbed::POOLWARDEN;
use mysql::prelude::Queryable;
use poolwarden::driver::Driver;
use poolwarden::{CloseReason, Error, ErrorKind, MySql, Pool, Postgres, RetryPolicy, Snapshot};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use support::error_text;

/// How long a transfer is retried.
const RETRY_FOR: Duration = Duration::from_secs(20);

/// Waits for a server that is down, and retries what was provably not committed.
const POLICY: RetryPolicy = RetryPolicy::script(RETRY_FOR);

/// poolwarden, on either server.
pub struct PoolwardenClient<D: Driver> {
    pool: Pool<D>,
    retries: AtomicU64,
    previous: Mutex<Option<Snapshot>>,
}

/// A driver on which a transfer can be made.
pub trait Bank: Driver + Sized {
    /// Carries out the transfer; `on_attempt` receives the number of each attempt.
    fn transfer(
        pool: &Pool<Self>,
        transfer: &Transfer,
        on_attempt: &dyn Fn(u32),
    ) -> Result<(), Error>;
}

impl Bank for Postgres {
    fn transfer(
        pool: &Pool<Self>,
        transfer: &Transfer,
        on_attempt: &dyn Fn(u32),
    ) -> Result<(), Error> {
        let Transfer { id, source, target, amount } = transfer;
        pool.transaction_with(POLICY, |tx, attempt| {
            on_attempt(attempt);
            let text = "insert into journal values ($1, $2, $3, $4)";
            tx.execute(text, &[id, source, target, amount])?;
            for (account, change) in transfer.bookings() {
                let text = "update accounts set balance = balance + $1 where id = $2";
                tx.execute(text, &[&change, &account])?;
            }
            Ok(())
        })
    }
}

impl Bank for MySql {
    fn transfer(
        pool: &Pool<Self>,
        transfer: &Transfer,
        on_attempt: &dyn Fn(u32),
    ) -> Result<(), Error> {
        let Transfer { id, source, target, amount } = transfer;
        pool.transaction_with(POLICY, |tx, attempt| {
            on_attempt(attempt);
            let text = "insert into journal values (?, ?, ?, ?)";
            tx.exec_drop(text, (id, source, target, amount))?;
            for (account, change) in transfer.bookings() {
                let text = "update accounts set balance = balance + ? where id = ?";
                tx.exec_drop(text, (change, account))?;
            }
            Ok(())
        })
    }
}

impl<D: Bank> PoolwardenClient<D> {
    pub fn new(driver: D) -> PoolwardenClient<D> {
        let pool = Pool::builder().max_size(POOL_SIZE).name(POOLWARDEN).build(driver);
        let pool = pool.expect("the server runs");
        PoolwardenClient { pool, retries: AtomicU64::new(0), previous: Mutex::new(None) }
    }
}

impl<D: Bank> Client for PoolwardenClient<D> {
    fn name(&self) -> &'static str {
        POOLWARDEN
    }

    fn describe(&self) -> String {
        format!("transactions that are retried for {RETRY_FOR:?}, only if nothing was committed")
    }

    fn transfer(&self, transfer: &Transfer) -> Outcome {
        let on_attempt = |attempt| {
            self.retries.fetch_add(u64::from(attempt > 1), Relaxed);
        };
        match D::transfer(&self.pool, transfer, &on_attempt) {
            Ok(()) => Outcome::Done,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                Outcome::Unknown(error_text::chain(&error))
            }
            Err(error) => Outcome::Failed(error_text::chain(&error)),
        }
    }

    fn counters(&self) -> Counters {
        let opened = self.pool.snapshot().opened;
        Counters { retries: self.retries.load(Relaxed), opened }
    }

    fn reports_reasons(&self) -> bool {
        true
    }

    fn reasons(&self) -> String {
        let now = self.pool.snapshot();
        let before = self.previous.lock().expect("no thread panics with it").replace(now.clone());
        let since = |reason: CloseReason| {
            let before = before.as_ref().map_or(0, |before| before.closed_by(reason));
            now.closed_by(reason) - before
        };
        let new = now.close_reasons().map(|(reason, _)| (reason, since(reason)));
        let texts = new.filter(|(_, count)| *count > 0);
        texts.map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
    }

    fn check_counters(&self) -> Result<String, String> {
        let now = self.pool.snapshot();
        let balanced = now.levels.in_use == 0
            && now.levels.open == now.levels.idle
            && now.opened == now.closed() + u64::from(now.levels.open)
            && now.levels.open <= now.levels.max_size;
        if balanced {
            Ok(now.to_string())
        } else {
            Err(format!("the counters do not add up: {now}"))
        }
    }
}
