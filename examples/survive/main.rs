//! Survives everything, and proves it: a private PostgreSQL or MariaDB, eight
//! threads that move money between accounts, and something terrible every second.
//! Beside it the same load on r2d2 with the usual manager, in the same run.
//!
//! `cargo run --release --features postgres,mysql --example survive`
//!
//! Arguments, in any order: `postgres` or `mysql` chooses the server, a number the
//! seconds (40 by default), `alone` leaves r2d2 out. The process fails if the proof
//! does.

mod bank;
mod footprint;
mod load;
mod picture;
mod proof;
mod stage;
mod tellers;
mod trouble;

use footprint::Footprint;
use load::Load;
use picture::Picture;
use stage::Stage;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use trouble::Director;

/// Seconds of load without an argument: each trouble once, and some.
const SECONDS: u64 = 40;

/// How long the last transfers may take once the trouble is over.
const CALM_DOWN: Duration = Duration::from_secs(45);

struct Wishes {
    server: Option<stage::Kind>,
    seconds: u64,
    alone: bool,
}

fn wishes() -> Result<Wishes, String> {
    let mut wishes = Wishes { server: None, seconds: SECONDS, alone: false };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "postgres" => wishes.server = Some(stage::Kind::Postgres),
            "mysql" | "mariadb" => wishes.server = Some(stage::Kind::MariaDb),
            "alone" => wishes.alone = true,
            number => {
                let seconds = number.parse().map_err(|_| {
                    format!("{number:?} is none of postgres, mysql, alone, a number of seconds")
                })?;
                wishes.seconds = seconds;
            }
        }
    }
    Ok(wishes)
}

fn main() -> ExitCode {
    let wishes = match wishes() {
        Ok(wishes) => wishes,
        Err(text) => {
            eprintln!("survive: {text}");
            return ExitCode::FAILURE;
        }
    };
    let Some(kind) = wishes.server.or_else(stage::installed) else {
        eprintln!("survive: neither PostgreSQL nor MariaDB is installed on this computer");
        return ExitCode::FAILURE;
    };
    if run(kind, &wishes) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(kind: stage::Kind, wishes: &Wishes) -> bool {
    println!("starting a private {kind} …");
    let before = Footprint::now();
    let stage = Stage::start(kind);
    let ours = stage.ours();
    let rival = (!wishes.alone).then(|| stage.rival());
    let survived = {
        let sides = [Some(&*ours), rival.as_deref()].into_iter().flatten();
        let loads: Vec<Load<'_>> = sides.map(Load::new).collect();
        std::thread::scope(|scope| {
            for load in &loads {
                println!("{:<12} {}", load.teller.name(), load.teller.describe());
                load.start(scope);
            }
            perform(&stage, &loads, wishes.seconds);
            for load in &loads {
                load.stop(Instant::now() + CALM_DOWN);
            }
        });
        proof::of_all(&stage, &loads)
    };
    let books = ours.at_rest();
    drop((ours, rival, stage));
    let growth = before.compare(&Footprint::after_rest(&before));
    println!("\n{}", books.as_ref().unwrap_or_else(|text| text));
    println!("{growth}");
    let fine = survived && books.is_ok() && (!wishes.alone || growth.is_fine());
    println!("\n{}", if fine { "survived" } else { "NOT SURVIVED" });
    fine
}

/// One line each second, with what was done to the server in it.
fn perform(stage: &Stage, loads: &[Load<'_>], seconds: u64) {
    let mut director = Director::new(stage);
    let mut picture = Picture::new(loads);
    let began = Instant::now();
    for second in 1..=seconds {
        let deed = director.act(second);
        let until = began + Duration::from_secs(second);
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        picture.line(second, &deed);
    }
    director.end();
}
