//! Who carries out the transfers: our pool, and r2d2 with its usual manager.

mod ours;
mod rivals;

pub use ours::Ours;
pub use rivals::{RivalOnMySql, RivalOnPostgres};

use crate::bank::{Told, Transfer};

/// Connections of each side.
const POOL_SIZE: u32 = 8;

/// What a teller has done so far besides its transfers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    /// Transfers begun again by itself.
    pub repeats: u64,
    /// Connections opened.
    pub opened: u64,
}

/// Carries out transfers.
pub trait Teller: Send + Sync {
    /// The name of the side and of its database.
    fn name(&self) -> &'static str;

    /// How it is set up.
    fn describe(&self) -> String;

    /// Carries out one transfer, or says that it did not, or that nobody knows.
    fn transfer(&self, transfer: &Transfer) -> Told;

    /// What it has done so far.
    fn effort(&self) -> Effort;

    /// Whether it can say why connections were closed.
    fn tells_reasons(&self) -> bool {
        false
    }

    /// Why connections were closed since the last question.
    fn reasons(&self) -> String {
        String::new()
    }

    /// Whether its books balance while nobody has a connection.
    fn at_rest(&self) -> Result<String, String> {
        Ok(String::new())
    }
}
