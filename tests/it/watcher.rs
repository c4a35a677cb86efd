//! What the pool does when the watcher has noticed that a peer ended connections.

use crate::common::books::books;
use crate::common::fake::{At, Fake, ServerClose, Transport};
use crate::common::{idle, pool, until};
use poolwarden::observe::LostTogether;
use poolwarden::{CloseReason, Observer, Pool, PooledConnection, Validation};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use support::logs;

const SOCKETS: [Transport; 2] = [Transport::Unix, Transport::Tcp];

/// How many were lost together of how many, and why.
#[derive(Clone, Default)]
struct Bursts(Arc<Mutex<Vec<(usize, usize, CloseReason)>>>);

impl Observer for Bursts {
    fn lost_together(&self, event: &LostTogether<'_>) {
        self.0.lock().expect("no panic").push((event.lost, event.open, event.reason));
    }
}

#[test]
fn connections_that_end_together_are_one_log_line_and_one_event_with_their_number() {
    for transport in SOCKETS {
        // On a busy computer not every burst is seen as one.
        let is_one_line = |round: u32| {
            let (log, name) = (logs::mark(), format!("burst-{transport:?}-{round}"));
            let observer = Bursts::default();
            let seen = observer.0.clone();
            let (pool, script) =
                pool(transport, |options| options.max_size(3).name(&name).observer(observer));
            idle(&pool, 3);
            script.server().numbers().iter().for_each(|number| script.server().close(*number));
            until!(pool, pool.snapshot().closed_by(CloseReason::ServerClosed) == 3);
            let losses = || -> Vec<_> {
                let all = log.records_of("pool", &name).into_iter();
                all.filter(|record| record.message.contains(": lost ")).collect()
            };
            until!(pool, !losses().is_empty());
            books(&pool);
            let lines = losses();
            let mut lines = lines.iter();
            let first = lines.next().expect("a loss is logged");
            let is_one = first.message.contains("lost 3 of 3 connections: ");
            assert!(!is_one || lines.next().is_none(), "one line for the burst");
            if is_one {
                let bursts = || seen.lock().expect("no panic").clone();
                until!(!bursts().is_empty());
                assert_eq!(bursts(), [(3, 3, CloseReason::ServerClosed)]);
            }
            is_one
        };
        assert!((0..30).any(is_one_line));
    }
}

#[test]
fn a_connection_that_ended_while_it_was_in_use_does_not_become_idle() {
    for (transport, validation) in
        SOCKETS.into_iter().flat_map(|one| [(one, Validation::Peek), (one, Validation::Watch)])
    {
        let (pool, script) = pool(transport, |options| options.validation(validation));
        let is_closed_at_check_in = |_| {
            let conn = pool.get().expect("it opens");
            script.server().close(conn.number);
            until!(pool, PooledConnection::is_closed_by_peer(&conn));
            // The notice takes a moment, which is long on a busy computer.
            thread::sleep(Duration::from_millis(20));
            drop(conn);
            pool.snapshot().levels.open == 0
        };
        assert!((0..50).any(is_closed_at_check_in));
        books(&pool);
    }
}

/// Check-outs that ask the watcher make no system call, and so does the sweep.
fn never_peeks(pool: &Pool<Fake>) {
    let before = pool.snapshot();
    (0..20).for_each(|_| drop(pool.get().expect("it is idle")));
    assert_eq!(pool.snapshot().peeks, before.peeks);
    assert_eq!((pool.snapshot().pings, pool.snapshot().opened), (0, 1));
}

#[test]
fn with_watch_a_check_out_asks_the_watcher_and_a_dead_connection_is_found_without_a_caller() {
    for transport in SOCKETS {
        for how in [ServerClose::Fin, ServerClose::MessageAndFin] {
            let (pool, script) = pool(transport, |options| options.validation(Validation::Watch));
            let number = idle(&pool, 1)[0];
            never_peeks(&pool);
            script.server().terminate(number, how);
            until!(pool, pool.snapshot().closed() == 1);
            assert_eq!(script.calls(At::Connect), 1, "no caller came");
            assert_ne!(pool.get().expect("it opens").number, number);
            books(&pool);
        }
    }
}

#[test]
fn with_watch_connections_without_a_socket_are_pinged_as_by_default() {
    let (pool, script) = pool(Transport::Hidden, |options| options.validation(Validation::Watch));
    idle(&pool, 1);
    thread::sleep(Duration::from_millis(1_100));
    drop(pool.get().expect("it answers"));
    assert_eq!(script.calls(At::Ping), 1);
    books(&pool);
}
