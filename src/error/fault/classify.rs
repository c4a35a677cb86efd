//! Classification of the errors of this crate and of its drivers.

use super::fault::Fault;
use crate::error::connect_error::ConnectError;
use crate::error::error::Error;

/// An error whose [`Fault`] is known: those of this crate and of its drivers.
pub trait Classify: sealed::Sealed {
    /// Returns what the error means for the connection and for the work.
    fn classify(&self) -> Fault;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! classify {
    ($error:ty, $by:expr) => {
        impl sealed::Sealed for $error {}

        impl Classify for $error {
            fn classify(&self) -> Fault {
                $by(self)
            }
        }
    };
}

classify!(Error, Error::fault);

classify!(ConnectError, ConnectError::fault);

#[cfg(feature = "postgres")]
classify!(::postgres::Error, super::postgres::fault);

#[cfg(feature = "mysql")]
classify!(::mysql::Error, super::mysql::fault);

#[cfg(feature = "sqlite")]
classify!(rusqlite::Error, super::sqlite::fault);

/// Returns what an error of a driver's own methods means.
///
/// It sees the error alone: a server error for one statement of a transaction is
/// classified as if that statement had run by itself.
pub fn fault_of(error: &impl Classify) -> Fault {
    error.classify()
}
