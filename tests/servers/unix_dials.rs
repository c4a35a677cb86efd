//! Dials over unix sockets, whose socket the PostgreSQL driver does not expose.

use crate::variant::{Pg, Variant};
use poolwarden::driver::Driver;
use poolwarden::{FaultClass, MySql, Pool, Postgres};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use support::postgres as pg;
use support::shortage::in_child_with;

const TIMEOUT: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(6);

/// Accepts connections and never answers, until it is dropped.
fn silent_server(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket");
    thread::spawn(move || {
        let mut accepted = Vec::new();
        for connection in listener.incoming() {
            accepted.push(connection);
        }
    });
}

fn two_dials_at_a_time<D: Driver>(driver: impl Fn() -> D + Sync) {
    thread::scope(|scope| {
        let dial = || {
            let builder = Pool::builder().max_size(1).connect_timeout(TIMEOUT);
            let pool = builder.build_lazy(driver()).expect("the options agree");
            let began = Instant::now();
            let error = pool.get_timeout(10 * TIMEOUT).map(drop).expect_err("no answer");
            let fault = error.connect_error().map(|error| error.class());
            assert_eq!(fault, Some(FaultClass::TimedOut), "{error}");
            (began.elapsed(), pool.snapshot())
        };
        let dials = [scope.spawn(dial), scope.spawn(dial)];
        for dial in dials {
            let (took, snapshot) = dial.join().expect("no panic");
            assert!(took >= TIMEOUT && took < TIMEOUT + SLACK, "{took:?}");
            assert_eq!(snapshot.levels.pending, 0, "{snapshot}");
        }
    });
}

#[test]
fn two_dials_to_a_silent_peer_end_at_their_deadlines_also_through_a_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("link");
    let real = folder.path().join("real");
    std::fs::create_dir(&real).expect("a folder");
    symlink(&real, &link).expect("a link");
    silent_server(&real.join(".s.PGSQL.5432"));
    silent_server(&real.join("mysql.sock"));
    for way in [&real, &link] {
        let text = format!("host={} port=5432 user=u dbname=d", way.display());
        two_dials_at_a_time(|| Postgres::new(&text).expect("a driver"));
        let url = format!("mysql://u@localhost/d?socket={}/mysql.sock", way.display());
        two_dials_at_a_time(|| MySql::new(&url).expect("a driver"));
    }
}

#[test]
fn connections_are_seen_however_many_descriptors_are_open() {
    support::require!(postgres);
    in_child_with(
        || pg::shared().fresh_database().unix_url(),
        |_, url| {
            let before = getrlimit(Resource::Nofile);
            let most = Rlimit { current: before.maximum, ..before };
            setrlimit(Resource::Nofile, most).expect("as many as may be");
            let file = File::open("/dev/null").expect("a file");
            let files: Vec<_> = (0..19_900).map_while(|_| file.try_clone().ok()).collect();
            let spare = 200.min(files.len() / 2);
            let files = &files[spare..];
            thread::scope(|scope| {
                let dial = || {
                    let driver = Pg::new(url.into()).driver();
                    let pool = Pool::builder().max_size(1).build_lazy(driver).expect("a pool");
                    let began = Instant::now();
                    drop(pool.get_timeout(Duration::from_secs(20)).expect("a connection"));
                    let took = began.elapsed();
                    drop(pool.get().expect("it is idle"));
                    (took, pool.snapshot())
                };
                let dials: Vec<_> = (0..8).map(|_| scope.spawn(dial)).collect();
                for dial in dials {
                    let (took, snapshot) = dial.join().expect("no panic");
                    let seen = snapshot.peeks > 0 && snapshot.pings == 0;
                    assert!(seen, "{} open: {snapshot} after {took:?}", files.len());
                }
            });
        },
    );
}

/// A bare client that connects at the same moment is not taken for the pool's connection: the
/// socket of each is found.
#[test]
fn connections_are_seen_while_other_code_connects_to_the_same_server() {
    support::require!(postgres);
    let variant = Pg::new(pg::shared().fresh_database().unix_url());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut sessions = [None, None];
                (0..100).for_each(|i| sessions[i % 2] = variant.open().ok());
            });
        }
        for _ in 0..20 {
            let pool = Pool::builder().max_size(1).ping_after(None);
            let pool = pool.build_lazy(variant.driver()).expect("the options agree");
            drop(pool.get().expect("a connection"));
            drop(pool.get().expect("it is idle"));
            let books = pool.snapshot();
            assert_eq!((books.opened, books.pings), (1, 0), "{books}");
            assert!(books.peeks > 0, "{books}");
        }
    });
}
