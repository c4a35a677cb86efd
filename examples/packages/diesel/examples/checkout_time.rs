//! What a check-out and check-in of a SQLite connection costs, beside Diesel's own pool.
//!
//! `cargo run --release -p example-diesel --example checkout_time`

use diesel::SqliteConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use example_diesel::sqlite;
use std::time::{Duration, Instant};

const ROUNDS: usize = 31;
const TIMES: u32 = 20_000;

/// Returns the median of the times of one cycle.
fn median(mut cycle: impl FnMut()) -> Duration {
    let round = |_| {
        let began = Instant::now();
        for _ in 0..TIMES {
            cycle();
        }
        began.elapsed() / TIMES
    };
    let mut times: Vec<Duration> = (0..ROUNDS).map(round).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ours = sqlite(":memory:")?;
    let manager = || ConnectionManager::<SqliteConnection>::new(":memory:");
    let tested = Pool::builder().test_on_check_out(true).build(manager())?;
    let untested = Pool::builder().test_on_check_out(false).build(manager())?;
    println!("poolwarden, in_process            {:?}", median(|| drop(ours.get())));
    println!("diesel::r2d2                      {:?}", median(|| drop(tested.get())));
    println!("diesel::r2d2, untested check-outs {:?}", median(|| drop(untested.get())));
    Ok(())
}
