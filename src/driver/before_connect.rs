//! The hook `before_connect`, which may change a driver's configuration for one attempt.

use super::attempt::Attempt;
use crate::error::{BoxError, ConnectError, FaultClass, Phase};
use std::fmt;
use std::sync::Arc;

/// Returns the configuration of one attempt.
type Hook<C> = dyn Fn(C) -> Result<C, BoxError> + Send + Sync;

/// A driver's hook, which may be unset.
pub(crate) struct BeforeConnect<C> {
    hook: Option<Arc<Hook<C>>>,
}

impl<C> Clone for BeforeConnect<C> {
    fn clone(&self) -> BeforeConnect<C> {
        BeforeConnect { hook: self.hook.clone() }
    }
}

impl<C> Default for BeforeConnect<C> {
    fn default() -> BeforeConnect<C> {
        BeforeConnect { hook: None }
    }
}

impl<C: 'static> BeforeConnect<C> {
    pub(crate) fn from_hook<F>(hook: F) -> BeforeConnect<C>
    where
        F: Fn(C) -> Result<C, BoxError> + Send + Sync + 'static,
    {
        BeforeConnect { hook: Some(Arc::new(hook)) }
    }

    /// Returns a hook that changes what this one returns; unset if this one is.
    #[cfg(feature = "mysql")]
    pub(crate) fn and_then(self, change: impl Fn(C) -> C + Send + Sync + 'static) -> Self {
        let hook = self
            .hook
            .map(|hook| -> Arc<Hook<C>> { Arc::new(move |config| hook(config).map(&change)) });
        BeforeConnect { hook }
    }

    /// Calls the hook, if there is one, with the configuration of one attempt. It cannot be
    /// interrupted; after the deadline nothing is dialled.
    ///
    /// # Errors
    ///
    /// [`FaultClass::BeforeConnect`]: the hook's own, or it changed `fixed`, which the
    /// driver does not take from a configuration. [`FaultClass::TimedOut`].
    pub(crate) fn configure<K: PartialEq>(
        &self,
        own: C,
        fixed: impl Fn(&C) -> K,
        label: &str,
        attempt: &Attempt,
    ) -> Result<C, ConnectError> {
        let Some(hook) = self.hook.as_deref() else { return Ok(own) };
        let failed = |cause| ConnectError::new(FaultClass::BeforeConnect, label).with_source(cause);
        attempt.enter(Phase::Configuring);
        let before = fixed(&own);
        let configured = hook(own).map_err(failed)?;
        if fixed(&configured) != before {
            let text = "it may not change hosts, ports, TLS or timeouts: set them on the driver";
            return Err(failed(text.into()));
        }
        if attempt.is_expired() || attempt.remaining().is_zero() {
            return Err(ConnectError::new(FaultClass::TimedOut, label));
        }
        Ok(configured)
    }
}

impl<C> fmt::Debug for BeforeConnect<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeforeConnect").field("is_set", &self.hook.is_some()).finish()
    }
}
