//! A connection that can be read or impersonated is warned about once, and only on a
//! network.

use super::{available, tls_my, tls_pg};
use crate::variant::{My, Pg, Variant, fill, fresh_name};
use poolwarden::observe::Encryption;
use poolwarden::{Pool, SslMode, Tls};
use std::time::Duration;
use support::certificates;
use support::logs::{self, Record};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// This computer, by an address outside of the loopback network.
const HERE: &str = "0.0.0.0";

/// Opens a full pool, twice; returns the warnings, and the snapshot's encryption.
fn reported<F: Variant>(variant: &F) -> (Vec<Record>, Option<Encryption>) {
    let log = logs::mark();
    let name = fresh_name("reported");
    let pool = Pool::builder().max_size(3).name(&name).build(variant.driver()).expect("a pool");
    fill(&pool);
    pool.retire_all();
    fill(&pool);
    let mut records = log.records_of("pool", &name);
    records.retain(|record| record.level == log::Level::Warn);
    (records, pool.snapshot().encryption)
}

fn warned<F: Variant>(variant: &F, encryption: Encryption, words: &[&str]) {
    let (records, found) = reported(variant);
    assert_eq!(found, Some(encryption));
    let texts: Vec<_> = records.iter().map(|record| &*record.message).collect();
    assert_eq!(texts.len(), 1, "{texts:#?}");
    for part in words {
        assert!(texts[0].contains(part), "{part}: {}", texts[0]);
    }
}

fn without_warning<F: Variant>(variant: &F, encryption: Option<Encryption>) {
    let (records, found) = reported(variant);
    assert_eq!((found, records.len()), (encryption, 0), "{records:#?}");
}

#[test]
fn the_snapshot_shows_the_encryption_of_the_open_connections() {
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
fn an_unverified_remote_postgres_is_warned_about_once() {
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
    without_warning(
        &there.clone().with_tls(rooted(SslMode::VerifyFull)),
        Some(Encryption::Verified),
    );
    without_warning(&there.with_tls(rooted(SslMode::VerifyCa)), Some(Encryption::Verified));
    let near = Pg::new(server.url("postgres", "postgres"));
    without_warning(&near, Some(Encryption::Unverified));
    without_warning(&near.with_tls(Tls::new(SslMode::Disable)), Some(Encryption::Plain));
    without_warning(&Pg::new(server.unix_url("postgres", "postgres")), None);
    let without = pg::shared().fresh_database();
    let without = Pg::new(without.url().replace("127.0.0.1", HERE));
    warned(&without, Encryption::Plain, &["the server does not support TLS", safe]);
}

#[test]
fn an_unverified_remote_mariadb_is_warned_about_once() {
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
    without_warning(&there.with_tls(rooted(SslMode::VerifyFull)), Some(Encryption::Verified));
    without_warning(&My::new(server.url("mysql")), Some(Encryption::Unverified));
    without_warning(&My::new(server.unix_url("mysql")), None);
    let without = mariadb::shared().fresh_database();
    let without = My::new(without.url().replace("127.0.0.1", HERE));
    warned(&without, Encryption::Plain, &["and TLS failed: ", safe]);
}
