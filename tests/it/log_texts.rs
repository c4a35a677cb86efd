//! The log lines, with values filled in, for review as text.

use crate::common::fake::{Act, At, Conn, Fake, Script, Transport};
use crate::common::{idle, pool, until};
use crate::texts::check;
use poolwarden::driver::SessionState;
use poolwarden::{
    Builder, CloseReason, FaultClass, Pool, PooledConnection, Reset, Role, Validation,
};
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;
use support::logs;

const MS: Duration = Duration::from_millis(1);

/// Appends the lines that a pool logs, with their levels, until it has closed a connection.
fn closes(
    out: &mut String,
    name: &str,
    configure: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
    close: impl FnOnce(&Pool<Fake>, &Script),
) {
    let log = logs::mark();
    let name = format!("orders: {name}");
    let (pool, script) = pool(Transport::Tcp, |o| configure(o.max_size(2).name(&*name)));
    close(&pool, &script);
    write_close(out, &log, &name, None);
}

/// As [`closes`], until it has closed a connection for this reason.
fn closes_for(
    out: &mut String,
    reason: CloseReason,
    configure: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
    close: impl FnOnce(&Pool<Fake>, &Script),
) {
    let log = logs::mark();
    let name = format!("orders: {reason}");
    let (pool, script) = pool(Transport::Tcp, |o| configure(o.max_size(2).name(&*name)));
    close(&pool, &script);
    write_close(out, &log, &name, Some(reason));
}

fn write_close(out: &mut String, log: &logs::Mark, name: &str, reason: Option<CloseReason>) {
    let is_wanted = |found: Option<&str>| match reason {
        Some(reason) => found == Some(reason.as_str()),
        None => found.is_some(),
    };
    let ended = || {
        let mut records = log.records_of("pool", name).into_iter();
        records.find(|record| is_wanted(record.field("reason")))
    };
    until!(ended().is_some());
    let line = ended().expect("it was just there");
    let _ = writeln!(out, "{}: {}", line.level, line.message);
}

/// Ends an idle connection, and has the pool find that out.
fn end_idle(pool: &Pool<Fake>, end: impl FnOnce(u64)) {
    end(idle(pool, 1)[0]);
    drop(pool.get().expect("a new one is opened"));
}

/// Changes a connection in use, and checks it in.
fn check_in(pool: &Pool<Fake>, change: impl FnOnce(&mut Conn)) {
    let mut conn = pool.get().expect("it opens");
    change(&mut conn);
    drop(conn);
}

#[test]
fn connections_that_the_pool_or_its_user_closes() {
    let mut out = String::new();
    let same = |options| options;
    let age = |o: Builder<Fake>| o.max_lifetime(300 * MS);
    closes(&mut out, "lifetime", age, |pool, _| drop(idle(pool, 1)));
    let idle_time = |o: Builder<Fake>| o.idle_timeout(100 * MS);
    closes(&mut out, "idle", idle_time, |pool, _| drop(idle(pool, 1)));
    closes(&mut out, "closed", same, |pool, _| {
        idle(pool, 1);
        pool.close(Duration::from_secs(10));
    });
    closes(&mut out, "smaller", same, |pool, _| {
        let held = [pool.get().expect("it opens"), pool.get().expect("it opens")];
        pool.set_max_size(1).expect("a size");
        drop(held);
    });
    closes(&mut out, "retired", same, |pool, _| {
        idle(pool, 1);
        pool.retire_all();
        drop(pool.get().expect("a new one is opened"));
    });
    closes(&mut out, "discarded", same, |pool, _| {
        PooledConnection::discard(pool.get().expect("it opens"));
    });
    closes(&mut out, "detached", same, |pool, _| {
        drop(PooledConnection::detach(pool.get().expect("it opens")));
    });
    let log = logs::mark();
    let (driver, _) = Fake::new(Transport::Tcp);
    let manager = Pool::builder().name("orders: released").manager(driver).expect("a manager");
    drop(r2d2::Pool::builder().max_size(1).build(manager).expect("it opens"));
    write_close(&mut out, &log, "orders: released", None);
    check("log_planned_closes", &out);
}

#[test]
fn connections_that_are_lost() {
    let mut out = String::new();
    let same = |options| options;
    for code in ["57P01", "57P02", "57P05", "XX000"] {
        closes(&mut out, code, same, |pool, script| {
            end_idle(pool, |number| {
                script.server().write(number, format!("E{code}by order").as_bytes());
                script.server().close(number);
            });
        });
    }
    closes(&mut out, "no message", same, |pool, script| {
        end_idle(pool, |number| script.server().close(number));
    });
    closes(&mut out, "reset", same, |pool, script| {
        end_idle(pool, |number| script.server().reset(number));
    });
    let pings = |o: Builder<Fake>| o.validation(Validation::AlwaysPing).ping_timeout(300 * MS);
    closes(&mut out, "ping fails", pings, |pool, script| {
        end_idle(pool, |_| script.once(At::Ping, Act::Fault(FaultClass::Other)));
    });
    closes(&mut out, "ping times out", pings, |pool, script| {
        idle(pool, 1);
        script.server().freeze();
        pool.get_timeout(Duration::from_secs(2)).expect_err("the server is frozen");
        script.server().thaw();
    });
    closes_for(&mut out, CloseReason::SiblingPingTimeout, pings, |pool, script| {
        idle(pool, 2);
        script.server().freeze();
        pool.get_timeout(Duration::from_secs(2)).expect_err("the server is frozen");
        script.server().thaw();
    });
    closes_for(
        &mut out,
        CloseReason::ReadOnly,
        |o| pings(o).role(Role::Writable),
        |pool, script| {
            end_idle(pool, |_| script.once(At::IsWritable, Act::Fault(FaultClass::Other)))
        },
    );
    closes_for(
        &mut out,
        CloseReason::Promoted,
        |o| pings(o).role(Role::Standby),
        |pool, script| {
            end_idle(pool, |_| script.once(At::IsStandby, Act::Fault(FaultClass::Other)))
        },
    );
    closes(&mut out, "unsolicited data", same, |pool, script| {
        end_idle(pool, |number| script.server().write(number, b"d"));
    });
    closes(
        &mut out,
        "a hook refuses",
        |o| o.on_checkout(|_| Err("no such tenant".into())),
        |pool, _| drop(pool.get().expect_err("it is refused")),
    );
    closes(&mut out, "broken", same, |pool, _| check_in(pool, |conn| conn.broken = true));
    closes(&mut out, "out of sync", same, |pool, _| {
        check_in(pool, |conn| conn.left = SessionState::OutOfSync);
    });
    closes(
        &mut out,
        "reset fails",
        |o| o.reset(Reset::Full),
        |pool, script| {
            script.once(At::Reset, Act::Fault(FaultClass::Other));
            check_in(pool, |conn| conn.left = SessionState::Dirty);
        },
    );
    closes(&mut out, "driver panics", same, |pool, script| {
        script.once(At::IsBroken, Act::Panic);
        check_in(pool, |_| ());
    });
    check("log_lost_connections", &out);
}

#[test]
fn an_outage_from_its_first_to_its_last_line() {
    // The sweep may find both connections first, and together; a slow caller may make a second
    // attempt. One of several tries counts.
    let is_usual = |out: &String| out.contains(": lost connection ") && out.contains("(1 attempt");
    let usual = (0..10).map(|_| lines_of_an_outage()).find(is_usual);
    check("log_outage", &usual.unwrap_or_else(lines_of_an_outage));
}

fn lines_of_an_outage() -> String {
    let log = logs::mark();
    let name = "orders: an outage";
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2).name(name));
    for number in idle(&pool, 2) {
        script.server().close(number);
    }
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    pool.get().expect_err("the server is down");
    thread::sleep(120 * MS);
    script.clear();
    until!(pool, pool.get().is_ok());
    let lines = log.records_of("pool", name).into_iter();
    let mut out = String::new();
    // The line at the end of a burst comes three seconds later.
    let is_wanted =
        |line: &logs::Record| line.level <= log::Level::Info && !line.message.contains(" more ");
    for line in lines.filter(is_wanted) {
        let _ = writeln!(out, "{}: {}", line.level, line.message);
    }
    out
}
