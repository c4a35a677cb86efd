//! r2d2 with its usual managers, with default settings.

use super::{Client, Counters, POOL_SIZE};
use crate::bank::{Outcome, Transfer};
use crate::testbed::R2D2;
use mysql::prelude::Queryable;
use r2d2_mysql::MySqlConnectionManager;
use r2d2_postgres::PostgresConnectionManager;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use support::error_text;

/// Counts the connections that r2d2 opens; r2d2 reports them only as events.
#[derive(Debug, Default)]
struct OpenCounter(AtomicU64);

impl r2d2::HandleEvent for OpenCounter {
    fn handle_acquire(&self, _: r2d2::event::AcquireEvent) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[derive(Debug)]
struct EventHandler(Arc<OpenCounter>);

impl r2d2::HandleEvent for EventHandler {
    fn handle_acquire(&self, event: r2d2::event::AcquireEvent) {
        self.0.handle_acquire(event);
    }
}

fn pool<M: r2d2::ManageConnection>(manager: M) -> (r2d2::Pool<M>, Arc<OpenCounter>) {
    let opened = Arc::<OpenCounter>::default();
    let builder = r2d2::Pool::builder().max_size(POOL_SIZE);
    let pool = builder.event_handler(Box::new(EventHandler(Arc::clone(&opened)))).build(manager);
    (pool.expect("the server runs"), opened)
}

fn outcome_of(result: Result<(), Box<dyn Error>>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error_text::chain(&*error)),
    }
}

/// `r2d2` with `r2d2_postgres`.
pub struct R2d2OnPostgres {
    pool: r2d2::Pool<PostgresConnectionManager<postgres::NoTls>>,
    opened: Arc<OpenCounter>,
}

impl R2d2OnPostgres {
    pub fn new(url: &str) -> R2d2OnPostgres {
        let config = url.parse().expect("a URL of our own");
        let (pool, opened) = pool(PostgresConnectionManager::new(config, postgres::NoTls));
        R2d2OnPostgres { pool, opened }
    }

    fn attempt(&self, transfer: &Transfer) -> Result<(), Box<dyn Error>> {
        let mut client = self.pool.get()?;
        let mut tx = client.transaction()?;
        let Transfer { id, source, target, amount } = transfer;
        tx.execute("insert into journal values ($1, $2, $3, $4)", &[id, source, target, amount])?;
        for (account, change) in transfer.bookings() {
            let text = "update accounts set balance = balance + $1 where id = $2";
            tx.execute(text, &[&change, &account])?;
        }
        Ok(tx.commit()?)
    }
}

impl Client for R2d2OnPostgres {
    fn name(&self) -> &'static str {
        R2D2
    }

    fn describe(&self) -> String {
        "r2d2 with r2d2_postgres, default settings".into()
    }

    fn transfer(&self, transfer: &Transfer) -> Outcome {
        outcome_of(self.attempt(transfer))
    }

    fn counters(&self) -> Counters {
        Counters { retries: 0, opened: self.opened.0.load(Relaxed) }
    }
}

/// `r2d2` with `r2d2_mysql`.
pub struct R2d2OnMySql {
    pool: r2d2::Pool<MySqlConnectionManager>,
    opened: Arc<OpenCounter>,
}

impl R2d2OnMySql {
    pub fn new(url: &str) -> R2d2OnMySql {
        let opts = mysql::Opts::from_url(url).expect("a URL of our own");
        let builder = mysql::OptsBuilder::from_opts(opts);
        let (pool, opened) = pool(MySqlConnectionManager::new(builder));
        R2d2OnMySql { pool, opened }
    }

    fn attempt(&self, transfer: &Transfer) -> Result<(), Box<dyn Error>> {
        let mut conn = self.pool.get()?;
        let mut tx = conn.start_transaction(mysql::TxOpts::default())?;
        let Transfer { id, source, target, amount } = transfer;
        tx.exec_drop("insert into journal values (?, ?, ?, ?)", (id, source, target, amount))?;
        for (account, change) in transfer.bookings() {
            let text = "update accounts set balance = balance + ? where id = ?";
            tx.exec_drop(text, (change, account))?;
        }
        Ok(tx.commit()?)
    }
}

impl Client for R2d2OnMySql {
    fn name(&self) -> &'static str {
        R2D2
    }

    fn describe(&self) -> String {
        "r2d2 with r2d2_mysql, default settings".into()
    }

    fn transfer(&self, transfer: &Transfer) -> Outcome {
        outcome_of(self.attempt(transfer))
    }

    fn counters(&self) -> Counters {
        Counters { retries: 0, opened: self.opened.0.load(Relaxed) }
    }
}
