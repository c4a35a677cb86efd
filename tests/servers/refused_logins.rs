//! New logins are refused while the open connections circulate: no caller fails.

use poolwarden::{Manager, Pool, Postgres};
use std::thread;
use std::time::{Duration, Instant};
use support::postgres as pg;

/// So many threads share two connections.
const THREADS: u32 = 8;

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(2);

/// What the threads on one pool did.
struct Figures {
    done: u32,
    errors: Vec<String>,
    took: Duration,
}

impl Figures {
    fn per_second(&self) -> f64 {
        f64::from(self.done) / self.took.as_secs_f64()
    }
}

/// Borrows on all threads until the time is over.
fn load(borrow: impl Fn() -> Result<(), String> + Sync) -> Figures {
    let began = Instant::now();
    let over = began + TIME;
    thread::scope(|scope| {
        let work = || {
            let (mut done, mut errors) = (0, Vec::new());
            while Instant::now() < over {
                match borrow() {
                    Ok(()) => done += 1,
                    Err(error) => errors.push(error),
                }
            }
            (done, errors, began.elapsed())
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let mut all = Figures { done: 0, errors: Vec::new(), took: Duration::ZERO };
        for thread in threads {
            let (done, errors, took) = thread.join().expect("no caller panics");
            all.errors.extend(errors);
            (all.done, all.took) = (all.done + done, all.took.max(took));
        }
        all
    })
}

#[test]
fn no_caller_fails_while_two_connections_circulate_and_new_logins_are_refused() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.hba("host all locked 127.0.0.1/32 trust");
    });
    server.sql("postgres", "CREATE ROLE locked LOGIN");
    let url = format!("postgres://locked@127.0.0.1:{}/postgres", server.port());
    let pool = Pool::builder().max_size(THREADS).checkout_timeout(Duration::from_secs(20));
    let pool = pool.build(Postgres::new(&url).expect("a driver")).expect("it may log in");
    let two = [pool.get().expect("a first"), pool.get().expect("a second")];
    drop(two);
    let manager = Manager::new(Postgres::new(&url).expect("a driver"));
    let peer = r2d2::Pool::builder().max_size(2).test_on_check_out(true);
    let peer = peer.connection_timeout(Duration::from_secs(20)).build(manager).expect("two more");
    server.sql("postgres", "ALTER ROLE locked NOLOGIN");
    let began = Instant::now();
    for hold in [5, 20, 50, 300].map(Duration::from_millis) {
        let ours = || {
            let guard = pool.get().map_err(|error| error.to_string())?;
            thread::sleep(hold);
            drop(guard);
            Ok(())
        };
        let theirs = || {
            let guard = peer.get().map_err(|error| error.to_string())?;
            thread::sleep(hold);
            drop(guard);
            Ok(())
        };
        // At the same time: a busy computer delays both.
        let (ours, theirs) = thread::scope(|scope| {
            let theirs = scope.spawn(|| load(theirs));
            (load(ours), theirs.join().expect("no panic"))
        });
        let share = ours.per_second() / theirs.per_second();
        println!(
            "hold {hold:?}: {:.1} check-outs a second, {:.1} of a bare r2d2 pool: {share:.3}",
            ours.per_second(),
            theirs.per_second()
        );
        assert_eq!(ours.errors, Vec::<String>::new(), "hold {hold:?}");
        // On an idle computer the difference is within 3 %.
        assert!(share > 0.8, "{share:.3} of a bare r2d2 pool's throughput");
    }
    let (failures, spacings) =
        (pool.snapshot().connect_failures, began.elapsed().as_millis() / 100);
    let most = u64::try_from(spacings + 2).expect("few");
    assert!((5..=most).contains(&failures), "{failures} failed in {spacings} spacings");
}
