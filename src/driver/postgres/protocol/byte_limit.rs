//! The limit on the bytes that the answer to one of the pool's own queries may have.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// No limit.
const NONE: u64 = u64::MAX;

/// Written by the pool and by the transport, both on the thread that has the connection.
#[derive(Debug)]
pub(in crate::driver::postgres) struct ByteLimit {
    /// How many bytes may still be received.
    left: AtomicU64,
    is_exceeded: AtomicBool,
}

impl ByteLimit {
    pub(super) fn none() -> ByteLimit {
        ByteLimit { left: AtomicU64::new(NONE), is_exceeded: AtomicBool::new(false) }
    }

    /// Sets the limit of what is received from now on; returns `true` if the one before was
    /// exceeded.
    pub(in crate::driver::postgres) fn set(&self, limit: Option<usize>) -> bool {
        let limit = limit.and_then(|limit| u64::try_from(limit).ok());
        self.left.store(limit.unwrap_or(NONE), Relaxed);
        self.is_exceeded.swap(false, Relaxed)
    }

    /// Counts bytes that were received; `missing` of their last message are still to come.
    pub(super) fn count(&self, received: usize, missing: usize) -> io::Result<()> {
        let left = self.left.load(Relaxed);
        if left == NONE {
            return Ok(());
        }
        let as_bytes = |count| u64::try_from(count).unwrap_or(NONE);
        if as_bytes(received).saturating_add(as_bytes(missing)) > left {
            self.is_exceeded.store(true, Relaxed);
            return Err(io::Error::other("the query returned more bytes than byte_limit"));
        }
        self.left.store(left - as_bytes(received), Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_length_before_it_arrives() {
        let limit = ByteLimit::none();
        limit.count(usize::MAX, usize::MAX).expect("there is no limit");
        assert!(!limit.set(Some(100)));
        limit.count(60, 40).expect("all of it fits");
        limit.count(40, 0).expect("it is complete");
        limit.count(0, 0).expect("nothing more came");
        limit.count(5, 1_000_000).expect_err("the length of the next one has arrived");
        assert!(limit.set(None));
        limit.count(1_000, 0).expect("there is no limit any more");
        assert!(!limit.set(None));
    }
}
