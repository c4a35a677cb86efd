//! How soon after a restart a caller is served again, beside a program without a pool.
//!
//! `cargo bench --features postgres,mysql --bench recovery` restarts a server again and again
//! while callers wait or ask again, and prints how much later than a bare connection, which is
//! tried every 5 ms, the first of them is served: median and 95th percentile in milliseconds,
//! and how many attempts the pool made per second while the server was down.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
#[cfg(any(feature = "postgres", feature = "mysql"))]
use std::time::{Duration, Instant};

/// How often each server is restarted.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const ROUNDS: usize = 40;

/// The callers of the pool.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const CALLERS: usize = 8;

fn main() {
    println!("# name median_ms p95_ms attempts_per_second");
    #[cfg(feature = "postgres")]
    on_postgres();
    #[cfg(feature = "mysql")]
    on_mysql();
}

#[cfg(feature = "postgres")]
fn on_postgres() {
    let server = support::postgres::Server::start();
    let url = server.url("postgres", "postgres");
    let pool = our_pool(poolwarden::Postgres::new(&url).expect("a driver"));
    let bare = || postgres::Client::connect(&url, postgres::NoTls).is_ok();
    measure("postgres", &pool, bare, || server.stop_fast(), || server.start_again());
}

#[cfg(feature = "mysql")]
fn on_mysql() {
    let server = support::mariadb::Server::start();
    let database = server.fresh_database();
    let url = database.url();
    let pool = our_pool(poolwarden::MySql::new(&url).expect("a driver"));
    let bare = || mysql::Conn::new(&*url).is_ok();
    measure("mariadb", &pool, bare, || server.stop(), || server.start_again());
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn our_pool<D: poolwarden::driver::Driver>(driver: D) -> poolwarden::Pool<D> {
    poolwarden::Pool::builder().max_size(10).build(driver).expect("the server accepts connections")
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn measure<D: poolwarden::driver::Driver>(
    name: &str,
    pool: &poolwarden::Pool<D>,
    bare: impl Fn() -> bool + Sync,
    stop: impl Fn(),
    start: impl Fn(),
) {
    let (mut delays, mut attempts, mut down) = (Vec::new(), 0, Duration::ZERO);
    for _ in 0..ROUNDS {
        stop();
        let (before, began) = (pool.snapshot().connect_attempts, Instant::now());
        let over = AtomicBool::new(false);
        let delay = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| scope.spawn(|| first(&over, 1, || pool.get().is_ok())))
                .collect();
            let bare = scope.spawn(|| first(&AtomicBool::new(false), 5, &bare));
            // No two rounds stop at the same moment of the pool's pace.
            std::thread::sleep(Duration::from_millis(300 + fastrand::u64(0..200)));
            start();
            let accepts = bare.join().expect("no panic").expect("a bare connection");
            let firsts = callers.into_iter().filter_map(|one| one.join().expect("no panic"));
            firsts.min().expect("a caller was served").saturating_duration_since(accepts)
        });
        attempts += pool.snapshot().connect_attempts - before;
        down += began.elapsed();
        delays.push(delay.as_secs_f64() * 1e3);
    }
    delays.sort_by(f64::total_cmp);
    let (median, p95) = (delays[ROUNDS / 2], delays[ROUNDS * 95 / 100]);
    println!("{name:<10} {median:>8.1} {p95:>8.1} {:>8.1}", attempts as f64 / down.as_secs_f64());
}

/// Asks until the answer is yes, or another caller's was; returns when that was.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn first(over: &AtomicBool, pause: u64, ask: impl Fn() -> bool) -> Option<Instant> {
    while !over.load(SeqCst) {
        if ask() {
            over.store(true, SeqCst);
            return Some(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(pause));
    }
    None
}
