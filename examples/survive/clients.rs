//! The clients under test: poolwarden, and r2d2 with its usual manager.

mod poolwarden_client;
mod r2d2_clients;

pub use poolwarden_client::PoolwardenClient;
pub use r2d2_clients::{R2d2OnMySql, R2d2OnPostgres};

use crate::bank::{Outcome, Transfer};

/// The maximum size of each pool.
const POOL_SIZE: u32 = 8;

/// What a client has done so far besides its transfers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Attempts that were retries.
    pub retries: u64,
    /// Connections opened.
    pub opened: u64,
}

/// Carries out transfers.
pub trait Client: Send + Sync {
    /// Returns the name of the client and of its database.
    fn name(&self) -> &'static str;

    /// Returns a description of its settings.
    fn describe(&self) -> String;

    /// Carries out one transfer and reports its outcome.
    fn transfer(&self, transfer: &Transfer) -> Outcome;

    /// Returns what it has done so far.
    fn counters(&self) -> Counters;

    /// Returns `true` if it reports why connections were closed.
    fn reports_reasons(&self) -> bool {
        false
    }

    /// Returns why connections were closed since the last call.
    fn reasons(&self) -> String {
        String::new()
    }

    /// Checks that its counters add up while no connection is in use.
    fn check_counters(&self) -> Result<String, String> {
        Ok(String::new())
    }
}
