//! One direction of a connection: bytes that were read and not yet written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// With more bytes than this the source is not read: a slow target slows its source.
const FULL: usize = 256 * 1024;

/// Bytes between a source and a target, and when they may be written.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pieces: VecDeque<Piece>,
    queued: usize,
    delay: Duration,
    throttle: Option<Throttle>,
    /// Nothing is forwarded.
    held: bool,
    /// The source has sent its FIN.
    pub(super) ended: bool,
    /// The FIN was sent to the target; no more bytes are written.
    pub(super) shut: bool,
}

#[derive(Debug)]
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Throttle {
    bytes: usize,
    every: Duration,
    next: Instant,
}

impl Pipe {
    pub(super) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    pub(super) fn set_throttle(&mut self, bytes: usize, every: Duration, now: Instant) {
        self.throttle = Some(Throttle { bytes: bytes.max(1), every, next: now });
    }

    /// Keeps all bytes from now on.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Ends the hold; the kept bytes get the delay of new ones.
    pub(super) fn release(&mut self, now: Instant) {
        if std::mem::take(&mut self.held) {
            self.pieces.iter_mut().for_each(|piece| piece.due = now + self.delay);
        }
    }

    /// Returns the number of bytes that a hold keeps.
    pub(super) fn kept(&self) -> usize {
        if self.held { self.queued } else { 0 }
    }

    /// Returns the first half of the bytes that a hold keeps.
    pub(super) fn first_half(&self) -> Vec<u8> {
        let bytes = self.pieces.iter().flat_map(|piece| &piece.bytes);
        bytes.take(self.kept().div_ceil(2)).copied().collect()
    }

    /// Ends hold, delay and throttle, also for the waiting bytes.
    pub(super) fn clear_faults(&mut self, now: Instant) {
        self.delay = Duration::ZERO;
        self.throttle = None;
        self.held = false;
        self.pieces.iter_mut().for_each(|piece| piece.due = piece.due.min(now));
    }

    pub(super) fn wants_more(&self) -> bool {
        !self.ended && self.queued < FULL
    }

    /// Adds bytes of the source; bytes for a closed target are dropped.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        if !self.shut {
            self.queued += bytes.len();
            self.pieces.push_back(Piece { due: now + self.delay, bytes: bytes.to_owned() });
        }
    }

    /// Returns bytes that may be written now; empty if there are none.
    pub(super) fn due(&self, now: Instant) -> &[u8] {
        let front = self.pieces.front().filter(|piece| piece.due <= now && !self.held);
        let Some(piece) = front else {
            return &[];
        };
        match &self.throttle {
            Some(throttle) if throttle.next > now => &[],
            Some(throttle) => &piece.bytes[..throttle.bytes.min(piece.bytes.len())],
            None => &piece.bytes,
        }
    }

    /// Records that the first `count` of the due bytes were written.
    pub(super) fn written(&mut self, count: usize, now: Instant) {
        let Some(piece) = self.pieces.front_mut() else { return };
        piece.bytes.drain(..count);
        self.queued -= count;
        if piece.bytes.is_empty() {
            self.pieces.pop_front();
        }
        if let Some(throttle) = &mut self.throttle {
            throttle.next = now + throttle.every;
        }
    }

    /// Returns when the next bytes become due; `None` if there are none.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let piece = self.pieces.front().filter(|_| !self.held)?.due;
        Some(self.throttle.as_ref().map_or(piece, |throttle| throttle.next.max(piece)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Closes the pipe to its target; waiting bytes are dropped.
    pub(super) fn shut(&mut self) {
        self.shut = true;
        self.pieces.clear();
        self.queued = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delayed_bytes_become_due_later_and_immediately_without_faults() {
        let now = Instant::now();
        let mut pipe = Pipe::default();
        pipe.push(b"early", now);
        pipe.set_delay(SECOND);
        pipe.push(b"late", now);
        assert_eq!(pipe.due(now), b"early");
        pipe.written(5, now);
        assert_eq!(pipe.due(now), b"");
        assert_eq!(pipe.next_due(), Some(now + SECOND));
        assert_eq!(pipe.due(now + SECOND), b"late");
        pipe.clear_faults(now);
        assert_eq!(pipe.due(now), b"late");
    }

    #[test]
    fn throttled_bytes_are_written_a_few_at_a_time() {
        let now = Instant::now();
        let mut pipe = Pipe::default();
        pipe.set_throttle(2, SECOND, now);
        pipe.push(b"abc", now);
        assert_eq!(pipe.due(now), b"ab");
        pipe.written(2, now);
        assert_eq!(pipe.due(now), b"");
        assert_eq!(pipe.due(now + SECOND), b"c");
        pipe.written(1, now + SECOND);
        assert!(pipe.is_empty());
    }

    #[test]
    fn a_held_pipe_keeps_its_bytes_and_releases_them_after_its_delay() {
        let now = Instant::now();
        let mut pipe = Pipe::default();
        pipe.hold();
        pipe.push(b"abc", now);
        pipe.push(b"de", now);
        assert_eq!((pipe.due(now), pipe.next_due(), pipe.kept()), (&b""[..], None, 5));
        assert_eq!(pipe.first_half(), b"abc");
        pipe.set_delay(SECOND);
        pipe.release(now);
        assert_eq!((pipe.due(now), pipe.kept()), (&b""[..], 0));
        assert_eq!(pipe.due(now + SECOND), b"abc");
    }

    #[test]
    fn a_full_pipe_reads_no_more_and_a_closed_one_drops_its_bytes() {
        let now = Instant::now();
        let mut pipe = Pipe::default();
        pipe.push(&[0; FULL], now);
        assert!(!pipe.wants_more());
        pipe.shut();
        pipe.push(b"lost", now);
        assert!(pipe.is_empty() && pipe.wants_more());
    }
}
