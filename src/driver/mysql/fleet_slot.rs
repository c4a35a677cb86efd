//! The slot of a fleet that a MySQL or MariaDB session holds: a named lock.

use crate::config::FleetCap;
use mysql::prelude::Queryable;
use mysql::{Conn, Result};
use std::fmt::Write as _;

/// The slot of a session. The server frees it when the session ends or is reset.
#[derive(Clone, Debug)]
pub(super) struct FleetSlot {
    cap: FleetCap,
    number: u32,
}

/// What a session found that asked for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Slot(u32),
    NoneIsFree,
    /// Another session has answered than the one that was logged in to: there is a proxy.
    OtherSession,
}

/// A session that asks for a slot. If none is free, it takes another lock, as slot 0, by which
/// those that have one know that a session waits.
///
/// A slot that is free at this moment may be that of a session that is being reset and takes
/// it again a moment later. While it waits, a session therefore takes only a slot that was
/// free the last time as well: it would otherwise end one session after the other.
pub(super) struct Asking<'a> {
    cap: &'a FleetCap,
    has_asked: bool,
    is_announced: bool,
    /// The slot that was free the last time.
    was_free: Option<u32>,
}

impl Asking<'_> {
    pub(super) fn new(cap: &FleetCap) -> Asking<'_> {
        Asking { cap, has_asked: false, is_announced: false, was_free: None }
    }

    /// Takes a free slot: the first time in one statement.
    ///
    /// # Errors
    ///
    /// The server's, or the connection was lost.
    pub(super) fn ask(&mut self, connection: &mut Conn) -> Result<Found> {
        if !self.has_asked {
            self.has_asked = true;
            return take(connection, self.cap, 1..=self.cap.total());
        }
        let waiting = self.cap.mysql_lock_name(0);
        if !self.is_announced {
            let answer = connection.query_first(format!("select get_lock('{waiting}', 0)"))?;
            self.is_announced = answer == Some(Some(1));
        }
        let found = take(connection, self.cap, self.was_free)?;
        if found == Found::NoneIsFree {
            self.was_free = first_free(connection, self.cap)?;
        }
        if matches!(found, Found::Slot(_)) && self.is_announced {
            connection.query_drop(format!("do release_lock('{waiting}')"))?;
        }
        Ok(found)
    }
}

/// Returns an expression whose value is the first of the slots for whose lock this is 1.
fn first_of(slots: impl IntoIterator<Item = u32>, test: impl Fn(u32) -> String) -> String {
    let mut text = String::from("case");
    for slot in slots {
        // A String takes what is written to it.
        let _ = write!(text, " when {} = 1 then {slot}", test(slot));
    }
    text.push_str(" when false then 0 end");
    text
}

/// Takes the first of these slots that is free, in one statement.
fn take(
    connection: &mut Conn,
    cap: &FleetCap,
    slots: impl IntoIterator<Item = u32>,
) -> Result<Found> {
    let lock = |slot| format!("get_lock('{}', 0)", cap.mysql_lock_name(slot));
    let statement = format!("select {}, connection_id()", first_of(slots, lock));
    let answer: Option<(Option<u32>, u64)> = connection.query_first(statement)?;
    let Some((slot, session)) = answer else { return Ok(Found::NoneIsFree) };
    // The greeting has the lower half of the number.
    if session & u64::from(u32::MAX) != u64::from(connection.connection_id()) {
        return Ok(Found::OtherSession);
    }
    Ok(slot.map_or(Found::NoneIsFree, Found::Slot))
}

/// Returns the first slot that is free, without taking it.
fn first_free(connection: &mut Conn, cap: &FleetCap) -> Result<Option<u32>> {
    let is_free = |slot| format!("is_free_lock('{}')", cap.mysql_lock_name(slot));
    let answer =
        connection.query_first(format!("select {}", first_of(1..=cap.total(), is_free)))?;
    Ok(answer.flatten())
}

impl FleetSlot {
    pub(super) fn new(cap: &FleetCap, number: u32) -> FleetSlot {
        FleetSlot { cap: cap.clone(), number }
    }

    /// Takes a slot on a session that was reset, the same one if it is still free; returns
    /// `true` if the session has one.
    ///
    /// # Errors
    ///
    /// The server's, or the connection was lost.
    pub(super) fn take_again(&mut self, connection: &mut Conn) -> Result<bool> {
        let slots = [self.number].into_iter().chain(1..=self.cap.total());
        match take(connection, &self.cap, slots)? {
            Found::Slot(number) => {
                self.number = number;
                Ok(true)
            }
            Found::NoneIsFree | Found::OtherSession => Ok(false),
        }
    }

    /// Returns `true` if a session waits for a slot.
    ///
    /// # Errors
    ///
    /// The server's, or the connection was lost.
    pub(super) fn is_wanted(&self, connection: &mut Conn) -> Result<bool> {
        let waiting = self.cap.mysql_lock_name(0);
        let is_free = connection.query_first(format!("select is_free_lock('{waiting}')"))?;
        Ok(is_free == Some(Some(0)))
    }
}
