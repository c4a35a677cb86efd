//! Several hosts, for MySQL and MariaDB as for PostgreSQL.

use crate::variant::{My, Pg, Variant};
use poolwarden::driver::Driver;
use poolwarden::{FaultClass, MySql, Pool, Postgres};
use std::time::{Duration, Instant};
use support::script::serve;
use support::{mariadb, port, postgres as pg};

/// Checks that the pool has a connection that works.
fn works<F: Variant>(driver: F::Driver) -> Pool<F::Driver> {
    let pool = Pool::builder().build(driver).expect("one of the hosts");
    F::ask(&mut pool.get().expect("a connection")).expect("an answer");
    pool
}

#[test]
fn hosts_are_tried_in_order_until_one_answers() {
    if !pg::available() || !mariadb::available() {
        return;
    }
    let closed = port::unused();
    let (server, database) = (pg::shared(), pg::shared().fresh_database());
    let list = format!("127.0.0.1:{closed},localhost:{}", server.port());
    let url = format!("postgres://{}@{list}/{}", database.user(), database.name());
    let pool = works::<Pg>(Postgres::new(&url).expect("a URL"));
    assert!(pool.name().contains("and 1 more"), "{}", pool.name());

    let (server, database) = (mariadb::shared(), mariadb::shared().fresh_database());
    let list = format!("127.0.0.1:{closed},localhost:{}", server.port());
    let url = format!("mysql://{}:app@{list}/{}", database.user(), database.name());
    let pool = works::<My>(MySql::new(&url).expect("a URL"));
    assert!(pool.name().contains("and 1 more"), "{}", pool.name());
    // A host that answers with garbage is skipped as well.
    let mute = serve(drop);
    let list = format!("127.0.0.1:{},127.0.0.1:{}", mute.port(), server.port());
    let url = format!("mysql://{}:app@{list}/{}", database.user(), database.name());
    works::<My>(MySql::new(&url).expect("a URL"));
    // A unix socket by its path instead of a host.
    let socket = server.socket().display().to_string().replace('/', "%2F");
    let url = format!("mysql://{}:app@{socket}/{}", database.user(), database.name());
    works::<My>(MySql::new(&url).expect("a URL"));
    let url = format!("{url}?load_balance_hosts=random&pool_max_size=2");
    assert_eq!(works::<My>(MySql::new(&url).expect("a URL")).snapshot().levels.max_size, 2);
}

#[test]
fn a_refused_password_ends_the_attempt_without_another_host() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::shared();
    let never = serve(drop);
    let list = format!("127.0.0.1:{},127.0.0.1:{}", server.port(), never.port());
    let driver = MySql::new(&format!("mysql://app:wrong@{list}/mysql")).expect("a URL");
    let error = Pool::builder().build(driver).map(drop).expect_err("a wrong password");
    let fault = error.connect_error().map(|error| error.class());
    assert_eq!((fault, never.accepted()), (Some(FaultClass::Authentication), 0));
}

fn ends_in_time<D: Driver>(driver: D) {
    let start = Instant::now();
    let limit = Duration::from_millis(300);
    let builder = Pool::builder().connect_timeout(limit).checkout_timeout(limit * 3);
    builder.build(driver).map(drop).expect_err("the server does not answer");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

/// Hosts that accept and send nothing: all of them share the attempt's deadline.
#[test]
fn all_hosts_share_one_deadline() {
    let deaf = serve(|socket| {
        std::thread::sleep(Duration::from_secs(2));
        drop(socket);
    });
    let list = vec![format!("127.0.0.1:{}", deaf.port()); 9].join(",");
    ends_in_time(Postgres::new(&format!("postgres://u@{list}/d")).expect("a URL"));
    ends_in_time(MySql::new(&format!("mysql://u@{list}/d")).expect("a URL"));
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_unix_socket_is_dialled_and_its_connections_are_peeked_at() {
    support::require!(postgres);
    let name = format!("poolwarden-{}", fastrand::u64(..));
    let server = pg::Server::with(|conf| {
        conf.hba("local all all trust");
        conf.more_sockets(&format!("@{name}"));
    });
    let port = server.port();
    let by_url = format!("postgres://postgres@%40{name}:{port}/postgres?pool_max_size=1");
    let by_keys = format!("host=@{name} port={port} user=postgres dbname=postgres");
    for text in [by_url, by_keys] {
        let pool = works::<Pg>(Postgres::new(&text).expect("settings"));
        assert!(pool.name().contains(&format!("@{name}:{port}")), "{}", pool.name());
        let before = pool.snapshot();
        drop(pool.get().expect("an idle connection"));
        let after = pool.snapshot();
        assert!(after.pings == before.pings && after.peeks > before.peeks, "{after}");
    }
    let error = MySql::new(&format!("host=@{name} user=u")).map(drop).expect_err("refused");
    assert!(error.to_string().contains("abstract unix socket"), "{error}");
}

/// A zone that is right for the loopback interface of every computer: a number is accepted
/// for any address.
#[test]
fn an_ipv6_address_with_a_zone_is_dialled_by_mysql_and_refused_with_the_reason_by_postgres() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
        eprintln!("skipped: this computer has no IPv6 loopback address");
        return;
    };
    let port = listener.local_addr().expect("an address").port();
    let (told, dialled) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(listener.accept().map(drop)));
    let bound = Duration::from_secs(20);
    let mysql = MySql::new(&format!("mysql://u@[::1%251]:{port}/d")).expect("a URL");
    let pool = Pool::builder().connect_timeout(bound).build(mysql);
    pool.map(drop).expect_err("the peer hangs up");
    assert!(matches!(dialled.recv_timeout(bound), Ok(Ok(()))), "it was dialled");

    let postgres = Postgres::new(&format!("host=::1%1 port={port} user=u")).expect("settings");
    let pool = Pool::builder().connect_timeout(bound).build(postgres);
    let error = pool.map(drop).expect_err("the driver cannot");
    let fault = error.connect_error().map(|error| error.class());
    assert_eq!(fault, Some(FaultClass::Configuration), "{error}");
    assert!(error.to_string().contains("IPv6 address with a zone"), "{error}");
}
