//! What can be read or impersonated on the way is said once, and only where there
//! is a way.

use super::{available, tls_my, tls_pg};
use crate::flavour::{Flavour, My, Pg, fill, fresh_name};
use poolwarden::{Encryption, Pool, SslMode, Tls};
use std::time::Duration;
use support::certificates;
use support::logs::{self, Record};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// This computer, by an address that is not among the loopback ones.
const HERE: &str = "0.0.0.0";

/// Opens a full pool, twice; returns what was warned of, and the snapshot's word.
fn told<F: Flavour>(flavour: &F) -> (Vec<Record>, Option<Encryption>) {
    let log = logs::mark();
    let name = fresh_name("told");
    let pool = Pool::builder().max_size(3).name(&name).build(flavour.driver()).expect("a pool");
    fill(&pool);
    pool.retire_all();
    fill(&pool);
    let mut records = log.records_of("pool", &name);
    records.retain(|record| record.level == log::Level::Warn);
    (records, pool.snapshot().encryption)
}

fn warned<F: Flavour>(flavour: &F, encryption: Encryption, words: &[&str]) {
    let (records, found) = told(flavour);
    assert_eq!(found, Some(encryption));
    let texts: Vec<_> = records.iter().map(|record| &*record.message).collect();
    assert_eq!(texts.len(), 1, "{texts:#?}");
    for part in words {
        assert!(texts[0].contains(part), "{part}: {}", texts[0]);
    }
}

fn silent<F: Flavour>(flavour: &F, encryption: Option<Encryption>) {
    let (records, found) = told(flavour);
    assert_eq!((found, records.len()), (encryption, 0), "{records:#?}");
}

#[test]
fn the_snapshot_tells_of_the_connections_that_are_open() {
    if !available() {
        return;
    }
    let pool = Pool::builder().max_size(2);
    let pool = pool.build(Pg::new(tls_pg().url("postgres", "postgres")).driver()).expect("a pool");
    let held = pool.get().expect("a connection");
    assert_eq!(pool.snapshot().encryption, Some(Encryption::Unverified));
    assert!(pool.snapshot().to_string().contains("encryption unverified"));
    pool.retire_all();
    assert_eq!(pool.snapshot().encryption, Some(Encryption::Unverified));
    drop(held);
    let none = || pool.snapshot().encryption.is_none();
    assert!(eventually(Duration::from_secs(5), none), "{}", pool.snapshot());
}

fn rooted(mode: SslMode) -> Tls {
    Tls::new(mode).root_certificate(certificates::authority())
}

#[test]
fn postgres_away_from_loopback_is_warned_of_once_unless_it_is_verified() {
    if !available() {
        return;
    }
    let server = tls_pg();
    let there = Pg::new(server.url("postgres", "postgres").replace("127.0.0.1", HERE));
    let place = format!("{HERE}:{}", server.port());
    let safe = "sslmode=verify-full";
    warned(&there, Encryption::Unverified, &[&place, "sslmode=prefer", safe]);
    let plain = there.clone().with_tls(Tls::new(SslMode::Disable));
    warned(&plain, Encryption::Plain, &[&place, "(sslmode=disable)", safe]);
    let no_tls = Pg::new(server.url("no_tls", "postgres").replace("127.0.0.1", HERE));
    warned(&no_tls, Encryption::Plain, &[&place, "sslmode=prefer, and TLS", "28000", safe]);
    silent(&there.clone().with_tls(rooted(SslMode::VerifyFull)), Some(Encryption::Verified));
    silent(&there.with_tls(rooted(SslMode::VerifyCa)), Some(Encryption::Verified));
    let near = Pg::new(server.url("postgres", "postgres"));
    silent(&near, Some(Encryption::Unverified));
    silent(&near.with_tls(Tls::new(SslMode::Disable)), Some(Encryption::Plain));
    silent(&Pg::new(server.unix_url("postgres", "postgres")), None);
    let without = pg::shared().fresh_database();
    let without = Pg::new(without.url().replace("127.0.0.1", HERE));
    warned(&without, Encryption::Plain, &["the server offers no TLS", safe]);
}

#[test]
fn mariadb_away_from_loopback_is_warned_of_once_unless_it_is_verified_in_full() {
    if !available() {
        return;
    }
    let server = tls_my();
    let there = My::new(server.url("mysql").replace("127.0.0.1", HERE));
    let place = format!("{HERE}:{}", server.port());
    let safe = "sslmode=verify-full";
    warned(&there, Encryption::Unverified, &[&place, "sslmode=prefer", safe]);
    let plain = there.clone().with_tls(Tls::new(SslMode::Disable));
    warned(&plain, Encryption::Plain, &[&place, "(sslmode=disable)", safe]);
    let half = there.clone().with_tls(rooted(SslMode::VerifyCa));
    warned(&half, Encryption::Unverified, &["public authority", safe]);
    silent(&there.with_tls(rooted(SslMode::VerifyFull)), Some(Encryption::Verified));
    silent(&My::new(server.url("mysql")), Some(Encryption::Unverified));
    silent(&My::new(server.unix_url("mysql")), None);
    let without = mariadb::shared().fresh_database();
    let without = My::new(without.url().replace("127.0.0.1", HERE));
    warned(&without, Encryption::Plain, &["TLS could not be had", safe]);
}
