//! The bank: accounts, and a journal in which each transfer stands once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Accounts in the bank.
pub const ACCOUNTS: i64 = 64;

/// What each account has at first.
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
    /// A transfer between two accounts by chance.
    pub fn any() -> Transfer {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed).cast_signed();
        let source = fastrand::i64(0..ACCOUNTS);
        let target = (source + fastrand::i64(1..ACCOUNTS)) % ACCOUNTS;
        Transfer { id, source, target, amount: fastrand::i64(1..20) }
    }

    /// The two bookings, always in the order of the accounts: two transfers that
    /// meet wait for one another, and never in a circle.
    pub fn bookings(&self) -> [(i64, i64); 2] {
        let out = (self.source, -self.amount);
        let into = (self.target, self.amount);
        if self.source < self.target { [out, into] } else { [into, out] }
    }
}

/// What a teller says about a transfer.
#[derive(Debug)]
pub enum Told {
    /// It is done, by its word.
    Done,
    /// It is not done, by its word.
    Failed(String),
    /// Nobody can know: the connection was lost while the server may have committed.
    Unknown(String),
}
