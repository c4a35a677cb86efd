//! Each mode against each certificate.

use super::{ReportsTls, available, full, outcome};
use crate::variant::{My, Pg};
use poolwarden::observe::Encryption;
use poolwarden::{FaultClass, SslMode, Tls};
use support::certificates::{self, Certificate};
use support::{mariadb, postgres as pg};

/// The expected outcome: the encryption of the connection, or no connection.
type Cell = Option<Encryption>;

const P: Cell = Some(Encryption::Plain);
const U: Cell = Some(Encryption::Unverified);
const V: Cell = Some(Encryption::Verified);
/// No connection, because of its TLS.
const X: Cell = None;

/// Mode, with our authority's certificate or not, and the outcomes: first without
/// TLS on the server, then with each of [`Certificate::ALL`].
type Row = (SslMode, bool, [Cell; 5]);

const POSTGRES: [Row; 8] = [
    (SslMode::Disable, false, [P, P, P, P, P]),
    (SslMode::Prefer, false, [P, U, U, U, U]),
    (SslMode::Prefer, true, [P, U, U, U, U]),
    (SslMode::Require, false, [X, U, U, U, U]),
    (SslMode::Require, true, [X, V, V, X, X]),
    (SslMode::VerifyCa, true, [X, V, V, X, X]),
    (SslMode::VerifyFull, false, [X, X, X, X, X]),
    (SslMode::VerifyFull, true, [X, V, X, X, X]),
];

/// The driver trusts the system's authorities besides ours, for any host.
const MYSQL: [Row; 8] = [
    (SslMode::Disable, false, [P, P, P, P, P]),
    (SslMode::Prefer, false, [P, U, U, U, U]),
    (SslMode::Prefer, true, [P, U, U, U, U]),
    (SslMode::Require, false, [X, U, U, U, U]),
    (SslMode::Require, true, [X, U, U, X, X]),
    (SslMode::VerifyCa, true, [X, U, U, X, X]),
    (SslMode::VerifyFull, false, [X, X, X, X, X]),
    (SslMode::VerifyFull, true, [X, V, X, X, X]),
];

/// Tries one column of a table; returns the rows with another outcome.
fn column<F: ReportsTls>(
    rows: &[Row],
    place: usize,
    what: &str,
    on: impl Fn(Tls) -> F,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (mode, rooted, cells) in rows {
        let mut tls = Tls::new(*mode);
        if *rooted {
            tls = tls.root_certificate(certificates::authority());
        }
        let found = outcome(&on(tls));
        let as_expected = match &found {
            Ok(encryption) => cells[place] == Some(*encryption),
            Err((fault, _)) => cells[place].is_none() && *fault == FaultClass::Tls,
        };
        if !as_expected {
            let root = if *rooted { " with a root certificate" } else { "" };
            wrong.push(format!("{mode}{root}, {what}: {found:?}, not {:?}", cells[place]));
        }
    }
    wrong
}

#[test]
fn each_sslmode_treats_each_certificate_of_postgres_as_libpq() {
    if !available() {
        return;
    }
    let plain = pg::shared().fresh_database();
    let mut wrong = column(&POSTGRES, 0, "no TLS", |tls| Pg::new(plain.url()).with_tls(tls));
    let server = pg::Server::with(|conf| {
        conf.tls(Certificate::Valid);
    });
    for (place, certificate) in Certificate::ALL.into_iter().enumerate() {
        server.replace_certificate(certificate);
        let on = |tls| Pg::new(server.url("postgres", "postgres")).with_tls(tls);
        wrong.extend(column(&POSTGRES, place + 1, &format!("{certificate:?}"), on));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_sslmode_treats_each_certificate_of_mariadb_as_libpq_except_for_public_authorities() {
    if !available() {
        return;
    }
    let plain = mariadb::shared().fresh_database();
    let mut wrong = column(&MYSQL, 0, "no TLS", |tls| My::new(plain.url()).with_tls(tls));
    let server = mariadb::Server::with(|conf| {
        conf.tls(Certificate::Valid);
    });
    for (place, certificate) in Certificate::ALL.into_iter().enumerate() {
        server.replace_certificate(certificate);
        let on = |tls| My::new(server.url("mysql")).with_tls(tls);
        wrong.extend(column(&MYSQL, place + 1, &format!("{certificate:?}"), on));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_name_is_verified_as_well_as_an_address() {
    if !available() {
        return;
    }
    let verified = Ok(Encryption::Verified);
    let pg = super::tls_pg().url("postgres", "postgres").replace("127.0.0.1", "localhost");
    assert_eq!(outcome(&Pg::new(pg).with_tls(full())), verified);
    let my = super::tls_my().url("mysql").replace("127.0.0.1", "localhost");
    // The mysql driver dials the first address of a name only.
    let first = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1));
    if first.expect("a name").next().is_some_and(|address| address.is_ipv4()) {
        assert_eq!(outcome(&My::new(my).with_tls(full())), verified);
    }
}

#[test]
fn unix_sockets_use_no_tls_and_need_none() {
    if !available() {
        return;
    }
    use crate::variant::Variant;
    let server = super::tls_pg();
    let pg = Pg::new(server.unix_url("postgres", "postgres")).with_tls(full());
    let pool = poolwarden::Pool::builder().max_size(1).build(pg.driver()).expect("as libpq");
    assert!(!Pg::is_encrypted(&mut pool.get().expect("a connection")));
    assert_eq!(pool.snapshot().encryption, None);
    let url = super::tls_my().unix_url("mysql");
    let my = poolwarden::MySql::new(&url).expect("a driver");
    let refused = my.with_tls(Tls::new(SslMode::Require)).expect_err("it would be silent");
    assert!(refused.to_string().contains("sslmode=require with a unix socket"), "{refused}");
    drop(poolwarden::Pool::builder().build(My::new(url).driver()).expect("prefer works"));
}
