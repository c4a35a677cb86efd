//! `sslmode=prefer` falls back to plaintext if, and only if, TLS is the cause of the failure.

use super::{available, fault_of, outcome, relay, tls_my, tls_my_as, tls_pg};
use crate::variant::{My, Pg, Variant};
use poolwarden::observe::Encryption;
use poolwarden::{FaultClass, Pool, SslMode, Tls};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use support::proxy::Proxy;
use support::{mariadb, postgres as pg};

fn prefer() -> Tls {
    Tls::new(SslMode::Prefer)
}

/// Opens three connections in turn; returns the number of dials of each.
fn dials<F: Variant>(variant: &F, proxy: &Proxy) -> [usize; 3] {
    let pool = Pool::builder().max_size(1).build_lazy(variant.driver()).expect("options agree");
    let mut before = proxy.accepted();
    [(); 3].map(|()| {
        drop(pool.get().expect("a connection"));
        pool.retire_all();
        let now = proxy.accepted();
        let grown = now - before;
        before = now;
        grown
    })
}

#[test]
fn prefer_dials_twice_once_if_postgres_accepts_the_role_only_in_plaintext() {
    if !available() {
        return;
    }
    let proxy = Proxy::to_port(tls_pg().port());
    let variant = Pg::new(tls_pg().url_via(proxy.port(), "no_tls", "postgres")).with_tls(prefer());
    assert_eq!(dials(&variant, &proxy), [2, 1, 1]);
    assert_eq!(outcome(&variant), Ok(Encryption::Plain));
    let require = Pg::new(tls_pg().url("no_tls", "postgres")).with_tls(Tls::new(SslMode::Require));
    assert_eq!(fault_of(&require).0, FaultClass::Authentication);
}

#[test]
fn a_role_that_requires_tls_gets_it_by_default_and_is_refused_without() {
    if !available() {
        return;
    }
    let url = tls_pg().url("must_tls", "postgres");
    assert_eq!(outcome(&Pg::new(url.clone())), Ok(Encryption::Unverified));
    let plain = Pg::new(url).with_tls(Tls::new(SslMode::Disable));
    assert_eq!(fault_of(&plain).0, FaultClass::Authentication);
    assert_eq!(outcome(&tls_my_as("must_tls")), Ok(Encryption::Unverified));
    let plain = tls_my_as("must_tls").with_tls(Tls::new(SslMode::Disable));
    assert_eq!(fault_of(&plain).0, FaultClass::Authentication);
}

#[test]
fn a_wrong_password_is_not_sent_again_in_plaintext() {
    if !available() {
        return;
    }
    let proxy = Proxy::to_port(tls_pg().port());
    let url = format!("postgres://scram:wrong@127.0.0.1:{}/postgres", proxy.port());
    let (fault, text) = fault_of(&Pg::new(url).with_tls(prefer()));
    assert_eq!(fault, FaultClass::Authentication);
    assert!(text.contains("28P01"), "{text}");
    assert_eq!(proxy.accepted(), 1);
    let proxy = Proxy::to_port(tls_my().port());
    let url = format!("mysql://app:wrong@127.0.0.1:{}/", proxy.port());
    assert_eq!(fault_of(&My::new(url).with_tls(prefer())).0, FaultClass::Authentication);
    // A first log-in that is denied is repeated once, encrypted as well.
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn without_tls_on_the_server_postgres_needs_no_second_dial_and_mysql_one() {
    if !available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    assert_eq!(dials(&Pg::new(database.url_via(proxy.port())), &proxy), [1, 1, 1]);
    let database = mariadb::shared().fresh_database();
    let proxy = Proxy::to_port(mariadb::shared().port());
    assert_eq!(dials(&My::new(database.url_via(proxy.port())), &proxy), [2, 1, 1]);
}

/// Breaks the first connection in its TLS handshake.
fn broken_postgres(_: usize, mut client: TcpStream) -> Option<TcpStream> {
    let mut request = [0; 8];
    client.peek(&mut request).expect("the client sends first");
    if request[4..] != [4, 210, 22, 47] {
        return Some(client);
    }
    client.read_exact(&mut request).expect("the server accepts");
    client.write_all(b"Snonsense that is no TLS").expect("the peer reads");
    client.shutdown(Shutdown::Write).expect("it is open");
    None
}

#[test]
fn after_a_broken_handshake_prefer_connects_in_plaintext_and_stricter_modes_fail() {
    if !available() {
        return;
    }
    let relay = relay(tls_pg().port(), broken_postgres);
    let url = tls_pg().url_via(relay.port(), "postgres", "postgres");
    let at = |mode| Pg::new(url.clone()).with_tls(Tls::new(mode));
    assert_eq!(outcome(&at(SslMode::Prefer)), Ok(Encryption::Plain));
    assert_eq!(fault_of(&at(SslMode::Require)).0, FaultClass::Tls);
    // The server accepts this role with TLS only: the error is the TLS failure.
    let must = Pg::new(tls_pg().url_via(relay.port(), "must_tls", "postgres"));
    assert_eq!(fault_of(&must).0, FaultClass::Tls);
}

/// Forwards MariaDB's greeting, and breaks the first client's TLS handshake.
fn broken_mysql(port: u16) -> impl Fn(usize, TcpStream) -> Option<TcpStream> + Send + Sync {
    move |number, mut client| {
        if number > 0 {
            return Some(client);
        }
        let mut server = TcpStream::connect(("127.0.0.1", port)).expect("the peer reads");
        let mut greeting = vec![0; 1024];
        let length = server.read(&mut greeting).expect("it greets");
        client.write_all(&greeting[..length]).expect("the peer reads");
        // MySQL documentation, "SSLRequest": a header of 4 bytes and 32 more.
        client.read_exact(&mut [0; 36]).expect("the client requests TLS");
        client.write_all(b"nonsense that is no TLS").expect("the peer reads");
        client.shutdown(Shutdown::Write).expect("it is open");
        None
    }
}

#[test]
fn after_a_broken_mysql_handshake_prefer_connects_in_plaintext_and_stricter_modes_fail() {
    if !available() {
        return;
    }
    let at = |mode| {
        let relay = relay(tls_my().port(), broken_mysql(tls_my().port()));
        let found =
            outcome(&My::new(tls_my().url_via(relay.port(), "mysql")).with_tls(Tls::new(mode)));
        found.map_err(|(fault, _)| fault)
    };
    assert_eq!(at(SslMode::Prefer), Ok(Encryption::Plain));
    assert_eq!(at(SslMode::Require), Err(FaultClass::Tls));
}
