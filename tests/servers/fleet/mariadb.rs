//! Slots as named locks: a reset frees them, and the session takes its own again.

use super::{LONG, mariadb_fleet};
use crate::variant::{My, Variant, shared_my};
use mysql::prelude::Queryable;
use poolwarden::config::FleetCap;
use poolwarden::{CloseReason, ErrorKind, FaultClass, MySql, Pool, Reset};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use support::mariadb as my;
use support::script::{Script, serve};

/// Returns the sessions that hold the slots of a fleet.
fn holders(database: &my::Database<'_>, cap: &FleetCap) -> Vec<String> {
    let holder = |slot| format!("select is_used_lock('{}')", cap.mysql_lock_name(slot));
    let all: Vec<_> = (1..=cap.total()).map(holder).collect();
    database.sql(&all.join(" union all ")).into_iter().map(|row| row[0].clone()).collect()
}

/// Variants with a default database and without one: their resets differ.
fn variants(database: &my::Database<'_>) -> [My; 3] {
    let without = database.url().rsplit_once('/').expect("a path").0.to_owned() + "/";
    [My::new(database.url()), My::new(database.unix_url()), My::new(without)]
}

fn a_session_takes_its_slot_again(variant: &My, database: &my::Database<'_>) {
    let fleet = mariadb_fleet(database, 3);
    let builder = Pool::builder().max_size(2).reset(Reset::Full).fleet_cap(fleet.cap.clone());
    let pool: Pool<MySql> = builder.build(variant.driver()).expect("a slot is free");
    let both = [pool.get().expect("one"), pool.get().expect("two")];
    drop(both);
    let before = holders(database, &fleet.cap);
    assert_eq!(before.iter().filter(|holder| !holder.is_empty() && *holder != "NULL").count(), 2);
    for round in 0..20 {
        let mut connection = pool.get().expect("a connection");
        connection.query_drop("set @a = 1").expect("it runs");
        if round % 2 == 0 {
            connection.query_drop("do get_lock('another', 0)").expect("it runs");
        }
    }
    assert_eq!(holders(database, &fleet.cap), before);
    assert_eq!(database.sql("select is_used_lock('another') is null")[0][0], "1");
    let books = pool.snapshot();
    assert_eq!((books.opened, books.closed()), (2, 0), "{books}");
    assert!(books.resets >= 20, "{books}");
}

#[test]
fn a_session_takes_its_slot_again_after_a_reset() {
    let Some((_, database)) = shared_my() else { return };
    for variant in variants(&database) {
        a_session_takes_its_slot_again(&variant, &database);
    }
}

#[test]
fn a_session_that_finds_no_slot_after_its_reset_is_closed() {
    let Some((_, database)) = shared_my() else { return };
    for variant in variants(&database) {
        let fleet = mariadb_fleet(&database, 1);
        let builder = Pool::builder().max_size(1).fleet_cap(fleet.cap.clone());
        let pool: Pool<MySql> = builder.build(variant.driver()).expect("the slot is free");
        let slot = fleet.cap.mysql_lock_name(1);
        let mut connection = pool.get().expect("the only one");
        connection.query_drop(format!("do release_lock('{slot}')")).expect("it runs");
        let mut other = variant.open().expect("a session");
        let taken: Option<u8> =
            other.query_first(format!("select get_lock('{slot}', 0)")).expect("an answer");
        assert_eq!(taken, Some(1), "the slot is free");
        drop(connection);
        let books = pool.snapshot();
        assert_eq!((books.closed(), books.closed_by(CloseReason::FleetTurn)), (1, 1), "{books}");
        drop(other);
        assert!(pool.get_timeout(LONG).is_ok(), "{}", pool.snapshot());
    }
}

/// A relay in front of a server that greets its clients with session numbers of its own, as
/// proxies do that share sessions (ProxySQL, MaxScale). Here each client has a session for
/// itself: what is simulated is only by what the driver can recognize such a proxy.
fn relay_with_own_numbers(port: u16) -> Script {
    serve(move |mut client| {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server");
        let mut head = [0; 4];
        server.read_exact(&mut head).expect("a packet's head");
        let length = usize::from(head[0]) + (usize::from(head[1]) << 8);
        let mut greeting = vec![0; length];
        server.read_exact(&mut greeting).expect("the greeting");
        // MySQL documentation, "Protocol::HandshakeV10": the version, its end, four bytes.
        let version = greeting.iter().skip(1).position(|byte| *byte == 0).expect("an end") + 2;
        let number = &mut greeting[version..version + 4];
        number.copy_from_slice(&4_000_000_u32.to_le_bytes());
        client.write_all(&head).and_then(|()| client.write_all(&greeting)).expect("a client");
        let mut back = (server.try_clone().expect("a copy"), client.try_clone().expect("a copy"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = io::copy(&mut back.0, &mut back.1);
                let _ = back.1.shutdown(std::net::Shutdown::Write);
            });
            let _ = io::copy(&mut client, &mut server);
            let _ = server.shutdown(std::net::Shutdown::Write);
        });
    })
}

#[test]
fn a_proxy_that_shares_sessions_is_refused() {
    let Some((_, database)) = shared_my() else { return };
    let relay = relay_with_own_numbers(database.server().port());
    let variant = My::new(database.url_via(relay.addr().port()));
    let without: Pool<MySql> = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    My::ask(&mut without.get().expect("a connection")).expect("the relay works");
    let cap = FleetCap::new(crate::variant::fresh_name("proxied"), 3);
    let assert_refused = |error: &(dyn std::error::Error + 'static)| {
        let text = error.to_string();
        for part in ["fleet_cap needs a server session of its own", "a proxy that shares sessions"]
        {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
    };
    let error = Pool::builder().fleet_cap(cap.clone()).build(variant.driver()).map(drop);
    let error = error.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let cause = error.connect_error().expect("the cause");
    assert_eq!(cause.class(), FaultClass::Configuration, "{error}");
    assert_refused(&error);
    // The same in a bare r2d2 pool.
    let manager = Pool::builder().fleet_cap(cap.clone()).manager(variant.driver());
    let error = r2d2::ManageConnection::connect(&manager.expect("the options agree"));
    assert_refused(&error.map(drop).expect_err("refused"));
    // The sessions that asked are gone, and with them what they took.
    let is_free = || holders(&database, &cap).iter().all(|holder| holder == "NULL");
    assert!(support::wait::eventually(LONG, is_free), "{:?}", holders(&database, &cap));
}
