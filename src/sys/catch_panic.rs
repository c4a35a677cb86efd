//! Catches panics of foreign code, so that no panic of a driver, a hook, a log sink
//! or a destructor unwinds through the pool's bookkeeping.
//!
//! `AssertUnwindSafe` is right here because the connection whose code panicked is
//! discarded: no caller uses a half-changed connection afterwards. With
//! `panic = "abort"` nothing can be caught.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A caught panic, as an error.
pub(crate) struct CaughtPanic {
    message: Box<str>,
}

impl fmt::Debug for CaughtPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaughtPanic({:?})", self.message)
    }
}

impl fmt::Display for CaughtPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)
    }
}

impl std::error::Error for CaughtPanic {}

/// Runs foreign code; returns its panic, if it panics, as an error.
#[inline]
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, CaughtPanic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(caught)
}

#[cold]
fn caught(payload: Box<dyn Any + Send>) -> CaughtPanic {
    let message = text_of(&*payload).into();
    drop_payload(payload);
    CaughtPanic { message }
}

/// Drops a value of a foreign type; catches a panic of its destructor.
pub(crate) fn drop_catching<T>(value: T) -> Result<(), CaughtPanic> {
    catch_panic(move || drop(value))
}

/// A value of a foreign type whose destructor may panic: the panic is caught.
pub(crate) struct CatchOnDrop<T>(Option<T>);

impl<T> CatchOnDrop<T> {
    pub(crate) fn new(value: T) -> CatchOnDrop<T> {
        CatchOnDrop(Some(value))
    }
}

impl<T> Deref for CatchOnDrop<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("bug: a value was used after its drop")
    }
}

impl<T> Drop for CatchOnDrop<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            let _ = drop_catching(value);
        }
    }
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}

/// A panic payload may itself panic when it is dropped.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_value_with_its_text() {
        let caught = catch_panic(|| panic!("number {}", 7)).map(|()| 0).expect_err("it panics");
        assert_eq!(caught.to_string(), "panicked: number 7");
    }

    #[test]
    fn a_panicking_destructor_is_caught_also_while_the_thread_unwinds() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("destructor");
            }
        }
        drop(CatchOnDrop::new(Bomb));
        let caught = catch_panic(|| {
            let _held = CatchOnDrop::new(Bomb);
            panic!("first");
        });
        let caught = caught.map(|(): ()| 0).expect_err("it panics");
        assert_eq!(caught.to_string(), "panicked: first");
    }

    #[test]
    fn a_panic_payload_whose_drop_panics_is_caught_as_well() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("payload");
            }
        }
        let caught =
            catch_panic(|| std::panic::panic_any(Bomb)).map(|()| 0).expect_err("it panics");
        assert_eq!(caught.to_string(), "panicked: a value that is not text");
    }
}
