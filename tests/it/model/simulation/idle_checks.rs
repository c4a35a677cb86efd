//! Idle connections that are taken out to be checked or pinged, and put back.

use super::{Conn, Delivered, Simulation};

impl Simulation {
    pub(super) fn under_check(&self) -> usize {
        self.borrowed.iter().map(|(_, conns)| conns.len()).sum()
    }

    /// The housekeeper takes some idle connections out, or one that is due for a ping, or puts
    /// back those that it has.
    pub(super) fn check_idle(&mut self) {
        if !self.closed && (self.borrowed.is_empty() || self.chance.bool()) {
            let taken = if self.chance.bool() { self.borrow_due() } else { self.borrow() };
            self.borrowed.extend(taken);
        } else if !self.borrowed.is_empty() {
            self.return_some();
        }
    }

    fn borrow(&mut self) -> Option<(usize, Vec<Conn>)> {
        let place = self.chance.usize(..3);
        let taken = self.core.borrow_idle(place, 2);
        (!taken.is_empty()).then_some((place, taken))
    }

    /// At most `most`, and half of the idle ones, are under check afterwards.
    fn borrow_due(&mut self) -> Option<(usize, Vec<Conn>)> {
        let (most, odd) = (self.chance.u32(1..4), self.chance.bool());
        let idle = self.core.counts().idle;
        let (under_check, limit) = (self.under_check(), most.min(idle.div_ceil(2)) as usize);
        let mut looked_at = 0;
        let (place, taken) = self.core.borrow_due(most, |conn| {
            looked_at += 1;
            (conn.number % 2 == 1) == odd
        })?;
        assert!(under_check < limit, "{under_check} of {idle} were under check, at most {limit}");
        assert_eq!((taken.number % 2 == 1, place + 1), (odd, looked_at), "the first that is due");
        Some((place, vec![taken]))
    }

    fn return_some(&mut self) {
        let which = self.chance.usize(..self.borrowed.len());
        let (place, mut healthy) = self.borrowed.swap_remove(which);
        let gone = self.chance.usize(..=healthy.len()) / 2;
        self.closing.extend(healthy.drain(..gone));
        let (late, orders) = self.core.return_idle(place, healthy, gone, self.now);
        assert!(late.is_empty() || self.closed);
        self.closing.extend(late);
        self.dials.extend(orders);
        self.note_deliveries(Delivered::Connection);
    }
}
