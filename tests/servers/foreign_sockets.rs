//! The socket of a connection that an r2d2 manager opens is found, so that it is peeked at
//! and not pinged.

use crate::variant::{My, Pg, Variant};
use poolwarden::{Foreign, Pool, PooledConnection};
use std::path::PathBuf;
use std::time::Duration;
use support::wait::eventually;
use support::{mariadb, postgres as pg};

const LONG: Duration = Duration::from_secs(60);

/// The driver crate's own connections in an r2d2 manager, as other crates offer them.
#[derive(Debug)]
struct BareManager<F>(F);

#[derive(Debug)]
struct Text(String);

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Text {}

impl<F: Variant> r2d2::ManageConnection for BareManager<F> {
    type Connection = F::Connection;
    type Error = Text;

    fn connect(&self) -> Result<F::Connection, Text> {
        self.0.open().map_err(Text)
    }

    fn is_valid(&self, connection: &mut F::Connection) -> Result<(), Text> {
        F::ask(connection).map_err(Text)
    }

    fn has_broken(&self, _: &mut F::Connection) -> bool {
        false
    }
}

type BarePool<F> = Pool<Foreign<BareManager<F>>>;
type Guard<F> = PooledConnection<Foreign<BareManager<F>>>;

/// How the socket is found.
#[derive(Clone, Debug)]
enum Way {
    Port(u16),
    Path(PathBuf),
}

fn pool<F: Variant>(variant: &F, way: &Way) -> BarePool<F> {
    let driver = Foreign::new(BareManager(variant.clone()));
    let driver = match way {
        Way::Port(port) => driver.with_tcp_port(*port),
        Way::Path(path) => driver.with_unix_socket(path),
    };
    // No age limit and no ping after idle time may come between the check-outs.
    let builder = Pool::builder().max_size(8).checkout_timeout(LONG).connect_timeout(LONG);
    builder.ping_after(None).build_lazy(driver).expect("the options agree")
}

fn ask<F: Variant>(pool: &BarePool<F>) {
    F::ask(&mut pool.get().expect("a connection")).expect("an answer");
}

/// Opens eight connections, all at a time or one after the other.
fn take_eight<F: Variant>(pool: &BarePool<F>, at_a_time: bool) -> Vec<Guard<F>> {
    if !at_a_time {
        return (0..8).map(|_| pool.get().expect("a connection")).collect();
    }
    std::thread::scope(|scope| {
        let open = |_| scope.spawn(|| pool.get().expect("a connection"));
        let threads: Vec<_> = (0..8).map(open).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// The socket of each connection is found, and peeked at: no ping, and no dead connection.
fn trial<F: Variant>(variant: &F, way: &Way, end_sessions: impl Fn() -> usize) {
    let pool = pool(variant, way);
    // Over a unix socket a dial that takes long is told apart only if it is alone.
    let at_a_time = matches!(way, Way::Port(_));
    drop(take_eight(&pool, at_a_time));
    for _ in 0..3 {
        drop(take_eight(&pool, at_a_time));
        (0..8).for_each(|_| ask(&pool));
    }
    let books = pool.snapshot();
    assert_eq!((books.opened, books.pings), (8, 0), "{way:?}: {books}");
    assert!(books.peeks >= 48, "{way:?}: {books}");
    assert!(end_sessions() >= 8);
    // What is lost is seen by the housekeeper or at check-out, and never by the caller.
    (0..8).for_each(|_| ask(&pool));
    let lost = || pool.snapshot().closed() >= 8;
    assert!(eventually(LONG, lost), "{way:?}: {}", pool.snapshot());
}

// On servers of their own: dials of other tests would be in the way.

#[test]
fn the_sockets_of_foreign_postgres_connections_are_found_and_peeked_at() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let path = server.socket_dir().join(format!(".s.PGSQL.{}", server.port()));
    let (tcp, unix) = (server.fresh_database(), server.fresh_database());
    trial(&Pg::new(tcp.url()), &Way::Port(server.port()), || tcp.terminate_all());
    trial(&Pg::new(unix.unix_url()), &Way::Path(path), || unix.terminate_all());
}

#[test]
fn the_sockets_of_foreign_mariadb_connections_are_found_and_peeked_at() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::start();
    let (tcp, unix) = (server.fresh_database(), server.fresh_database());
    trial(&My::new(tcp.url()), &Way::Port(server.port()), || tcp.kill_all());
    trial(&My::new(unix.unix_url()), &Way::Path(server.socket()), || unix.kill_all());
}
