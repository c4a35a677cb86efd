//! How evenly callers that wait are served: 64 threads on 10 connections, each held for 1 ms.
//!
//! `cargo bench --features postgres,mysql --bench fairness` prints the 99th percentile of the
//! times that a check-out took, its ratio to the ideal, and how many check-outs the busiest
//! thread made for one of the idlest. The ideal is strict order of arrival: a caller waits
//! until the 54 before it and itself have been served ten at a time.

#[cfg(feature = "postgres")]
use std::time::{Duration, Instant};

fn main() {
    println!("# name p99_ms ratio_to_ideal busiest_to_idlest");
    #[cfg(feature = "postgres")]
    on_postgres();
}

#[cfg(feature = "postgres")]
const THREADS: u32 = 64;

#[cfg(feature = "postgres")]
const POOL_SIZE: u32 = 10;

#[cfg(feature = "postgres")]
const RUN: Duration = Duration::from_secs(10);

#[cfg(feature = "postgres")]
fn on_postgres() {
    let server = support::postgres::Server::start();
    let url = server.url("postgres", "postgres");
    let driver = poolwarden::Postgres::new(&url).expect("a driver");
    let pool = poolwarden::Pool::builder().max_size(POOL_SIZE).build(driver).expect("a pool");
    measure("ours", || pool.get().expect("a connection"));
    let config = url.parse().expect("a configuration");
    let manager = r2d2_postgres::PostgresConnectionManager::new(config, postgres::NoTls);
    let builder = r2d2::Pool::builder().max_size(POOL_SIZE).test_on_check_out(false);
    let pool = builder.build(manager).expect("a pool");
    measure("r2d2_postgres_nocheck", || pool.get().expect("a connection"));
}

#[cfg(feature = "postgres")]
fn measure<T>(name: &str, get: impl Fn() -> T + Sync) {
    let began = Instant::now();
    let work = || {
        let mut waits = Vec::new();
        while began.elapsed() < RUN {
            let asked = Instant::now();
            let held = get();
            waits.push(asked.elapsed());
            hold();
            drop(held);
        }
        waits
    };
    let waits: Vec<Vec<Duration>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let counts = || waits.iter().map(Vec::len);
    let (most, least) = (counts().max().unwrap_or(0), counts().min().unwrap_or(0));
    let served = counts().sum::<usize>() as f64;
    // A hold takes longer than it asks for: the time that it took is what counts.
    let turn = began.elapsed().as_secs_f64() * f64::from(POOL_SIZE) / served;
    let ideal = turn * f64::from(THREADS - POOL_SIZE) / f64::from(POOL_SIZE) * 1e3;
    let mut all: Vec<Duration> = waits.iter().flatten().copied().collect();
    all.sort();
    let p99 = all[all.len() * 99 / 100].as_secs_f64() * 1e3;
    println!("{name:<24} {p99:>6.2} {:>6.2} {:>6.2}", p99 / ideal, most as f64 / least as f64);
}

#[cfg(feature = "postgres")]
fn hold() {
    std::thread::sleep(Duration::from_millis(1));
}
