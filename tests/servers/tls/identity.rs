//! Client certificates, and the errors about unusable files with the
//! command that fixes them.

use super::{available, fault_of, full, outcome, tls_my_as, tls_pg, tls_pg_as};
use poolwarden::config::ClientIdentity;
use poolwarden::observe::Encryption;
use poolwarden::{FaultClass, MySql, Postgres, SslMode, Tls};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::certificates::{self, PASSPHRASE, USER};
use support::wait::eventually;

fn pem(certificate: &str, key: &str) -> ClientIdentity {
    let (certificate, key) = (certificates::file(certificate), certificates::file(key));
    ClientIdentity::pem(certificate, key)
}

fn archive(passphrase: &str) -> ClientIdentity {
    ClientIdentity::pkcs12(certificates::file("client.p12"), Some(passphrase.into()))
}

#[test]
fn postgres_accepts_a_client_certificate_in_pem_and_in_pkcs12() {
    if !available() {
        return;
    }
    let verified = Ok(Encryption::Verified);
    for identity in [pem("client.pem", "client.key"), archive(PASSPHRASE)] {
        let variant = tls_pg_as(USER).with_tls(full().identity(identity));
        assert_eq!(outcome(&variant), verified);
    }
    let (fault, text) = fault_of(&tls_pg_as(USER).with_tls(full()));
    assert_eq!(fault, FaultClass::Authentication, "{text}");
    let untrusted = full().identity(pem("untrusted-client.pem", "untrusted-client.key"));
    let (fault, text) = fault_of(&tls_pg_as(USER).with_tls(untrusted));
    // With TLS 1.3 the server refuses the certificate after the client's handshake.
    assert!(matches!(fault, FaultClass::Tls | FaultClass::Hangup | FaultClass::Other), "{text}");
}

#[test]
fn mariadb_accepts_a_client_certificate_in_pkcs12() {
    if !available() {
        return;
    }
    let on = |tls: Tls| tls_my_as(USER).with_tls(tls);
    assert_eq!(outcome(&on(full().identity(archive(PASSPHRASE)))), Ok(Encryption::Verified));
    let (fault, text) = fault_of(&on(full()));
    assert_eq!(fault, FaultClass::Authentication, "{text}");
}

#[test]
fn an_unusable_identity_file_is_refused_at_build_with_the_command_that_fixes_it() {
    if !available() {
        return;
    }
    let missing = PathBuf::from("/nowhere/root.pem");
    let key = |name: &str| full().identity(pem("client.pem", name));
    let no_pem = full().root_certificate(certificates::file("client.key"));
    let by_postgres = [
        (full().root_certificate(&missing), "sslrootcert /nowhere/root.pem: No such file"),
        (no_pem, "no PEM certificate found"),
        (key("client.pkcs1.key"), "a PKCS#1 key"),
        (key("client.ec.key"), "an EC key"),
        (key("client.encrypted.key"), "an encrypted key"),
        (key("client.pem"), "no PEM key found"),
        (full().identity(archive("hushhush")), "wrong passphrase"),
    ];
    for (tls, words) in by_postgres {
        let driver = Postgres::new("postgres://u@db.test/d").expect("a driver");
        let text = driver.with_tls(tls).expect_err("it is refused").to_string();
        assert!(text.contains(words), "{words}: {text}");
        let mends =
            !words.contains("key") || words == "no PEM key found" || text.contains("openssl pkcs8");
        assert!(mends, "{text}");
        assert!(!text.contains("hushhush"), "{text}");
    }
    let by_mysql = [
        (full().root_certificate(&missing), "sslrootcert /nowhere/root.pem: No such file"),
        (
            full().identity(pem("client.pem", "client.key")),
            "create one with: openssl pkcs12 -export",
        ),
        (full().identity(archive("hushhush")), "wrong passphrase"),
    ];
    for (tls, words) in by_mysql {
        let driver = MySql::new("mysql://u@db.test/d").expect("a driver");
        let text = driver.with_tls(tls).expect_err("it is refused").to_string();
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn the_command_in_the_error_converts_the_key_to_a_usable_one() {
    if !available() {
        return;
    }
    let refused = full().identity(pem("client.pem", "client.pkcs1.key"));
    let driver = Postgres::new("postgres://u@db.test/d").expect("a driver");
    let text = driver.with_tls(refused).expect_err("it is refused").to_string();
    let (_, command) = text.split_once("openssl ").expect("a command");
    let new = certificates::file("converted.key").display().to_string();
    let command = command.replace("NEW", &new);
    let done = std::process::Command::new("openssl").args(command.split(' ')).status();
    assert!(done.expect("openssl starts").success(), "{command}");
    let tls = full().identity(pem("client.pem", "converted.key"));
    assert_eq!(outcome(&tls_pg_as(USER).with_tls(tls)), Ok(Encryption::Verified));
}

fn put(name: &str, at: &Path) {
    // Written beside it and renamed, as a program that replaces certificates should.
    let beside = at.with_extension("new");
    fs::copy(certificates::file(name), &beside).expect("the folder can be written");
    fs::rename(beside, at).expect("the folder can be written");
}

#[test]
fn replaced_tls_files_are_reloaded_and_broken_ones_leave_the_old_ones_in_use() {
    if !available() {
        return;
    }
    let root = certificates::file("rotated.pem");
    put("untrusted-authority.pem", &root);
    let driver = Postgres::new(&tls_pg().url("postgres", "postgres")).expect("a driver");
    let tls = Tls::new(SslMode::VerifyFull).root_certificate(&root);
    let pool = poolwarden::Pool::builder().max_size(1);
    let pool =
        pool.build_lazy(driver.with_tls(tls).expect("it is a certificate")).expect("options");
    let refused = pool.get().map(drop).expect_err("another authority");
    assert_eq!(refused.connect_error().expect("a dial").class(), FaultClass::Tls);
    put("authority.pem", &root);
    // Attempts are spaced: in between, the pool reports the last failure.
    let again = eventually(Duration::from_secs(5), || pool.get().is_ok());
    assert!(again, "the right authority is read");
    put("client.key", &root);
    pool.retire_all();
    drop(pool.get().expect("the last good one serves"));
    put("untrusted-authority.pem", &root);
    pool.retire_all();
    assert!(pool.get().is_err(), "a good one again, and another");
}
