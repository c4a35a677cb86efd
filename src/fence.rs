//! The panic fence: foreign code runs behind it, so that no panic of a driver,
//! a hook, a log sink or a destructor unwinds through the pool's book-keeping.
//!
//! `AssertUnwindSafe` is right here because whatever panicked is thrown away:
//! no caller looks at a half-changed connection afterwards. With `panic = "abort"`
//! the fence does nothing.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic that was caught; the error that stands in its place.
pub(crate) struct Panicked {
    message: String,
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Panicked({:?})", self.message)
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)
    }
}

impl std::error::Error for Panicked {}

/// Runs foreign code and turns its panic into a value.
pub(crate) fn fence<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = text_of(&*payload);
        bury(payload);
        Panicked { message }
    })
}

/// Drops a value of a foreign type; a panic in its destructor ends here.
pub(crate) fn drop_fenced<T>(value: T) -> Result<(), Panicked> {
    fence(move || drop(value))
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
fn bury(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_value_with_its_text() {
        let caught = fence(|| panic!("number {}", 7)).map(|()| 0).expect_err("it panics");
        assert_eq!(caught.to_string(), "panicked: number 7");
    }

    #[test]
    fn a_payload_that_panics_on_drop_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("payload");
            }
        }
        let caught = fence(|| std::panic::panic_any(Bomb)).map(|()| 0).expect_err("it panics");
        assert_eq!(caught.to_string(), "panicked: a value that is not text");
    }
}
