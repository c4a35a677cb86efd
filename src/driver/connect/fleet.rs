//! What both server drivers do alike for a [`FleetCap`]: they let the process log in one
//! session at a time, and have it ask for a slot until one is free or its time is over.

use crate::config::FleetCap;
use crate::driver::attempt::Attempt;
use crate::error::{ConnectError, FaultClass, Phase};
use crate::sys::process::{DEPTH, PerProcess};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long a session without a slot asks for one. Less than the time after which the
/// engine takes an attempt for stalled, so that it does not begin a second one.
const PATIENCE: Duration = Duration::from_millis(400);

/// How far apart a session asks, at least; and how much further for each slot, because the
/// statement names them all.
const ASK_EVERY: Duration = Duration::from_millis(25);
const FOR_EACH_SLOT: Duration = Duration::from_micros(100);

/// The groups for which an attempt of this process is logging in.
static LOGGING_IN: PerProcess<Mutex<Vec<Arc<str>>>> =
    PerProcess::new([const { Mutex::new(Vec::new()) }; DEPTH]);
static OVER: PerProcess<Condvar> = PerProcess::new([const { Condvar::new() }; DEPTH]);

/// The right to have a session that has no slot of this group yet, the only one in this
/// process.
pub(crate) struct LoginTurn(Arc<str>);

impl LoginTurn {
    /// Waits for the turn until the attempt's deadline; `None` if the attempt needs no slot.
    ///
    /// # Errors
    ///
    /// [`FaultClass::TimedOut`].
    pub(crate) fn take(attempt: &Attempt, server: &str) -> Result<Option<LoginTurn>, ConnectError> {
        let Some(cap) = attempt.fleet_cap() else { return Ok(None) };
        attempt.enter(Phase::TakingSlot);
        let group: Arc<str> = cap.group().into();
        let mut logging_in = LOGGING_IN.get().lock();
        while logging_in.contains(&group) {
            let wait = OVER.get().wait_until(&mut logging_in, attempt.deadline());
            if wait.timed_out() && logging_in.contains(&group) {
                return Err(ConnectError::new(FaultClass::TimedOut, server));
            }
        }
        logging_in.push(Arc::clone(&group));
        Ok(Some(LoginTurn(group)))
    }
}

impl Drop for LoginTurn {
    fn drop(&mut self) {
        LOGGING_IN.get().lock().retain(|group| *group != self.0);
        OVER.get().notify_all();
    }
}

/// Calls `ask` until it returns a slot, or for [`PATIENCE`] and not beyond the attempt's
/// deadline.
pub(crate) fn ask_for_slot<E>(
    attempt: &Attempt,
    mut ask: impl FnMut() -> Result<Option<u32>, E>,
) -> Result<Option<u32>, E> {
    attempt.enter(Phase::TakingSlot);
    let until = attempt.deadline().min(Instant::now() + PATIENCE);
    let slots = attempt.fleet_cap().map_or(0, FleetCap::total);
    let pause = ASK_EVERY + FOR_EACH_SLOT * slots;
    loop {
        if let Some(slot) = ask()? {
            return Ok(Some(slot));
        }
        if Instant::now() + pause >= until {
            return Ok(None);
        }
        std::thread::sleep(pause);
    }
}

/// Returns the error of a session that found no free slot.
pub(crate) fn full(cap: &FleetCap, target: &str) -> ConnectError {
    let (group, total) = (cap.group(), cap.total());
    let text = match total {
        1 => format!("the only slot of the group \"{group}\" is taken"),
        _ => format!("all {total} slots of the group \"{group}\" are taken"),
    };
    ConnectError::new(FaultClass::FleetFull, target).with_source(text)
}

/// Returns the error of a session behind a pooler, which may run each transaction, and so
/// each lock, on another session of the server.
pub(crate) fn behind_pooler(pooler: &str, target: &str) -> ConnectError {
    let text = format!(
        "fleet_cap needs a server session of its own for each connection, and {pooler}; connect \
         to the server itself, or set the cap in the pooler"
    );
    ConnectError::new(FaultClass::Configuration, target).with_source(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::attempt::AttemptOptions;

    fn attempt(group: &str, millis: u64) -> Attempt {
        let options = AttemptOptions {
            timeout: Duration::from_millis(millis),
            fleet_cap: Some(FleetCap::new(group, 1)),
            ..AttemptOptions::default()
        };
        Attempt::new(Instant::now(), options)
    }

    #[test]
    fn one_attempt_of_a_group_logs_in_at_a_time() {
        let take = |group, millis| LoginTurn::take(&attempt(group, millis), "db");
        let turn = take("one-at-a-time", 1_000).expect("it is free");
        let error = take("one-at-a-time", 1).err().expect("taken");
        assert_eq!(error.class(), FaultClass::TimedOut);
        assert!(take("another", 1_000).is_ok());
        let waiter =
            std::thread::spawn(|| LoginTurn::take(&attempt("one-at-a-time", 60_000), "db").is_ok());
        drop(turn);
        assert!(waiter.join().expect("no panic"));
    }

    #[test]
    fn an_attempt_without_a_cap_needs_no_turn() {
        let attempt = Attempt::new(Instant::now(), AttemptOptions::default());
        assert!(LoginTurn::take(&attempt, "db").is_ok_and(|turn| turn.is_none()));
    }

    #[test]
    fn a_session_asks_until_a_slot_is_free_or_its_time_is_over() {
        let mut answers = [None, None, Some(3)].into_iter();
        let slot = ask_for_slot(&attempt("asks", 60_000), || Ok::<_, ()>(answers.next().flatten()));
        assert_eq!(slot, Ok(Some(3)));
        let began = Instant::now();
        let slot = ask_for_slot(&attempt("asks", 60_000), || Ok::<_, ()>(None));
        assert_eq!(slot, Ok(None));
        assert!(began.elapsed() >= PATIENCE - 2 * ASK_EVERY);
        assert_eq!(
            ask_for_slot(&attempt("asks", 0), || Err::<Option<u32>, _>("lost")),
            Err("lost")
        );
    }

    #[test]
    fn errors_name_the_group_and_its_total() {
        let text = full(&FleetCap::new("orders", 30), "db:1").to_string();
        let expected = "cannot connect to db:1: fleet is at its cap: all 30 slots of the group \
                        \"orders\" are taken";
        assert_eq!(text, expected);
        let text = full(&FleetCap::new("orders", 1), "db:1").to_string();
        assert!(text.ends_with("the only slot of the group \"orders\" is taken"), "{text}");
    }
}
