//! The server's notices: they go to the log, as the driver does by default, or to a callback.

use crate::observe;
use crate::sys::catch_panic::catch_panic;
use postgres::Config;
use postgres::error::DbError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Receives one notice of the server.
type Callback = dyn Fn(&DbError) + Send + Sync;

/// What receives the notices; by default the log, at level info.
#[derive(Default)]
pub(super) struct Notices(pub(super) Option<Arc<Listener>>);

pub(super) struct Listener {
    pub(super) callback: Box<Callback>,
    /// A panic of the callback was logged.
    pub(super) panic_logged: AtomicBool,
}

impl Notices {
    pub(super) fn attach(&self, config: &mut Config) {
        if let Some(listener) = &self.0 {
            let listener = Arc::clone(listener);
            config.notice_callback(move |notice| listener.receive(&notice));
        }
    }
}

impl Listener {
    /// A panic would unwind through the driver in the middle of a reply.
    fn receive(&self, notice: &DbError) {
        if catch_panic(|| (self.callback)(notice)).is_err()
            && !self.panic_logged.swap(true, Relaxed)
        {
            observe::warn("the notice callback panicked; the notice is lost");
        }
    }
}
