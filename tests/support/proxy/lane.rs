//! One direction of a connection: bytes that were read and not yet written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Past this much the source is not read: a slow target slows its source.
const FULL: usize = 256 * 1024;

/// Bytes on their way, and when they may go on it.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pieces: VecDeque<Piece>,
    queued: usize,
    delay: Duration,
    drip: Option<Drip>,
    /// Nothing goes on.
    held: bool,
    /// The source has sent its FIN.
    pub(super) ended: bool,
    /// The target has been sent our FIN, and takes no more bytes.
    pub(super) shut: bool,
}

#[derive(Debug)]
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Drip {
    bytes: usize,
    every: Duration,
    next: Instant,
}

impl Lane {
    pub(super) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    pub(super) fn set_drip(&mut self, bytes: usize, every: Duration, now: Instant) {
        self.drip = Some(Drip { bytes: bytes.max(1), every, next: now });
    }

    /// Keeps what comes from now on.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Ends the hold; what was kept waits as long as what comes.
    pub(super) fn release(&mut self, now: Instant) {
        if std::mem::take(&mut self.held) {
            self.pieces.iter_mut().for_each(|piece| piece.due = now + self.delay);
        }
    }

    /// Returns how many bytes are kept by a hold.
    pub(super) fn kept(&self) -> usize {
        if self.held { self.queued } else { 0 }
    }

    /// Returns the first half of what is kept by a hold.
    pub(super) fn first_half(&self) -> Vec<u8> {
        let bytes = self.pieces.iter().flat_map(|piece| &piece.bytes);
        bytes.take(self.kept().div_ceil(2)).copied().collect()
    }

    /// Forgets hold, delay and drip, for the bytes that wait too.
    pub(super) fn run_free(&mut self, now: Instant) {
        self.delay = Duration::ZERO;
        self.drip = None;
        self.held = false;
        self.pieces.iter_mut().for_each(|piece| piece.due = piece.due.min(now));
    }

    pub(super) fn wants_more(&self) -> bool {
        !self.ended && self.queued < FULL
    }

    /// Takes bytes from the source; those for a shut target are lost.
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
        match &self.drip {
            Some(drip) if drip.next > now => &[],
            Some(drip) => &piece.bytes[..drip.bytes.min(piece.bytes.len())],
            None => &piece.bytes,
        }
    }

    /// Notes that the first `count` of the due bytes have been written.
    pub(super) fn written(&mut self, count: usize, now: Instant) {
        let Some(piece) = self.pieces.front_mut() else { return };
        piece.bytes.drain(..count);
        self.queued -= count;
        if piece.bytes.is_empty() {
            self.pieces.pop_front();
        }
        if let Some(drip) = &mut self.drip {
            drip.next = now + drip.every;
        }
    }

    /// Returns when the next bytes become due; `None` if there are none.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let piece = self.pieces.front().filter(|_| !self.held)?.due;
        Some(self.drip.as_ref().map_or(piece, |drip| drip.next.max(piece)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Ends the lane towards its target; what waits is lost.
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
    fn delayed_bytes_become_due_later_and_at_once_when_the_lane_runs_free() {
        let now = Instant::now();
        let mut lane = Lane::default();
        lane.push(b"early", now);
        lane.set_delay(SECOND);
        lane.push(b"late", now);
        assert_eq!(lane.due(now), b"early");
        lane.written(5, now);
        assert_eq!(lane.due(now), b"");
        assert_eq!(lane.next_due(), Some(now + SECOND));
        assert_eq!(lane.due(now + SECOND), b"late");
        lane.run_free(now);
        assert_eq!(lane.due(now), b"late");
    }

    #[test]
    fn dripping_bytes_go_a_few_at_a_time() {
        let now = Instant::now();
        let mut lane = Lane::default();
        lane.set_drip(2, SECOND, now);
        lane.push(b"abc", now);
        assert_eq!(lane.due(now), b"ab");
        lane.written(2, now);
        assert_eq!(lane.due(now), b"");
        assert_eq!(lane.due(now + SECOND), b"c");
        lane.written(1, now + SECOND);
        assert!(lane.is_empty());
    }

    #[test]
    fn a_held_lane_keeps_what_comes_and_gives_it_after_its_delay() {
        let now = Instant::now();
        let mut lane = Lane::default();
        lane.hold();
        lane.push(b"abc", now);
        lane.push(b"de", now);
        assert_eq!((lane.due(now), lane.next_due(), lane.kept()), (&b""[..], None, 5));
        assert_eq!(lane.first_half(), b"abc");
        lane.set_delay(SECOND);
        lane.release(now);
        assert_eq!((lane.due(now), lane.kept()), (&b""[..], 0));
        assert_eq!(lane.due(now + SECOND), b"abc");
    }

    #[test]
    fn a_full_lane_wants_no_more_and_a_shut_one_loses_all() {
        let now = Instant::now();
        let mut lane = Lane::default();
        lane.push(&[0; FULL], now);
        assert!(!lane.wants_more());
        lane.shut();
        lane.push(b"lost", now);
        assert!(lane.is_empty() && lane.wants_more());
    }
}
