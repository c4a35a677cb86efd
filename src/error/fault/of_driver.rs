//! The faults of the drivers' own errors.

use super::fault::Fault;
use std::error::Error as StdError;

/// Returns the fault of a driver's error, if it is one.
pub(crate) fn of_driver(error: &(dyn StdError + 'static)) -> Option<Fault> {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.downcast_ref::<::postgres::Error>() {
        return Some(super::postgres::fault(error));
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = error.downcast_ref::<::mysql::Error>() {
        return Some(super::mysql::fault(error));
    }
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
        return Some(super::sqlite::fault(error));
    }
    let _ = error;
    None
}
