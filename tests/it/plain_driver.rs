//! Drivers that have only what every driver needs, with a session type of their own.

use crate::common::{LONG_TIMEOUT, until};
use poolwarden::driver::{Attempt, Driver, Session, SessionState, SocketAccess, Usage};
use poolwarden::{
    BoxError, CloseReason, ConnectError, ErrorKind, IsolationLevel, Pool, PooledConnection, Reset,
    Role, Validation,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

/// A connection: what a borrower left in it.
#[derive(Debug)]
struct Number {
    value: u32,
    left: SessionState,
}

/// A session with a count of the pings beside its connection.
struct Counted {
    number: Number,
    pings: Arc<AtomicU32>,
}

impl Session<Number> for Counted {
    fn connection(&self) -> &Number {
        &self.number
    }

    fn connection_mut(&mut self) -> &mut Number {
        &mut self.number
    }

    fn into_connection(self) -> Number {
        self.number
    }
}

#[derive(Default)]
struct Numbers {
    opened: AtomicU32,
    pings: Arc<AtomicU32>,
}

impl Driver for Numbers {
    type Connection = Number;
    type Session = Counted;

    fn label(&self) -> String {
        "numbers".into()
    }

    fn connect(&self, _: &Attempt) -> Result<Counted, ConnectError> {
        let value = self.opened.fetch_add(1, Relaxed) + 1;
        let number = Number { value, left: SessionState::Clean };
        Ok(Counted { number, pings: Arc::clone(&self.pings) })
    }

    fn ping(&self, session: &mut Counted, _: Instant) -> Result<(), BoxError> {
        session.pings.fetch_add(1, Relaxed);
        Ok(())
    }

    fn socket_access<'a>(&self, _: &'a Counted) -> SocketAccess<'a> {
        SocketAccess::InProcess
    }

    fn session_state(&self, session: &mut Counted, _: Usage, _: Reset) -> SessionState {
        session.number.left
    }
}

#[test]
fn a_guard_lends_the_connection_of_a_session_and_detach_moves_it_out() -> Result<(), BoxError> {
    let pool = Pool::builder().max_size(1).build(Numbers::default())?;
    pool.get()?.value = 7;
    assert_eq!(pool.get()?.value, 7, "the same connection");
    let number = PooledConnection::detach(pool.get()?);
    assert_eq!(number.value, 7);
    assert_eq!(pool.get()?.value, 2, "another one was opened");
    assert_eq!(pool.snapshot().closed_by(CloseReason::Detached), 1);
    Ok(())
}

#[test]
fn without_a_reset_a_session_is_closed_as_its_state_says() -> Result<(), BoxError> {
    let pool = Pool::builder().max_size(1).build(Numbers::default())?;
    for (left, reason) in [
        (SessionState::Dirty, CloseReason::Dirty),
        (SessionState::OutOfSync, CloseReason::Dirty),
        (SessionState::Broken, CloseReason::Broken),
    ] {
        let before = pool.snapshot().closed_by(reason);
        pool.get()?.left = left;
        until!(pool, pool.snapshot().closed_by(reason) == before + 1);
        assert_eq!(pool.get()?.left, SessionState::Clean);
    }
    assert_eq!(pool.snapshot().resets, 0);
    assert_eq!(pool.close(LONG_TIMEOUT).levels.open, 0);
    Ok(())
}

#[test]
fn without_roles_a_server_that_answers_has_each() -> Result<(), BoxError> {
    for role in [Role::Writable, Role::Standby] {
        let driver = Numbers::default();
        let pings = Arc::clone(&driver.pings);
        let builder = Pool::builder().max_size(1).validation(Validation::AlwaysPing).role(role);
        let pool = builder.build(driver)?;
        drop(pool.get()?);
        assert_eq!(pool.get()?.value, 1, "a ping was enough");
        assert!(pings.load(Relaxed) > 0);
    }
    Ok(())
}

#[test]
fn without_defaults_of_sessions_none_can_be_set() {
    let builder = Pool::builder().isolation(IsolationLevel::Serializable);
    let error = builder.build(Numbers::default()).map(drop).expect_err("it has none");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(
        error.to_string().contains("isolation: numbers has no such session default"),
        "{error}"
    );
}
