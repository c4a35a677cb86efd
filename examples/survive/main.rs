//! Injects faults into a private PostgreSQL or MariaDB while eight threads transfer money
//! between accounts, and proves that no transfer was lost, done twice or reported wrongly.
//! The same load runs on r2d2 with its usual manager at the same time, for comparison.
//!
//! `cargo run --release --features postgres,mysql --example survive`
//!
//! Arguments, in any order: `postgres` or `mysql` chooses the server, a number the
//! seconds (40 by default), `alone` leaves r2d2 out. The process fails if the proof
//! does.

mod bank;
mod clients;
mod faults;
mod footprint;
mod load;
mod progress;
mod proof;
mod testbed;

use faults::FaultInjector;
use footprint::Footprint;
use load::Load;
use progress::Progress;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use testbed::Testbed;

/// Seconds of load without an argument: each fault at least once.
const SECONDS: u64 = 40;

/// How long the last transfers may take once the faults are over.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(45);

struct Options {
    server: Option<testbed::Kind>,
    seconds: u64,
    alone: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options { server: None, seconds: SECONDS, alone: false };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "postgres" => options.server = Some(testbed::Kind::Postgres),
            "mysql" | "mariadb" => options.server = Some(testbed::Kind::MariaDb),
            "alone" => options.alone = true,
            number => {
                let seconds = number.parse().map_err(|_| {
                    format!("{number:?} must be postgres, mysql, alone or a number of seconds")
                })?;
                options.seconds = seconds;
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(text) => {
            eprintln!("survive: {text}");
            return ExitCode::FAILURE;
        }
    };
    let Some(kind) = options.server.or_else(testbed::installed) else {
        eprintln!("survive: neither PostgreSQL nor MariaDB is installed on this computer");
        return ExitCode::FAILURE;
    };
    if run(kind, &options) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(kind: testbed::Kind, options: &Options) -> bool {
    println!("starting a private {kind} …");
    let before = Footprint::now();
    let testbed = Testbed::start(kind);
    let poolwarden = testbed.poolwarden();
    let r2d2 = (!options.alone).then(|| testbed.r2d2());
    let survived = {
        let clients = [Some(&*poolwarden), r2d2.as_deref()].into_iter().flatten();
        let loads: Vec<Load<'_>> = clients.map(Load::new).collect();
        std::thread::scope(|scope| {
            for load in &loads {
                println!("{:<12} {}", load.client.name(), load.client.describe());
                load.start(scope);
            }
            inject_faults(&testbed, &loads, options.seconds);
            for load in &loads {
                load.stop(Instant::now() + DRAIN_TIMEOUT);
            }
        });
        proof::of_all(&testbed, &loads)
    };
    let counters = poolwarden.check_counters();
    drop((poolwarden, r2d2, testbed));
    let growth = before.compare(&Footprint::settled(&before));
    println!("\n{}", counters.as_ref().unwrap_or_else(|text| text));
    println!("{growth}");
    let fine = survived && counters.is_ok() && (!options.alone || growth.is_fine());
    println!("\n{}", if fine { "survived" } else { "NOT SURVIVED" });
    fine
}

/// Injects the faults and prints one line each second.
fn inject_faults(testbed: &Testbed, loads: &[Load<'_>], seconds: u64) {
    let mut injector = FaultInjector::new(testbed);
    let mut progress = Progress::new(loads);
    let started = Instant::now();
    for second in 1..=seconds {
        let action = injector.inject(second);
        let until = started + Duration::from_secs(second);
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        progress.line(second, &action);
    }
    injector.end();
}
