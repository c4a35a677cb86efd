//! The bank: accounts, and a journal with one row for each transfer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Accounts in the bank.
pub const ACCOUNTS: i64 = 64;

/// The initial balance of each account.
pub const FIRST_BALANCE: i64 = 1_000;

/// Statements that both servers understand.
pub const SCHEMA: &[&str] = &[
    "create table accounts (id bigint primary key, balance bigint not null)",
    "create table journal (id bigint primary key, source bigint not null, \
     target bigint not null, amount bigint not null)",
];

/// The statement that fills the accounts.
pub fn filling() -> String {
    let rows: Vec<_> = (0..ACCOUNTS).map(|id| format!("({id}, {FIRST_BALANCE})")).collect();
    format!("insert into accounts values {}", rows.join(", "))
}

/// One transfer; its number is its identity.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    pub id: i64,
    pub source: i64,
    pub target: i64,
    pub amount: i64,
}

impl Transfer {
    /// Returns a transfer between two random accounts.
    pub fn any() -> Transfer {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed).cast_signed();
        let source = fastrand::i64(0..ACCOUNTS);
        let target = (source + fastrand::i64(1..ACCOUNTS)) % ACCOUNTS;
        Transfer { id, source, target, amount: fastrand::i64(1..20) }
    }

    /// Returns the two bookings, always in the order of the accounts, so that concurrent transfers
    /// cannot deadlock.
    pub fn bookings(&self) -> [(i64, i64); 2] {
        let out = (self.source, -self.amount);
        let into = (self.target, self.amount);
        if self.source < self.target { [out, into] } else { [into, out] }
    }
}

/// The outcome of a transfer, as a client reports it.
#[derive(Debug)]
pub enum Outcome {
    /// Committed.
    Done,
    /// Not committed.
    Failed(String),
    /// Unknown: the connection was lost while the server may have committed.
    Unknown(String),
}
