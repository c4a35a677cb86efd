//! The server's notices: to the log, as the driver does it, or to a callback.

use super::driver::Postgres;
use crate::fence::fence;
use crate::observe;
use postgres::Config;
use postgres::error::DbError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Takes a notice of the server.
type Callback = dyn Fn(&DbError) + Send + Sync;

/// Who is told of notices; by default the log, at level info.
#[derive(Default)]
pub(super) struct Notices(Option<Arc<Listener>>);

struct Listener {
    callback: Box<Callback>,
    /// A panic of it was logged.
    told: AtomicBool,
}

impl Notices {
    pub(super) fn attach(&self, config: &mut Config) {
        if let Some(listener) = &self.0 {
            let listener = Arc::clone(listener);
            config.notice_callback(move |notice| listener.hear(&notice));
        }
    }
}

impl Listener {
    /// A panic would unwind through the driver in the middle of an answer.
    fn hear(&self, notice: &DbError) {
        if fence(|| (self.callback)(notice)).is_err() && !self.told.swap(true, Relaxed) {
            observe::warn("the notice callback panicked; the notice is lost");
        }
    }
}

impl Postgres {
    /// Tells this callback of every notice of the server (`RAISE NOTICE`, warnings),
    /// instead of the log, on all connections opened from now on.
    ///
    /// It is called on the thread that uses the connection, in the middle of that:
    /// for a caller's statement, a ping, a cleaning. It must be short, and must neither
    /// use a pool nor wait for anybody who does. If it panics, the notice is lost and
    /// nothing else. Its text may have data in it; the server's words are not filtered.
    ///
    /// ```no_run
    /// use poolwarden::Postgres;
    ///
    /// let url = "postgres://app:secret@db.example.com/app";
    /// let driver = Postgres::new(url)?.with_notice_callback(|notice| {
    ///     eprintln!("{} {}: {}", notice.severity(), notice.code().code(), notice.message());
    /// });
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[must_use]
    pub fn with_notice_callback<F>(mut self, callback: F) -> Postgres
    where
        F: Fn(&DbError) + Send + Sync + 'static,
    {
        let listener = Listener { callback: Box::new(callback), told: AtomicBool::new(false) };
        self.notices = Notices(Some(Arc::new(listener)));
        self
    }
}
