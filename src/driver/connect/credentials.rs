//! The credentials from a hook, which is called for every connect.

use crate::driver::attempt::Attempt;
use crate::error::{BoxError, ConnectError, FaultClass, Phase};
use crate::sys::secret::Secret;
use std::fmt;
use std::sync::Arc;

/// A user and the password or token to log in with, from a credentials hook.
///
/// ```
/// use poolwarden::Credentials;
///
/// let credentials = Credentials::new("hunter2").for_user("app");
/// assert!(!format!("{credentials:?}").contains("hunter2"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The user; `None` is the user of the driver's own configuration.
    pub user: Option<String>,
    /// The password, or a token in its place.
    pub password: Secret,
}

impl Credentials {
    /// Creates credentials from a password, for the user of the configuration.
    pub fn new(password: impl Into<Secret>) -> Credentials {
        Credentials { user: None, password: password.into() }
    }

    /// Sets the user.
    #[must_use]
    pub fn for_user(mut self, user: impl Into<String>) -> Credentials {
        self.user = Some(user.into());
        self
    }
}

/// Returns the current credentials.
type Hook = dyn Fn() -> Result<Credentials, BoxError> + Send + Sync;

/// Where a driver's credentials come from: its configuration, or a hook.
#[derive(Clone, Default)]
pub(crate) struct CredentialSource {
    hook: Option<Arc<Hook>>,
}

impl CredentialSource {
    pub(crate) fn from_hook<F>(hook: F) -> CredentialSource
    where
        F: Fn() -> Result<Credentials, BoxError> + Send + Sync + 'static,
    {
        CredentialSource { hook: Some(Arc::new(hook)) }
    }

    /// Calls the hook, if there is one.
    ///
    /// It cannot be interrupted; what it returns after the deadline is not used.
    pub(super) fn ask(
        &self,
        label: &str,
        attempt: &Attempt,
    ) -> Result<Option<Credentials>, ConnectError> {
        let Some(hook) = self.hook.as_deref() else { return Ok(None) };
        attempt.enter(Phase::Authorising);
        let credentials = hook().map_err(|cause| {
            ConnectError::new(FaultClass::Credentials, label).with_source(cause)
        })?;
        if attempt.is_expired() || attempt.remaining().is_zero() {
            return Err(ConnectError::new(FaultClass::TimedOut, label));
        }
        Ok(Some(credentials))
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSource").field("from_hook", &self.hook.is_some()).finish()
    }
}
