//! Several processes with many threads each: the cap holds, all work is done, and the slots
//! of a process that was killed are used by the others.

use super::{Fleet, LONG, assert_full, eventually, mariadb_fleet, postgres_fleet};
use crate::variant::{My, Pg, Variant, shared_my, shared_pg};
use poolwarden::Pool;
use poolwarden::config::FleetCap;
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The variables of a child: where the server is, its cap as `group:total`, and how many
/// pieces of work each of its threads does; none has it hold connections and do nothing.
const PLACE: &str = "POOLWARDEN_TEST_FLEET_SERVER";
const CAP: &str = "POOLWARDEN_TEST_FLEET_CAP";
const WORK: &str = "POOLWARDEN_TEST_FLEET_WORK";

/// The variable of a child that works for this many seconds, and prints how much it has done.
const SECONDS: &str = "POOLWARDEN_TEST_FLEET_SECONDS";

/// How many threads each process has.
const THREADS: usize = 8;
/// How many processes there are.
const PROCESSES: usize = 4;

/// What a child prints when it has done its work.
const DONE: &str = "the work is done";

#[test]
#[ignore = "started by the other tests, as another program"]
fn one_process() {
    let place = env::var(PLACE).expect("it is not started by hand");
    match place.starts_with("mysql") {
        true => be_a_process(&My::new(place)),
        false => be_a_process(&Pg::new(place)),
    }
}

fn be_a_process<F: Variant>(variant: &F) {
    let mut options = poolwarden::PoolOptions::default();
    options.set("fleet_cap", &env::var(CAP).expect("a cap")).expect("group and total");
    let cap = options.fleet_cap.clone().expect("it was set");
    let threads = if env::var(SECONDS).is_ok() { 20 } else { THREADS };
    let size = u32::try_from(threads).expect("few").min(cap.total());
    let builder = Pool::builder().max_size(size).checkout_timeout(2 * LONG).options(&options);
    let pool = builder.build(variant.driver()).expect("a slot comes free");
    if let Ok(seconds) = env::var(SECONDS) {
        let until = Instant::now() + Duration::from_secs(seconds.parse().expect("a number"));
        println!("\npieces: {}", work_until::<F>(&pool, until));
        return;
    }
    match env::var(WORK) {
        Ok(pieces) => work::<F>(&pool, pieces.parse().expect("a number")),
        Err(_) => {
            let held: Vec<_> = (0..size).map(|_| pool.get().expect("a slot is free")).collect();
            wait_for_the_parent();
            return drop(held);
        }
    }
    wait_for_the_parent();
}

/// Returns when the parent lets this process end, or has ended.
fn wait_for_the_parent() {
    println!("\n{DONE}");
    io::stdout().flush().expect("the parent reads");
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

fn work<F: Variant>(pool: &Pool<F::Driver>, pieces: usize) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..pieces {
                    let mut connection = pool.get().expect("a slot comes free");
                    F::ask(&mut connection).expect("it answers");
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
}

/// Returns how many pieces of work twenty threads have done.
fn work_until<F: Variant>(pool: &Pool<F::Driver>, until: Instant) -> usize {
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                while Instant::now() < until {
                    let mut connection = pool.get().expect("a slot comes free");
                    F::ask(&mut connection).expect("it answers");
                    std::thread::sleep(Duration::from_millis(10));
                    done.fetch_add(1, SeqCst);
                }
            });
        }
    });
    done.into_inner()
}

/// A child, which ends when this is dropped.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(place: &str, cap: &FleetCap, pieces: Option<usize>) -> Process {
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.args(["--exact", "fleet::processes::one_process", "--ignored", "--nocapture"]);
        command.env(PLACE, place).env(CAP, cap.to_string());
        if let Some(pieces) = pieces {
            command.env(WORK, pieces.to_string());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let stdin = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Process { child, stdin, output }
    }

    /// Waits until it has done its work.
    fn wait_done(&mut self) {
        let lines = self.output.by_ref().lines().map_while(Result::ok);
        let mut read = Vec::new();
        for line in lines {
            if line == DONE {
                return;
            }
            read.push(line);
        }
        panic!("a process has failed:\n{}", read.join("\n"));
    }

    fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Four processes of eight threads share six slots.
fn processes_share_the_slots(place: &str, fleet: &Fleet<'_>) {
    let (total, most) = (fleet.cap.total() as usize, fleet.cap.total() as usize + PROCESSES);
    let mut processes: Vec<_> =
        (0..PROCESSES).map(|_| Process::start(place, &fleet.cap, Some(100))).collect();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            processes.iter_mut().for_each(Process::wait_done);
            is_done.store(true, SeqCst);
        });
        let mut seen = 0;
        while !is_done.load(SeqCst) {
            let slots = (fleet.slots)();
            assert!(slots <= total, "{slots} slots are taken");
            seen = seen.max(slots);
            // A session whose slot was taken over already may still be ending.
            let within = || (fleet.sessions)() <= most;
            assert!(eventually(LONG, within), "more than one session without a slot each");
        }
        assert!(seen > 0, "no slot was ever seen");
    });
}

#[test]
fn postgres_processes_share_the_slots_and_all_work_is_done() {
    let Some((_, database)) = shared_pg() else { return };
    processes_share_the_slots(&database.url(), &postgres_fleet(&database, 6));
}

#[test]
fn mariadb_processes_share_the_slots_and_all_work_is_done() {
    let Some((_, database)) = shared_my() else { return };
    processes_share_the_slots(&database.url(), &mariadb_fleet(&database, 6));
}

/// A process that holds all slots and does nothing is killed.
fn slots_of_a_killed_process_come_free<F: Variant>(variant: &F, place: &str, fleet: &Fleet<'_>) {
    let mut process = Process::start(place, &fleet.cap, None);
    process.wait_done();
    assert_eq!((fleet.slots)(), fleet.cap.total() as usize);
    let builder = Pool::builder().max_size(fleet.cap.total()).fleet_cap(fleet.cap.clone());
    let pool = builder.build_lazy(variant.driver()).expect("a pool");
    let error = pool.get_timeout(Duration::from_secs(2)).map(drop).expect_err("all are taken");
    assert_full(&error);
    let began = Instant::now();
    process.kill();
    drop(pool.get_timeout(LONG).expect("a slot came free"));
    let first = began.elapsed();
    let all: Vec<_> =
        (0..fleet.cap.total()).map(|_| pool.get_timeout(LONG).expect("all came free")).collect();
    println!("a killed process's slots: the first after {first:?}, all {:?}", began.elapsed());
    assert_eq!((fleet.slots)(), all.len());
}

#[test]
fn postgres_slots_of_a_killed_process_come_free() {
    let Some((variant, database)) = shared_pg() else { return };
    slots_of_a_killed_process_come_free(&variant, &database.url(), &postgres_fleet(&database, 4));
}

#[test]
fn mariadb_slots_of_a_killed_process_come_free() {
    let Some((variant, database)) = shared_my() else { return };
    slots_of_a_killed_process_come_free(&variant, &database.url(), &mariadb_fleet(&database, 4));
}

/// Ten processes of twenty threads share thirty slots for as many seconds.
fn measure<F: Variant>(variant: &F, place: &str, fleet: &Fleet<'_>) {
    let (mut connects, bare) = ([Duration::ZERO; 2], Pool::builder().max_size(1));
    let pools = [bare, Pool::builder().max_size(1).fleet_cap(fleet.cap.clone())]
        .map(|builder| builder.build(variant.driver()).expect("it connects"));
    for _ in 0..200 {
        for (pool, sum) in pools.iter().zip(&mut connects) {
            poolwarden::PooledConnection::discard(pool.get().expect("a connection"));
            let began = Instant::now();
            drop(pool.get().expect("a connection"));
            *sum += began.elapsed();
        }
    }
    println!("a connect without a cap, and with one: {:?}", connects.map(|sum| sum / 200));
    drop(pools);
    let this = env::current_exe().expect("this program");
    let children: Vec<_> = (0..10)
        .map(|_| {
            let mut command = Command::new(&this);
            command.args(["--exact", "fleet::processes::one_process", "--ignored", "--nocapture"]);
            command.env(PLACE, place).env(CAP, fleet.cap.to_string()).env(SECONDS, "30");
            command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("it starts")
        })
        .collect();
    let (mut slots, mut sessions) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(28) {
        slots.push((fleet.slots)());
        sessions.push((fleet.sessions)());
    }
    println!(
        "slots at most {:?}, sessions at most {:?}",
        slots.iter().max(),
        sessions.iter().max()
    );
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{:?}", text.lines().find(|line| line.starts_with("pieces")));
    }
}

#[test]
#[ignore = "a measurement of a minute"]
fn measure_ten_processes() {
    if let Some((variant, database)) = shared_pg() {
        measure(&variant, &database.url(), &postgres_fleet(&database, 30));
    }
    if let Some((variant, database)) = shared_my() {
        measure(&variant, &database.url(), &mariadb_fleet(&database, 30));
    }
}
