//! The system's authorities are trusted only where no other authority is configured; with the
//! `mysql` driver they always are.

use super::{available, outcome, tls_my, tls_pg};
use crate::variant::{My, Pg};
use poolwarden::observe::Encryption;
use poolwarden::{FaultClass, SslMode, Tls};
use std::env;
use std::process::Command;
use support::certificates;

const PG: &str = "TLS_TEST_PG";
const MY: &str = "TLS_TEST_MY";
const UNTRUSTED: &str = "TLS_TEST_STRANGER";

/// Not a test of its own: [`only_named_authorities_count_for_postgres`] runs it.
#[test]
fn inner_process_whose_system_trusts_our_authority() {
    let (Ok(pg), Ok(my)) = (env::var(PG), env::var(MY)) else { return };
    let untrusted = env::var(UNTRUSTED).expect("a file");
    let (pg, my) = (Pg::new(pg), My::new(my));
    let full = Tls::new(SslMode::VerifyFull);
    assert_eq!(outcome(&pg.clone().with_tls(full.clone())), Ok(Encryption::Verified));
    assert_eq!(outcome(&my.clone().with_tls(full)), Ok(Encryption::Verified));
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let named = Tls::new(mode).root_certificate(&untrusted);
        let found = outcome(&pg.clone().with_tls(named)).map_err(|(fault, _)| fault);
        assert_eq!(found, Err(FaultClass::Tls), "{mode}");
    }
    let named = Tls::new(SslMode::VerifyCa).root_certificate(&untrusted);
    assert_eq!(outcome(&my.with_tls(named)), Ok(Encryption::Unverified));
    println!("all was seen");
}

#[test]
fn only_named_authorities_count_for_postgres() {
    if !available() {
        return;
    }
    let output = Command::new(env::current_exe().expect("a test has a program"))
        .args(["--exact", "tls::roots::inner_process_whose_system_trusts_our_authority"])
        .arg("--nocapture")
        .env(PG, tls_pg().url("postgres", "postgres"))
        .env(MY, tls_my().url("mysql"))
        .env(UNTRUSTED, certificates::file("untrusted-authority.pem"))
        // OpenSSL documentation, "SSL_CTX_set_default_verify_paths".
        .env("SSL_CERT_FILE", certificates::authority())
        .env("SSL_CERT_DIR", "/nowhere")
        .output()
        .expect("a test can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("all was seen"), "{said}\n{errors}");
}
