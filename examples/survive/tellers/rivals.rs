//! r2d2 with its usual managers, exactly as they come.

use super::{Effort, POOL_SIZE, Teller};
use crate::bank::{Told, Transfer};
use crate::stage::RIVAL;
use mysql::prelude::Queryable;
use r2d2_mysql::MySqlConnectionManager;
use r2d2_postgres::PostgresConnectionManager;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use support::words;

/// Counts what r2d2 opens; its only trace of it.
#[derive(Debug, Default)]
struct Opened(AtomicU64);

impl r2d2::HandleEvent for Opened {
    fn handle_acquire(&self, _: r2d2::event::AcquireEvent) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[derive(Debug)]
struct Ear(Arc<Opened>);

impl r2d2::HandleEvent for Ear {
    fn handle_acquire(&self, event: r2d2::event::AcquireEvent) {
        self.0.handle_acquire(event);
    }
}

fn pool<M: r2d2::ManageConnection>(manager: M) -> (r2d2::Pool<M>, Arc<Opened>) {
    let opened = Arc::<Opened>::default();
    let builder = r2d2::Pool::builder().max_size(POOL_SIZE);
    let pool = builder.event_handler(Box::new(Ear(Arc::clone(&opened)))).build(manager);
    (pool.expect("the server runs"), opened)
}

fn told(outcome: Result<(), Box<dyn Error>>) -> Told {
    match outcome {
        Ok(()) => Told::Done,
        Err(error) => Told::Failed(words::of(&*error)),
    }
}

/// `r2d2` with `r2d2_postgres`.
pub struct RivalOnPostgres {
    pool: r2d2::Pool<PostgresConnectionManager<postgres::NoTls>>,
    opened: Arc<Opened>,
}

impl RivalOnPostgres {
    pub fn new(url: &str) -> RivalOnPostgres {
        let config = url.parse().expect("a URL of our own");
        let (pool, opened) = pool(PostgresConnectionManager::new(config, postgres::NoTls));
        RivalOnPostgres { pool, opened }
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

impl Teller for RivalOnPostgres {
    fn name(&self) -> &'static str {
        RIVAL
    }

    fn describe(&self) -> String {
        "r2d2 with r2d2_postgres, as they come".into()
    }

    fn transfer(&self, transfer: &Transfer) -> Told {
        told(self.attempt(transfer))
    }

    fn effort(&self) -> Effort {
        Effort { repeats: 0, opened: self.opened.0.load(Relaxed) }
    }
}

/// `r2d2` with `r2d2_mysql`.
pub struct RivalOnMySql {
    pool: r2d2::Pool<MySqlConnectionManager>,
    opened: Arc<Opened>,
}

impl RivalOnMySql {
    pub fn new(url: &str) -> RivalOnMySql {
        let opts = mysql::Opts::from_url(url).expect("a URL of our own");
        let builder = mysql::OptsBuilder::from_opts(opts);
        let (pool, opened) = pool(MySqlConnectionManager::new(builder));
        RivalOnMySql { pool, opened }
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

impl Teller for RivalOnMySql {
    fn name(&self) -> &'static str {
        RIVAL
    }

    fn describe(&self) -> String {
        "r2d2 with r2d2_mysql, as they come".into()
    }

    fn transfer(&self, transfer: &Transfer) -> Told {
        told(self.attempt(transfer))
    }

    fn effort(&self) -> Effort {
        Effort { repeats: 0, opened: self.opened.0.load(Relaxed) }
    }
}
