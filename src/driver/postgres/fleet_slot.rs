//! The slot of a fleet that a PostgreSQL session holds: a session-level advisory lock.

use crate::config::FleetCap;
use postgres::{Client, Error, SimpleQueryMessage};

/// The slot of a session. The server frees it when the session ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct FleetSlot {
    class: i32,
    number: u32,
}

/// A session that asks for a slot. If none is free, it takes another lock, as slot 0, by which
/// those that have one know that a session waits.
pub(super) struct Asking<'a> {
    cap: &'a FleetCap,
    has_asked: bool,
    is_announced: bool,
}

impl Asking<'_> {
    pub(super) fn new(cap: &FleetCap) -> Asking<'_> {
        Asking { cap, has_asked: false, is_announced: false }
    }

    /// Takes the first free slot, in one statement; returns its number, `None` if none is
    /// free.
    ///
    /// # Errors
    ///
    /// The server's, or the connection was lost.
    pub(super) fn ask(&mut self, client: &mut Client) -> Result<Option<u32>, Error> {
        let (class, total) = (self.cap.postgres_lock_class(), self.cap.total());
        if self.has_asked && !self.is_announced {
            let statement = format!("select pg_catalog.pg_try_advisory_lock({class}, 0)");
            self.is_announced = is_true(&client.simple_query(&statement)?);
        }
        self.has_asked = true;
        // The function is volatile: it is called row by row, and not beyond the limit.
        let statement = format!(
            "select slot from pg_catalog.generate_series(1, {total}) as slot \
             where pg_catalog.pg_try_advisory_lock({class}, slot) limit 1"
        );
        let answer = client.simple_query(&statement)?;
        let number = last_value(&answer).and_then(|text| text.parse().ok());
        if number.is_some() && self.is_announced {
            client.simple_query(&format!("select pg_catalog.pg_advisory_unlock({class}, 0)"))?;
        }
        Ok(number)
    }
}

impl FleetSlot {
    pub(super) fn new(cap: &FleetCap, number: u32) -> FleetSlot {
        FleetSlot { class: cap.postgres_lock_class(), number }
    }

    /// Returns statements that unlock every advisory lock of the session but this one. The
    /// last row that they return is `t` if the session has the slot.
    ///
    /// In one message they are one transaction, whose own lock on the slot outlives the
    /// unlocking and ends after the session's lock was taken again: no other session can
    /// take it in between.
    pub(super) fn unlock_others(self) -> String {
        let FleetSlot { class, number } = self;
        format!(
            "select pg_catalog.pg_try_advisory_xact_lock({class}, {number}); \
             select pg_catalog.pg_advisory_unlock_all(); \
             select pg_catalog.pg_try_advisory_lock({class}, {number})"
        )
    }

    /// Returns `true` if a session waits for a slot.
    ///
    /// # Errors
    ///
    /// The server's, or the connection was lost.
    pub(super) fn is_wanted(self, client: &mut Client) -> Result<bool, Error> {
        let class = self.class;
        // Shared, so that it is refused to no other session that asks, and only until the
        // statement's end.
        let statement = format!("select pg_catalog.pg_try_advisory_xact_lock_shared({class}, 0)");
        Ok(!is_true(&client.simple_query(&statement)?))
    }
}

/// Returns `true` if the first value of the last row is.
pub(super) fn is_true(answer: &[SimpleQueryMessage]) -> bool {
    last_value(answer) == Some("t")
}

/// Returns the first value of the last row.
fn last_value(answer: &[SimpleQueryMessage]) -> Option<&str> {
    answer.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })
}
