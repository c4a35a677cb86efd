//! How many round trips the first query of a program takes, counted between the program and
//! the server.

use mysql::prelude::Queryable;
use poolwarden::{MySql, Pool, Postgres};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use support::mariadb as my;
use support::postgres as pg;
use support::script::mysql::FakeMysql;

/// Forwards one connection without TLS, message by message, and lists its round trips.
struct Relay {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Reads one message; returns the whole of it, and what it means if it stands for a round trip.
type ReadMessage = fn(&mut TcpStream) -> io::Result<(Vec<u8>, Option<String>)>;

impl Relay {
    fn start(server: u16, from_server: ReadMessage, from_client: ReadMessage) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listed = seen.clone();
        thread::spawn(move || {
            let (client, _) = listener.accept().expect("the program connects");
            let address = SocketAddr::from(([127, 0, 0, 1], server));
            let server = TcpStream::connect(address).expect("the server listens");
            let to_server = server.try_clone().expect("a copy");
            let to_client = client.try_clone().expect("a copy");
            let answers = listed.clone();
            thread::spawn(move || forward(server, to_client, from_server, &answers));
            forward(client, to_server, from_client, &listed);
        });
        Relay { port, seen }
    }

    /// Between the program and PostgreSQL: each round trip after the log-in ends with exactly
    /// one ReadyForQuery of the server.
    fn to_postgres(server: u16) -> Relay {
        Relay::start(server, postgres_message, any_bytes)
    }

    /// Between the program and MySQL or MariaDB: each command has the sequence number 0.
    fn to_mysql(server: u16) -> Relay {
        Relay::start(server, any_bytes, mysql_packet)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, read: ReadMessage, seen: &Mutex<Vec<String>>) {
    while let Ok((bytes, round_trip)) = read(&mut from) {
        // Before the receiver can have it.
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(round_trip);
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn any_bytes(from: &mut TcpStream) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut bytes = vec![0; 4096];
    match from.read(&mut bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            bytes.truncate(count);
            Ok((bytes, None))
        }
    }
}

fn postgres_message(from: &mut TcpStream) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message)?;
    let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
    message.resize(1 + length, 0);
    from.read_exact(&mut message[5..])?;
    let is_ready = message[0] == b'Z';
    Ok((message, is_ready.then(|| "ReadyForQuery".into())))
}

fn mysql_packet(from: &mut TcpStream) -> io::Result<(Vec<u8>, Option<String>)> {
    /// Commands that the server does not answer: COM_QUIT, COM_STMT_CLOSE.
    const UNANSWERED: [u8; 2] = [1, 25];
    let mut packet = vec![0; 4];
    from.read_exact(&mut packet)?;
    let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]) as usize;
    packet.resize(4 + length, 0);
    from.read_exact(&mut packet[4..])?;
    let is_command = packet[3] == 0 && !packet.get(4).is_some_and(|it| UNANSWERED.contains(it));
    let text = is_command.then(|| String::from_utf8_lossy(&packet[4..]).escape_debug().to_string());
    Ok((packet, text))
}

const SQL: &str = "select count(*) from orders where name = $1";

#[test]
fn a_program_of_one_query_takes_one_round_trip_more_than_a_bare_connection() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let owner = postgres::Client::connect(&database.url(), postgres::NoTls);
    let mut owner = owner.expect("the server accepts");
    owner.batch_execute("create table orders (name text)").expect("done");
    let relay = || Relay::to_postgres(database.server().port());
    // The question for TLS is one more, with each driver that asks it.
    let url = |relay: &Relay| format!("{}?sslmode=disable", database.url_via(relay.port));

    let bare = relay();
    let mut client = postgres::Client::connect(&url(&bare), postgres::NoTls);
    let row = client.as_mut().expect("it connects").query_one(SQL, &[&"tea"]);
    let bare = bare.seen();
    assert_eq!(row.expect("it answers").get::<_, i64>(0), 0);

    let pooled = relay();
    let pool: Pool<Postgres> = Pool::connect(&url(&pooled)).expect("it opens");
    let row = pool.query_one(SQL, &[&"tea"]).expect("it answers");
    let pooled = pooled.seen();
    assert_eq!(row.get::<_, i64>(0), 0);
    // The one: is there a pooler in between, and what are the server's limits?
    assert!(pool.server_limits().is_some());

    assert!(pooled.len() <= bare.len() + 1, "a bare connection: {bare:?}, a pool: {pooled:?}");
}

/// Returns the round trips of a program that gets this URL; our driver asks for no TLS with it.
fn through_relay(database: &my::Database<'_>, program: impl FnOnce(&str)) -> Vec<String> {
    let relay = Relay::to_mysql(database.server().port());
    program(&format!("{}&sslmode=disable", database.url_via(relay.port)));
    relay.seen()
}

fn bare(url: &str) -> mysql::Conn {
    let opts = mysql::Opts::from_url(&url.replace("&sslmode=disable", ""));
    mysql::Conn::new(opts.expect("a valid URL")).expect("it connects")
}

#[test]
fn on_mysql_the_limits_take_one_round_trip_and_a_connection_nothing_else() {
    support::require!(mariadb);
    let database = my::shared().fresh_database();
    let alone = through_relay(&database, |url| {
        let answer = bare(url).query_first::<u64, _>("select 7");
        assert_eq!(answer.expect("it answers"), Some(7));
    });
    let pooled = through_relay(&database, |url| {
        let pool: Pool<MySql> = Pool::connect(url).expect("it opens");
        assert_eq!(pool.query_first::<u64>("select 7").expect("it answers"), Some(7));
        let limits = pool.server_limits().expect("they are read");
        // One answer of each statement.
        assert!(limits.max_connections.is_some() && limits.role.is_some(), "{limits:?}");
        assert!(limits.role_connections.is_some_and(|count| count > 0), "{limits:?}");
        assert_eq!(limits.encrypted, Some(false), "{limits:?}");
    });
    assert!(pooled.len() <= alone.len() + 1, "bare: {alone:#?}, a pool: {pooled:#?}");
    let without_limits = through_relay(&database, |url| {
        let driver = MySql::new(url).expect("a valid URL");
        let pool = Pool::builder().read_server_limits(false).build(driver).expect("it opens");
        assert_eq!(pool.query_first::<u64>("select 7").expect("it answers"), Some(7));
    });
    assert_eq!(without_limits, alone);
}

/// The reset, or the question whether the table is a view, takes the second: once for each
/// connection and statement.
#[test]
fn on_mysql_a_program_of_one_query_of_a_table_takes_two_round_trips_more() {
    support::require!(mariadb);
    const SQL: &str = "select count(*) from orders where name = ?";
    let database = my::shared().fresh_database();
    database.sql("create table orders (name text)");
    let alone = through_relay(&database, |url| {
        let answer = bare(url).exec_first::<u64, _, _>(SQL, ("tea",));
        assert_eq!(answer.expect("it answers"), Some(0));
    });
    let pooled = through_relay(&database, |url| {
        let pool: Pool<MySql> = Pool::connect(url).expect("it opens");
        assert_eq!(pool.exec_first::<u64, _>(SQL, ("tea",)).expect("it answers"), Some(0));
    });
    assert!(pooled.len() <= alone.len() + 2, "bare: {alone:#?}, a pool: {pooled:#?}");
    let question = pooled.iter().find(|text| text.contains("information_schema.tables"));
    // Of the table alone, neither of `count` nor of `name`.
    let lookups = question.map(|text| text.matches("table_name =").count());
    assert!(lookups.is_none_or(|count| count == 1), "{question:?}");
}

#[test]
fn a_proxy_that_takes_one_statement_at_a_time_is_asked_for_the_limits_that_way() {
    for is_refused in [false, true] {
        let server = FakeMysql::start();
        if is_refused {
            server.refuse_multi_statements();
        }
        let pool: Pool<MySql> = Pool::connect(&server.url()).expect("it opens");
        assert!(pool.server_limits().is_some());
        let statements = server.statements();
        let is_about_limits = |text: &&String| text.contains("show") || text.contains("'role'");
        let asked: Vec<_> = statements.iter().filter(is_about_limits).collect();
        let count = |part: &str| asked.iter().filter(|text| text.contains(part)).count();
        // The fake server does not know the third statement, after which it runs none.
        let alone = if is_refused { 4 } else { 1 };
        assert_eq!(asked.len(), 1 + alone, "{statements:#?}");
        assert_eq!(count(";"), 1, "{statements:#?}");
        assert_eq!(count("show processlist"), 2, "{statements:#?}");
    }
}
