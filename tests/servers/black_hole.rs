//! A network that drops all packets: no FIN, no error, no reply. Only the kernel's
//! own timers end such a connection, if they are set.

use crate::close_lines::close_line;
use crate::variant::{My, Pg, Variant, fill};
use poolwarden::config::Keepalive;
use poolwarden::{CloseReason, Pool};
use socket2::{SockRef, Socket};
use std::thread;
use std::time::{Duration, Instant};
use support::logs;
use support::network::{self, Network};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// The default options, scaled down.
const IDLE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(1);
const UNACKNOWLEDGED: Duration = Duration::from_secs(2);

/// The documented bound: idle time plus one interval beyond the timeout
/// of unacknowledged data; the rest is for the kernel's timers and a loaded computer.
const BOUND: Duration = Duration::from_secs(8);

/// How long connections without the options are observed not to end.
const CONTROL: Duration = Duration::from_secs(4);

fn pool<F: Variant>(variant: &F, is_set: bool) -> Pool<F::Driver> {
    let keepalive = Keepalive::new(IDLE, INTERVAL, 3);
    let builder = Pool::builder().max_size(3).ping_after(None);
    let builder = builder.keepalive(is_set.then_some(keepalive));
    let builder = builder.tcp_user_timeout(is_set.then_some(UNACKNOWLEDGED));
    builder.build(variant.driver()).expect("the server accepts")
}

/// Has one connection wait for a reply to an earlier request, sends a request on another, and
/// leaves a third connection idle.
fn ends<F: Variant>(
    network: &Network,
    variant: &F,
    doze: impl Fn(&mut F::Connection) -> Result<(), String> + Sync,
) {
    let log = logs::mark();
    let (pool, control) = (pool(variant, true), pool(variant, false));
    fill(&pool);
    fill(&control);
    let mut asleep = pool.get().expect("a connection");
    let mut awake = pool.get().expect("a connection");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| doze(&mut asleep));
        thread::sleep(Duration::from_millis(300));
        network.drop_everything();
        let began = Instant::now();
        F::ask(&mut awake).expect_err("the statement was dropped");
        let unacknowledged = began.elapsed();
        assert!(unacknowledged >= UNACKNOWLEDGED, "after {unacknowledged:?}");
        let idle = || pool.snapshot().closed_by(CloseReason::NetworkTimeout) >= 1;
        assert!(eventually(BOUND, idle), "{}", pool.snapshot());
        let line = close_line(&log, pool.name(), CloseReason::NetworkTimeout);
        assert!(line.contains(": network timeout: the peer acknowledged nothing"), "{line}");
        waiting.join().expect("no panic").expect_err("its reply was dropped");
        let took = began.elapsed();
        println!("unacknowledged {unacknowledged:?}, all {took:?}");
        assert!(took <= BOUND, "after {took:?}");
        thread::sleep(CONTROL.saturating_sub(began.elapsed()));
    });
    assert_eq!(control.snapshot().levels.idle, 3, "without the options they do not end");
    drop((asleep, awake));
    network.pass();
    F::ask(&mut pool.get().expect("the network works again")).expect("it works");
}

#[test]
fn in_a_network_that_drops_all_packets_postgres_connections_end_within_their_bound() {
    support::require!(postgres);
    network::in_own_network(|network| {
        let server = pg::Server::start();
        let variant = Pg::new(server.url("postgres", "postgres"));
        ends(network, &variant, |client| {
            client.batch_execute("select pg_sleep(60)").map_err(|error| error.to_string())
        });
    });
}

#[test]
fn in_a_network_that_drops_all_packets_mariadb_connections_end_within_their_bound() {
    support::require!(mariadb);
    network::in_own_network(|network| {
        let server = mariadb::Server::start();
        let database = server.fresh_database();
        ends(network, &My::new(database.url()), |connection| {
            use mysql::prelude::Queryable;
            connection.query_drop("select sleep(60)").map_err(|error| error.to_string())
        });
    });
}

/// Keepalive on, its idle time, interval and probes, and the user timeout.
type Options = (bool, Option<(Duration, Duration, u32)>, Option<Duration>);

fn options(socket: &Socket) -> Options {
    let socket = SockRef::from(socket);
    let on = socket.keepalive().expect("an option");
    let times = on.then(|| {
        (
            socket.tcp_keepalive_time().expect("an option"),
            socket.tcp_keepalive_interval().expect("an option"),
            socket.tcp_keepalive_retries().expect("an option"),
        )
    });
    (on, times, socket.tcp_user_timeout().expect("an option").filter(|time| !time.is_zero()))
}

/// Returns the options of all live sockets of a pool, duplicates included.
fn live<F: Variant>(port: u16, variant: &F, is_silent: bool) -> Vec<Options> {
    let builder = Pool::builder().max_size(2);
    let builder = if is_silent { builder.keepalive(None).tcp_user_timeout(None) } else { builder };
    let pool = builder.build(variant.driver()).expect("the server accepts");
    fill(&pool);
    let found: Vec<_> = network::own_connections_to(port).iter().map(options).collect();
    assert!(found.len() >= 2, "no socket leads to {port}");
    drop(pool);
    // Else the next pool's would be found among this one's.
    assert!(eventually(BOUND, || network::own_connections_to(port).is_empty()));
    found
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn live_postgres_sockets_have_the_pools_options_unless_the_user_set_others() {
    support::require!(postgres);
    let server = pg::Server::start();
    let url = server.url("postgres", "postgres");
    let by_default = (true, Some((30 * SECOND, 10 * SECOND, 3)), Some(30 * SECOND));
    for found in live(server.port(), &Pg::new(url.clone()), false) {
        assert_eq!(found, by_default);
    }
    let chosen = Pg::new(format!("{url}?keepalives_idle=7&tcp_user_timeout=9000"));
    for found in live(server.port(), &chosen, false) {
        assert_eq!(found, (true, Some((7 * SECOND, 10 * SECOND, 3)), Some(9 * SECOND)));
    }
    for (text, is_on) in [(url.clone(), true), (format!("{url}?keepalives=0"), false)] {
        for (on, _, timeout) in live(server.port(), &Pg::new(text), true) {
            assert_eq!((on, timeout), (is_on, None), "the driver's own default");
        }
    }
}

#[test]
fn live_mariadb_sockets_have_the_pools_options_unless_the_user_set_others() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let url = server.fresh_database().url();
    let by_default = (true, Some((30 * SECOND, 10 * SECOND, 3)), Some(30 * SECOND));
    for found in live(server.port(), &My::new(url.clone()), false) {
        assert_eq!(found, by_default);
    }
    let chosen = format!("{url}&tcp_keepalive_time_ms=7000&tcp_user_timeout_ms=9000");
    for found in live(server.port(), &My::new(chosen), false) {
        assert_eq!(found, (true, Some((7 * SECOND, 10 * SECOND, 3)), Some(9 * SECOND)));
    }
    for found in live(server.port(), &My::new(url), true) {
        assert_eq!(found, (false, None, None), "the driver's own default");
    }
}
