//! Dials over unix sockets leave the process's POSIX locks alone: closing any descriptor of
//! a file would drop them, and SQLite relies on such locks.

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_UNLCK, F_WRLCK, flock};
use poolwarden::driver::Driver;
use poolwarden::{MySql, Pool, Postgres};
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// How many pools of each database are in an outage.
const POOLS: usize = 15;

/// Hangs up in the middle of each handshake.
fn hang_up(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = connection.map(|mut connection| connection.read(&mut [0; 8]));
        }
    });
}

/// Lets callers fail until it is over; returns how many attempts were made.
fn outage<D: Driver>(driver: D, is_over: &AtomicBool) -> u64 {
    let builder = Pool::builder().connect_timeout(Duration::from_millis(50));
    let pool = builder.build_lazy(driver).expect("the options agree");
    while !is_over.load(SeqCst) {
        let outcome = pool.get_timeout(Duration::from_millis(20)).map(drop);
        assert!(outcome.is_err(), "there is no server");
        thread::sleep(Duration::from_millis(5));
    }
    pool.snapshot().connect_attempts
}

fn whole(kind: i32) -> flock {
    let kind = i16::try_from(kind).expect("a kind of lock");
    flock { l_type: kind, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 }
}

/// Takes and releases a lock until the time is over; returns how often, and how often it was
/// lost meanwhile.
fn take_locks(time: Duration) -> (u32, u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("locked");
    let holder = File::create(&path).expect("a file");
    // Opened before: closing it would drop the lock. Its own locks are those of an open
    // file, with which the process's conflict.
    let witness = File::options().read(true).write(true).open(&path).expect("the file");
    let (over, mut taken, mut lost) = (Instant::now() + time, 0, 0);
    while Instant::now() < over {
        fcntl(&holder, FcntlArg::F_SETLK(&whole(F_WRLCK))).expect("nobody else has it");
        thread::sleep(Duration::from_millis(1));
        let mut seen = whole(F_WRLCK);
        fcntl(&witness, FcntlArg::F_OFD_GETLK(&mut seen)).expect("an answer");
        lost += u32::from(i32::from(seen.l_type) == F_UNLCK);
        taken += 1;
        fcntl(&holder, FcntlArg::F_SETLK(&whole(F_UNLCK))).expect("it is ours");
    }
    (taken, lost)
}

#[test]
fn pools_in_an_outage_drop_no_posix_lock_of_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    hang_up(&folder.path().join(".s.PGSQL.5432"));
    hang_up(&folder.path().join("mysql.sock"));
    let text = format!("host={place} port=5432 user=u dbname=d");
    let url = format!("mysql://u@localhost/d?socket={place}/mysql.sock");
    let is_over = AtomicBool::new(false);
    let ((taken, lost), attempts) = thread::scope(|scope| {
        let postgres = || outage(Postgres::new(&text).expect("a driver"), &is_over);
        let mysql = || outage(MySql::new(&url).expect("a driver"), &is_over);
        let mut pools: Vec<_> = (0..POOLS).map(|_| scope.spawn(postgres)).collect();
        pools.extend((0..POOLS).map(|_| scope.spawn(mysql)));
        let locks = take_locks(Duration::from_secs(4));
        is_over.store(true, SeqCst);
        let attempts: u64 = pools.into_iter().map(|pool| pool.join().expect("no panic")).sum();
        (locks, attempts)
    });
    println!("{lost} of {taken} locks were lost in {attempts} attempts");
    assert!(attempts > 100, "{attempts} attempts");
    assert_eq!(lost, 0, "of {taken} locks, in {attempts} attempts");
}
