//! Our pool on both servers.

use super::{Effort, POOL_SIZE, Teller};
use crate::bank::{Told, Transfer};
use crate::stage::OURS;
use mysql::prelude::Queryable;
use poolwarden::{
    CloseReason, Driver, Error, ErrorKind, MySql, Pool, Postgres, RetryPolicy, Snapshot,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use support::words;

/// How long a transfer goes on before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a server that is down, and repeats what was provably not done.
const POLICY: RetryPolicy = RetryPolicy::script(PATIENCE);

/// Our pool, on whichever server.
pub struct Ours<D: Driver> {
    pool: Pool<D>,
    repeats: AtomicU64,
    seen: Mutex<Option<Snapshot>>,
}

/// A driver on which a transfer can be made.
pub trait Bank: Driver + Sized {
    /// Makes the transfer; `begun` is told the number of each attempt.
    fn transfer(pool: &Pool<Self>, transfer: &Transfer, begun: &dyn Fn(u32)) -> Result<(), Error>;
}

impl Bank for Postgres {
    fn transfer(pool: &Pool<Self>, transfer: &Transfer, begun: &dyn Fn(u32)) -> Result<(), Error> {
        let Transfer { id, source, target, amount } = transfer;
        pool.transaction_with(POLICY, |tx, attempt| {
            begun(attempt);
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
    fn transfer(pool: &Pool<Self>, transfer: &Transfer, begun: &dyn Fn(u32)) -> Result<(), Error> {
        let Transfer { id, source, target, amount } = transfer;
        pool.transaction_with(POLICY, |tx, attempt| {
            begun(attempt);
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

impl<D: Bank> Ours<D> {
    pub fn new(driver: D) -> Ours<D> {
        let pool = Pool::builder().max_size(POOL_SIZE).name(OURS).build(driver);
        let pool = pool.expect("the server runs");
        Ours { pool, repeats: AtomicU64::new(0), seen: Mutex::new(None) }
    }
}

impl<D: Bank> Teller for Ours<D> {
    fn name(&self) -> &'static str {
        OURS
    }

    fn describe(&self) -> String {
        format!("transactions that go on for {PATIENCE:?}, repeated only if nothing was done")
    }

    fn transfer(&self, transfer: &Transfer) -> Told {
        let begun = |attempt| {
            self.repeats.fetch_add(u64::from(attempt > 1), Relaxed);
        };
        match D::transfer(&self.pool, transfer, &begun) {
            Ok(()) => Told::Done,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                Told::Unknown(words::of(&error))
            }
            Err(error) => Told::Failed(words::of(&error)),
        }
    }

    fn effort(&self) -> Effort {
        let opened = self.pool.snapshot().opened;
        Effort { repeats: self.repeats.load(Relaxed), opened }
    }

    fn tells_reasons(&self) -> bool {
        true
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
}
