//! Who logs in: the credentials that a hook returns, asked for at every connect.

use crate::driver::Attempt;
use crate::error::{BoxError, ConnectError, ConnectFault, Phase};
use crate::secret::Secret;
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
    /// The user; `None` is the one of the driver's own configuration.
    pub user: Option<String>,
    /// The password, or a token in its place.
    pub password: Secret,
}

impl Credentials {
    /// Makes credentials of a password, for the user of the configuration.
    pub fn new(password: impl Into<Secret>) -> Credentials {
        Credentials { user: None, password: password.into() }
    }

    /// The same for this user.
    #[must_use]
    pub fn for_user(mut self, user: impl Into<String>) -> Credentials {
        self.user = Some(user.into());
        self
    }
}

/// Returns the credentials of the moment.
type Hook = dyn Fn() -> Result<Credentials, BoxError> + Send + Sync;

/// How one driver logs in: by its configuration, or as a hook says.
#[derive(Clone, Default)]
pub(crate) struct Login {
    hook: Option<Arc<Hook>>,
}

impl Login {
    pub(crate) fn by<F>(hook: F) -> Login
    where
        F: Fn() -> Result<Credentials, BoxError> + Send + Sync + 'static,
    {
        Login { hook: Some(Arc::new(hook)) }
    }

    /// Asks the hook, if there is one, and dials with what it returns.
    ///
    /// Credentials that the server refuses may have been replaced between the
    /// question and the log-in: the hook is asked once more, and what it returns is
    /// tried if it is something else.
    pub(crate) fn dial<R>(
        &self,
        label: &str,
        attempt: &Attempt,
        dial: impl Fn(Option<&Credentials>) -> Result<R, ConnectError>,
    ) -> Result<R, ConnectError> {
        let Some(hook) = self.hook.as_deref() else { return dial(None) };
        let first = ask(hook, label, attempt)?;
        let refusal = match dial(Some(&first)) {
            Err(error) if error.fault() == ConnectFault::Authentication => error,
            outcome => return outcome,
        };
        match ask(hook, label, attempt) {
            Ok(second) if second != first => dial(Some(&second)),
            Ok(_) | Err(_) => Err(refusal),
        }
    }
}

/// Asks for credentials. A hook cannot be interrupted; what it returns past the
/// deadline is not used any more.
fn ask(hook: &Hook, label: &str, attempt: &Attempt) -> Result<Credentials, ConnectError> {
    attempt.enter(Phase::Authorising);
    let credentials = hook()
        .map_err(|cause| ConnectError::new(ConnectFault::Credentials, label).with_source(cause))?;
    if attempt.is_expired() || attempt.remaining().is_zero() {
        return Err(ConnectError::new(ConnectFault::TimedOut, label));
    }
    Ok(credentials)
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("by_hook", &self.hook.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Terms;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::{Duration, Instant};

    fn attempt() -> Attempt {
        within(Duration::from_secs(20))
    }

    fn within(timeout: Duration) -> Attempt {
        Attempt::new(Instant::now(), Terms { timeout, ..Terms::default() })
    }

    fn refused() -> ConnectError {
        ConnectError::new(ConnectFault::Authentication, "h:1")
    }

    /// A log-in whose hook returns p1, p2, and so on.
    fn counting() -> Login {
        let asked = AtomicU32::new(0);
        Login::by(move || Ok(Credentials::new(format!("p{}", asked.fetch_add(1, SeqCst) + 1))))
    }

    fn try_with(login: &Login, wanted: &str) -> Result<String, ConnectError> {
        login.dial("h:1", &attempt(), |credentials| {
            let password = credentials.map_or("none", |one| one.password.expose());
            if password == wanted { Ok(password.to_owned()) } else { Err(refused()) }
        })
    }

    #[test]
    fn without_a_hook_the_configuration_decides() {
        assert_eq!(try_with(&Login::default(), "none").ok().as_deref(), Some("none"));
    }

    #[test]
    fn credentials_that_were_replaced_meanwhile_are_tried_once() {
        assert_eq!(try_with(&counting(), "p1").ok().as_deref(), Some("p1"));
        assert_eq!(try_with(&counting(), "p2").ok().as_deref(), Some("p2"));
        let error = try_with(&counting(), "p3").expect_err("only once");
        assert_eq!(error.fault(), ConnectFault::Authentication);
    }

    #[test]
    fn the_same_credentials_are_not_tried_twice() {
        let tried = AtomicU32::new(0);
        let login = Login::by(|| Ok(Credentials::new("p")));
        let outcome: Result<(), _> = login.dial("h:1", &attempt(), |_| {
            tried.fetch_add(1, SeqCst);
            Err(refused())
        });
        assert_eq!(outcome.map_err(|e| e.fault()), Err(ConnectFault::Authentication));
        assert_eq!(tried.load(SeqCst), 1);
    }

    #[test]
    fn past_the_deadline_nothing_is_dialled() {
        let late = within(Duration::ZERO);
        let login = counting();
        let outcome = login.dial("h:1", &late, |_| -> Result<(), _> { panic!("not dialled") });
        assert_eq!(outcome.map_err(|e| e.fault()), Err(ConnectFault::TimedOut));
    }

    #[test]
    fn an_error_of_the_hook_has_a_class_and_is_the_source() {
        let login = Login::by(|| Err("the vault is sealed".into()));
        let outcome: Result<(), _> = login.dial("h:1", &attempt(), |_| Ok(()));
        let error = outcome.expect_err("no credentials");
        assert_eq!(error.fault(), ConnectFault::Credentials);
        let source = std::error::Error::source(&error).expect("a source");
        assert_eq!(source.to_string(), "the vault is sealed");
    }
}
