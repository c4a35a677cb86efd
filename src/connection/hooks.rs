//! The hooks of a pool: a program's own code at the turning points of a connection's life.

use crate::error::BoxError;
use crate::sys::catch_panic::CatchOnDrop;
use std::sync::Arc;

/// Prepares a connection.
pub(crate) type PrepareHook<C> = dyn Fn(&mut C) -> Result<(), BoxError> + Send + Sync;

/// Decides whether a connection is kept.
pub(crate) type CheckinHook<C> = dyn Fn(&mut C) -> CheckinAction + Send + Sync;

/// Takes leave of a connection.
pub(crate) type CloseHook<C> = dyn Fn(&mut C) + Send + Sync;

/// What becomes of a connection at check-in; returned by the hook of
/// [`Builder::on_checkin`](crate::Builder::on_checkin).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckinAction {
    /// It is reset, if its session needs it, and kept.
    Keep,
    /// It is closed, for the reason [`Discarded`](crate::CloseReason::Discarded).
    Close,
}

/// The hooks of one pool or manager; each may be unset. A panic of a hook's destructor is
/// caught.
pub(crate) struct Hooks<C> {
    init: CatchOnDrop<Option<Arc<PrepareHook<C>>>>,
    on_checkout: CatchOnDrop<Option<Arc<PrepareHook<C>>>>,
    on_checkin: CatchOnDrop<Option<Arc<CheckinHook<C>>>>,
    before_close: CatchOnDrop<Option<Arc<CloseHook<C>>>>,
}

impl<C> Hooks<C> {
    pub(crate) fn none() -> Hooks<C> {
        Hooks {
            init: CatchOnDrop::new(None),
            on_checkout: CatchOnDrop::new(None),
            on_checkin: CatchOnDrop::new(None),
            before_close: CatchOnDrop::new(None),
        }
    }

    pub(crate) fn set_init(&mut self, hook: Arc<PrepareHook<C>>) {
        self.init = CatchOnDrop::new(Some(hook));
    }

    pub(crate) fn set_on_checkout(&mut self, hook: Arc<PrepareHook<C>>) {
        self.on_checkout = CatchOnDrop::new(Some(hook));
    }

    pub(crate) fn set_on_checkin(&mut self, hook: Arc<CheckinHook<C>>) {
        self.on_checkin = CatchOnDrop::new(Some(hook));
    }

    pub(crate) fn set_before_close(&mut self, hook: Arc<CloseHook<C>>) {
        self.before_close = CatchOnDrop::new(Some(hook));
    }

    /// Prepares a new connection, on the thread that opens it, and a session that a reset
    /// has cleared.
    pub(crate) fn init(&self) -> Option<&Arc<PrepareHook<C>>> {
        self.init.as_ref()
    }

    /// Prepares a connection before it is handed out.
    #[inline]
    pub(crate) fn on_checkout(&self) -> Option<&Arc<PrepareHook<C>>> {
        self.on_checkout.as_ref()
    }

    /// Decides at check-in whether a connection is kept.
    #[inline]
    pub(crate) fn on_checkin(&self) -> Option<&Arc<CheckinHook<C>>> {
        self.on_checkin.as_ref()
    }

    /// Takes leave of a connection that is closed in good order.
    pub(crate) fn before_close(&self) -> Option<&Arc<CloseHook<C>>> {
        self.before_close.as_ref()
    }
}
