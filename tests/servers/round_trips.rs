//! How many round trips the first query of a program takes, counted between the program and
//! PostgreSQL.

use poolwarden::{Pool, Postgres};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use support::postgres as pg;

/// Forwards one connection without TLS, and counts the server's ReadyForQuery messages, of
/// which each round trip after the log-in has exactly one.
struct Relay {
    port: u16,
    ready: Arc<AtomicUsize>,
}

impl Relay {
    fn start(server: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let ready = Arc::new(AtomicUsize::new(0));
        let counted = ready.clone();
        thread::spawn(move || {
            let (client, _) = listener.accept().expect("the program connects");
            let address = SocketAddr::from(([127, 0, 0, 1], server));
            let server = TcpStream::connect(address).expect("the server listens");
            let (mut to_server, mut from_client) = (server.try_clone().expect("a copy"), client);
            let to_client = from_client.try_clone().expect("a copy");
            thread::spawn(move || count(server, to_client, &counted));
            let _ = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Write);
        });
        Relay { port, ready }
    }

    fn ready(&self) -> usize {
        self.ready.load(Ordering::SeqCst)
    }
}

/// Forwards what the server sends, message by message.
fn count(mut server: TcpStream, mut client: TcpStream, ready: &AtomicUsize) {
    let mut head = [0; 5];
    while server.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut message = head.to_vec();
        message.resize(1 + length, 0);
        if server.read_exact(&mut message[5..]).is_err() {
            break;
        }
        // Before the program can have it.
        ready.fetch_add(usize::from(head[0] == b'Z'), Ordering::SeqCst);
        if client.write_all(&message).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

const SQL: &str = "select count(*) from orders where name = $1";

#[test]
fn a_program_of_one_query_takes_one_round_trip_more_than_a_bare_connection() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let owner = postgres::Client::connect(&database.url(), postgres::NoTls);
    let mut owner = owner.expect("the server accepts");
    owner.batch_execute("create table orders (name text)").expect("done");
    let relay = || Relay::start(database.server().port());
    // The question for TLS is one more, with each driver that asks it.
    let url = |relay: &Relay| format!("{}?sslmode=disable", database.url_via(relay.port));

    let bare = relay();
    let mut client = postgres::Client::connect(&url(&bare), postgres::NoTls);
    let row = client.as_mut().expect("it connects").query_one(SQL, &[&"tea"]);
    let bare = bare.ready();
    assert_eq!(row.expect("it answers").get::<_, i64>(0), 0);

    let pooled = relay();
    let pool: Pool<Postgres> = Pool::connect(&url(&pooled)).expect("it opens");
    let row = pool.query_one(SQL, &[&"tea"]).expect("it answers");
    let pooled = pooled.ready();
    assert_eq!(row.get::<_, i64>(0), 0);
    // The one: is there a pooler in between, and what are the server's limits?
    assert!(pool.server_limits().is_some());

    assert!(pooled <= bare + 1, "a bare connection: {bare}, a pool: {pooled}");
}
