//! Log-ins that a server denies although the password is right.
//!
//! The server sends an account with MariaDB's `ed25519` 32 random bytes to sign.
//! `mysql_common` 0.37.3 takes a last byte of 0 for the end of a text and signs the other 31
//! (`AuthSwitchRequest::plugin_data`): one of 256 log-ins is denied.

use crate::error::fault::mysql as fault;
use mysql::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// "Access denied": the server has refused user or password.
const ACCESS_DENIED: u16 = 1045;

/// Whether a log-in that was denied is tried once more: one after each that succeeded, so
/// that a wrong password costs one log-in more in all and locks no account.
#[derive(Clone)]
pub(super) struct DeniedLogin {
    is_repeated: Arc<AtomicBool>,
}

impl DeniedLogin {
    pub(super) fn new() -> DeniedLogin {
        DeniedLogin { is_repeated: Arc::new(AtomicBool::new(true)) }
    }

    /// Logs in, and once more if that may have been denied by chance.
    pub(super) fn repeat_if_denied<T>(
        &self,
        log_in: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = match log_in() {
            Err(error) if fault::number(&error) == Some(ACCESS_DENIED) => {
                if self.is_repeated.swap(false, Relaxed) { log_in() } else { Err(error) }
            }
            outcome => outcome,
        };
        if outcome.is_ok() {
            self.is_repeated.store(true, Relaxed);
        }
        outcome
    }
}
