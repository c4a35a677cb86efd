//! Starts a thread that takes a value over, or gives the value back.

use parking_lot::Mutex;
use std::sync::Arc;

/// Does the work with a value on a thread of its own.
///
/// If the system can start no thread, returns the value: nothing is done or dropped.
pub(crate) fn spawn_with<T: Send + 'static>(
    name: &str,
    value: T,
    work: impl FnOnce(T) + Send + 'static,
) -> Result<(), T> {
    let ours = Arc::new(Mutex::new(Some(value)));
    let theirs = Arc::clone(&ours);
    let run = move || {
        let value = theirs.lock().take();
        if let Some(value) = value {
            work(value);
        }
    };
    match std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        Ok(_) => Ok(()),
        Err(_) => ours.lock().take().map_or(Ok(()), Err),
    }
}
