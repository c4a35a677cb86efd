//! The pool learns from the kernel that a server has ended its connections, before a caller
//! or the sweep of every second looks at them.

use crate::variant::{My, Pg, Variant};
use poolwarden::{Pool, Validation};
use std::time::{Duration, Instant};
#[cfg(feature = "native-tls")]
use support::certificates::{self, Certificate};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

const READY: Duration = Duration::from_secs(20);
const MIN_IDLE: u32 = 3;

/// The housekeeper has run when the last of the connections was opened, and sweeps a second
/// later. One replacement in twenty that was faster than half of that shows the watcher; on a
/// busy computer each may take longer.
fn replaced_before_the_sweep<F: Variant>(variant: &F, kill: &dyn Fn() -> usize) {
    for validation in [Validation::Peek, Validation::Watch] {
        let builder = Pool::builder().max_size(4).min_idle(MIN_IDLE).validation(validation);
        let pool = builder.build(variant.driver()).expect("the server accepts");
        let replaced = |before: u64| {
            let now = pool.snapshot();
            // One more while the server's limits are read over one of them.
            now.opened >= before + u64::from(MIN_IDLE) && now.levels.idle >= MIN_IDLE
        };
        assert!(eventually(READY, || replaced(0)), "{}", pool.snapshot());
        let checkouts = pool.snapshot().checkouts;
        let is_fast = |_| {
            let before = pool.snapshot().opened;
            assert!(kill() >= MIN_IDLE as usize);
            let killed = Instant::now();
            assert!(eventually(READY, || replaced(before)), "{}", pool.snapshot());
            println!("replaced after {:?}", killed.elapsed());
            killed.elapsed() < Duration::from_millis(500)
        };
        assert!((0..20).any(is_fast), "{validation:?}: {}", pool.snapshot());
        assert_eq!(pool.snapshot().checkouts, checkouts, "no caller came");
        pool.close(READY);
    }
}

#[test]
fn postgres_connections_that_the_server_ends_are_replaced_without_a_caller() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let kill = || database.terminate_all();
    replaced_before_the_sweep(&Pg::new(database.url()), &kill);
    replaced_before_the_sweep(&Pg::new(database.unix_url()), &kill);
}

#[test]
fn mariadb_connections_that_the_server_ends_are_replaced_without_a_caller() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let kill = || database.kill_all();
    replaced_before_the_sweep(&My::new(database.url()), &kill);
    replaced_before_the_sweep(&My::new(database.unix_url()), &kill);
}

#[cfg(feature = "native-tls")]
#[test]
fn tls_connections_that_the_server_ends_are_replaced_without_a_caller() {
    if pg::available() && pg::tls() && certificates::available() {
        let server = pg::Server::with(|conf| {
            conf.tls(Certificate::Valid);
        });
        let database = server.fresh_database();
        let variant = Pg::new(database.url()).with_tls(crate::tls::full());
        replaced_before_the_sweep(&variant, &|| database.terminate_all());
    }
    if mariadb::available() && certificates::available() {
        let server = mariadb::Server::with(|conf| {
            conf.tls(Certificate::Valid);
        });
        let database = server.fresh_database();
        let variant = My::new(database.url()).with_tls(crate::tls::full());
        replaced_before_the_sweep(&variant, &|| database.kill_all());
    }
}
