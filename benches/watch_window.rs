//! For how long `Validation::Watch` hands out connections that the server has ended.
//!
//! `cargo bench --features postgres,mysql --bench watch_window` terminates all sessions again
//! and again while threads check out as fast as they can, and prints for how long dead
//! connections were handed out, from the first that was to the last: median, 95th percentile
//! and maximum in microseconds, and how many there were in all rounds, beside those of
//! `Validation::Peek`.

#[cfg(feature = "postgres")]
use poolwarden::{Pool, PooledConnection, Postgres, Validation};
#[cfg(feature = "postgres")]
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
#[cfg(feature = "postgres")]
use std::time::{Duration, Instant};

fn main() {
    println!("# name threads median_us p95_us max_us handed_out_dead");
    #[cfg(feature = "postgres")]
    on_postgres();
}

#[cfg(feature = "postgres")]
const ROUNDS: usize = 60;

#[cfg(feature = "postgres")]
fn on_postgres() {
    let server = support::postgres::Server::start();
    let url = server.url("postgres", "postgres");
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}application_name=watch_window");
    let kill = || {
        server.sql(
            "postgres",
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = 'watch_window'",
        );
    };
    for (name, validation) in [("watch", Validation::Watch), ("peek", Validation::Peek)] {
        let driver = Postgres::new(&url).expect("a driver");
        let pool = Pool::builder()
            .max_size(10)
            .min_idle(8)
            .validation(validation)
            .build(driver)
            .expect("the server accepts connections");
        for threads in [1, 8, 64] {
            measure(name, &pool, threads, kill);
        }
    }
}

#[cfg(feature = "postgres")]
fn measure(name: &str, pool: &Pool<Postgres>, threads: u32, kill: impl Fn()) {
    let (mut windows, mut dead) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let over = AtomicBool::new(false);
        let work = || {
            let mut dead: Vec<Instant> = Vec::new();
            while !over.load(SeqCst) {
                let Ok(conn) = pool.get() else { continue };
                // It may be ended after it was handed out, which no pool can prevent.
                if PooledConnection::is_closed_by_peer(&conn) {
                    dead.push(Instant::now());
                }
            }
            dead
        };
        let mut seen: Vec<Instant> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            std::thread::sleep(Duration::from_millis(50));
            kill();
            std::thread::sleep(Duration::from_millis(150));
            over.store(true, SeqCst);
            workers.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
        });
        seen.sort();
        dead += seen.len();
        let window = seen.first().zip(seen.last()).map(|(first, last)| *last - *first);
        windows.push(window.unwrap_or_default().as_secs_f64() * 1e6);
    }
    windows.sort_by(f64::total_cmp);
    let (median, p95, max) = (windows[ROUNDS / 2], windows[ROUNDS * 95 / 100], windows[ROUNDS - 1]);
    println!("{name:<6} {threads:>3} {median:>9.0} {p95:>9.0} {max:>9.0} {dead:>6}");
}
