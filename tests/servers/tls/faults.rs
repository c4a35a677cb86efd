//! TLS that stalls, that is refused unusually, or that is negotiated directly; and what a
//! connection can do must not depend on its encryption.

use super::{available, fault_of, full, outcome, relay, tls_my, tls_pg, tls_pg_as};
use crate::deadlines::{hanging, hanging_dial};
use crate::variant::{My, Pg, Variant};
use native_tls::{Identity, TlsAcceptor, TlsStream};
use poolwarden::config::{ChannelBinding, SslNegotiation};
use poolwarden::driver::Phase;
use poolwarden::observe::Encryption;
use poolwarden::{CloseReason, ErrorKind, FaultClass, Pool, SslMode, Tls};
use std::fs;
use std::io::{self, ErrorKind as IoKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::certificates::Certificate;
use support::script::{self, Script};
use support::wait::eventually;

/// Answers a request for TLS, and nothing after that.
fn answering(answer: &'static [u8]) -> Script {
    script::serve(move |mut client| {
        client.read_exact(&mut [0; 8]).expect("the client requests TLS");
        client.write_all(answer).expect("the peer reads");
        let _ = io::copy(&mut client, &mut io::sink());
    })
}

fn at(script: &Script) -> Pg {
    Pg::new(format!("postgres://nobody@127.0.0.1:{}/nothing", script.port()))
}

#[test]
fn a_stalled_handshake_ends_at_the_deadline() {
    if !available() {
        return;
    }
    let without_warning = answering(b"S");
    hanging(at(&without_warning).driver(), Phase::Handshaking);
    hanging_dial(at(&without_warning).driver(), Phase::Handshaking);
    let without_warning = relay(tls_my().port(), |_, mut client| {
        let mut server =
            TcpStream::connect((Ipv4Addr::LOCALHOST, tls_my().port())).expect("the peer reads");
        let mut greeting = vec![0; 1024];
        let length = server.read(&mut greeting).expect("it greets");
        client.write_all(&greeting[..length]).expect("the peer reads");
        let _ = io::copy(&mut client, &mut io::sink());
        None
    });
    let my = My::new(format!("mysql://app:app@127.0.0.1:{}/", without_warning.port()));
    hanging(my.driver(), Phase::Handshaking);
    hanging_dial(my.driver(), Phase::Handshaking);
}

#[test]
fn an_error_in_answer_to_the_tls_request_is_reported_without_its_unauthenticated_text() {
    if !available() {
        return;
    }
    let failing = answering(b"E\0\0\0\x20SFATAL\0Mtrust me, I am the server\0\0");
    for mode in [SslMode::Prefer, SslMode::Require] {
        let before = failing.accepted();
        let (fault, text) = fault_of(&at(&failing).with_tls(Tls::new(mode)));
        assert_eq!(fault, FaultClass::Other, "{text}");
        assert!(text.contains("answered the TLS request with an error"), "{text}");
        assert!(!text.contains("trust me"), "{text}");
        assert_eq!(failing.accepted() - before, 1, "{mode}");
    }
    let web = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert!(fault_of(&at(&web)).1.contains("not a PostgreSQL server"));
}

#[test]
fn scram_is_bound_to_its_tls_channel() {
    if !available() {
        return;
    }
    let url = format!("postgres://scram:right@127.0.0.1:{}/postgres", tls_pg().port());
    let bound = Tls::new(SslMode::Require).channel_binding(ChannelBinding::Require);
    // The server proves that it knows the password's verifier.
    assert_eq!(outcome(&Pg::new(url.clone()).with_tls(bound.clone())), Ok(Encryption::Verified));
    assert_eq!(outcome(&Pg::new(url.clone()).with_tls(full())), Ok(Encryption::Verified));
    let unbound = full().channel_binding(ChannelBinding::Disable);
    assert_eq!(outcome(&Pg::new(url.clone()).with_tls(unbound)), Ok(Encryption::Verified));
    // Without a password there is no channel binding.
    let (fault, text) = fault_of(&tls_pg_as("postgres").with_tls(bound));
    assert_eq!(fault, FaultClass::Authentication, "{text}");
    // With a TLS proxy in between, the binding fails, whatever is verified.
    let between = tls_proxy(tls_pg().port(), &[]);
    let url = url.replace(&tls_pg().port().to_string(), &between.port().to_string());
    let direct = Tls::new(SslMode::Prefer).channel_binding(ChannelBinding::Require);
    let (fault, text) = fault_of(&Pg::new(url).with_tls(direct));
    assert!(matches!(fault, FaultClass::Authentication | FaultClass::Tls), "{text}");
}

fn acceptor(protocols: &[&str]) -> TlsAcceptor {
    let read = |path| fs::read(path).expect("it was made");
    let right = Certificate::Valid;
    let identity = Identity::from_pkcs8(&read(right.pem()), &read(right.key())).expect("a key");
    let mut builder = TlsAcceptor::builder(identity);
    builder.accept_alpn(protocols);
    builder.build().expect("an acceptor")
}

/// Accepts TLS from the first byte on, or after the TLS request, and forwards what
/// is inside in plain.
fn tls_proxy(port: u16, protocols: &[&str]) -> Script {
    let acceptor = acceptor(protocols);
    script::serve(move |mut client| {
        let mut first = [0];
        client.peek(&mut first).expect("the client sends first");
        if first != [0x16] {
            client.read_exact(&mut [0; 8]).expect("the client requests TLS");
            client.write_all(b"S").expect("the peer reads");
        }
        let Ok(mut inside) = acceptor.accept(client) else { return };
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the peer reads");
        let _ = exchange(&mut inside, &mut server);
    })
}

/// Forwards both ways until one side ends.
fn exchange(inside: &mut TlsStream<TcpStream>, server: &mut TcpStream) -> io::Result<()> {
    let short = Some(Duration::from_millis(1));
    inside.get_ref().set_read_timeout(short)?;
    server.set_read_timeout(short)?;
    let mut buffer = [0; 8 * 1024];
    let quiet = |error: &io::Error| matches!(error.kind(), IoKind::WouldBlock | IoKind::TimedOut);
    loop {
        match inside.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => server.write_all(&buffer[..length])?,
            Err(error) if quiet(&error) => {}
            Err(error) => return Err(error),
        }
        match server.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => inside.write_all(&buffer[..length])?,
            Err(error) if quiet(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

#[test]
fn direct_tls_needs_a_server_that_agrees_on_the_protocol() {
    if !available() {
        return;
    }
    let direct = full().negotiation(SslNegotiation::Direct);
    let url = |port| tls_pg().url_via(port, "postgres", "postgres");
    let agreeing = tls_proxy(tls_pg().port(), &["postgresql"]);
    let variant = Pg::new(url(agreeing.port())).with_tls(direct.clone());
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("direct TLS");
    Pg::ask(&mut pool.get().expect("a connection")).expect("it works");
    assert_eq!(pool.snapshot().encryption, Some(Encryption::Verified));
    let other = tls_proxy(tls_pg().port(), &[]);
    let (fault, text) = fault_of(&Pg::new(url(other.port())).with_tls(direct.clone()));
    assert_eq!(fault, FaultClass::Tls, "{text}");
    assert!(text.contains("ALPN"), "{text}");
    // Before version 17 the server reads the first byte of TLS as an invalid message.
    let alone = outcome(&Pg::new(url(tls_pg().port())).with_tls(direct));
    let expected = if support::postgres::version() < 17 {
        Err(FaultClass::Tls)
    } else {
        Ok(Encryption::Verified)
    };
    assert_eq!(alone.map_err(|(fault, _)| fault), expected);
}

#[test]
fn a_statement_over_tls_is_cancelled_by_a_request_over_tls() {
    if !available() {
        return;
    }
    let openings = Arc::<Mutex<Vec<[u8; 8]>>>::default();
    let seen = Arc::clone(&openings);
    let tap = relay(tls_pg().port(), move |_, client| {
        let mut opening = [0; 8];
        client.peek(&mut opening).expect("the client sends first");
        seen.lock().expect("no panic").push(opening);
        Some(client)
    });
    let variant = Pg::new(tls_pg().url_via(tap.port(), "must_tls", "postgres")).with_tls(full());
    let pool = Pool::builder().max_size(1).row_limit(10).build(variant.driver()).expect("a pool");
    // Rows that are too large to be kept back, and then a sleep.
    let endless = "select repeat('x', 10000) from generate_series(1, 20) \
                   union all select pg_sleep(60)::text";
    let error = pool.query(endless, &[]).map(drop).expect_err("too many rows");
    assert_eq!(error.kind(), ErrorKind::RowLimit, "{error}");
    let running = "select 1 from pg_stat_activity where usename = 'must_tls' and state = 'active'";
    let gone = eventually(Duration::from_secs(10), || tls_pg().sql("postgres", running).is_empty());
    assert!(gone, "the statement still runs");
    let openings = openings.lock().expect("no panic").clone();
    assert!(openings.len() >= 2, "there was a cancel request");
    // PostgreSQL documentation, "Message Formats", SSLRequest.
    assert!(openings.iter().all(|opening| opening[4..] == [4, 210, 22, 47]), "{openings:?}");
}

#[test]
fn an_encrypted_connection_is_peeked_and_pinged_only_if_bytes_are_pending() {
    if !available() {
        return;
    }
    let options = Pool::builder()
        .max_size(1)
        .init(|client: &mut postgres::Client| Ok(client.batch_execute("listen news")?));
    let pool = options.build(tls_pg_as("postgres").with_tls(full()).driver()).expect("a pool");
    std::thread::sleep(Duration::from_millis(1_100));
    drop(pool.get().expect("it is quiet"));
    let before = pool.snapshot();
    assert_eq!(before.pings, 0, "{before}");
    tls_pg().sql("postgres", "notify news, 'hello'");
    let lies_there = || {
        drop(pool.get().expect("it is alive"));
        pool.snapshot().pings > 0
    };
    assert!(eventually(Duration::from_secs(5), lies_there), "{}", pool.snapshot());
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn an_open_transaction_is_detected_over_tls() {
    if !available() {
        return;
    }
    let pool = Pool::builder().max_size(1).build(tls_pg_as("postgres").with_tls(full()).driver());
    let pool = pool.expect("a pool");
    pool.get().expect("a connection").batch_execute("begin").expect("it begins");
    let books = pool.snapshot();
    assert_eq!((books.rolled_back, books.resets), (1, 1), "{books}");
    drop(pool.get().expect("the same one"));
    assert_eq!(pool.snapshot().resets, 1);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 0);
}
