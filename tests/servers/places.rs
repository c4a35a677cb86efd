//! Several hosts, for MySQL and MariaDB as for PostgreSQL.

use crate::flavour::{Flavour, My, Pg};
use poolwarden::{ConnectFault, Driver, MySql, Pool, Postgres};
use std::time::{Duration, Instant};
use support::script::serve;
use support::{mariadb, port, postgres as pg};

/// Checks that the pool has a connection that works.
fn works<F: Flavour>(driver: F::Driver) -> Pool<F::Driver> {
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
    // A host that answers with nonsense is passed over as well.
    let mute = serve(drop);
    let list = format!("127.0.0.1:{},127.0.0.1:{}", mute.port(), server.port());
    let url = format!("mysql://{}:app@{list}/{}", database.user(), database.name());
    works::<My>(MySql::new(&url).expect("a URL"));
    // A unix socket by its path in the host's place.
    let socket = server.socket().display().to_string().replace('/', "%2F");
    let url = format!("mysql://{}:app@{socket}/{}", database.user(), database.name());
    works::<My>(MySql::new(&url).expect("a URL"));
    let url = format!("{url}?load_balance_hosts=random&pool_max_size=2");
    assert_eq!(works::<My>(MySql::new(&url).expect("a URL")).snapshot().max_size, 2);
}

#[test]
fn a_refused_password_ends_the_list() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::shared();
    let never = serve(drop);
    let list = format!("127.0.0.1:{},127.0.0.1:{}", server.port(), never.port());
    let driver = MySql::new(&format!("mysql://app:wrong@{list}/mysql")).expect("a URL");
    let error = Pool::builder().build(driver).map(drop).expect_err("a wrong password");
    let fault = error.connect_error().map(|error| error.fault());
    assert_eq!((fault, never.accepted()), (Some(ConnectFault::Authentication), 0));
}

fn ends_in_time<D: Driver>(driver: D) {
    let start = Instant::now();
    let limit = Duration::from_millis(300);
    let builder = Pool::builder().connect_timeout(limit).checkout_timeout(limit * 3);
    builder.build(driver).map(drop).expect_err("nobody answers");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

/// Hosts that accept and say nothing: all of them share the attempt's deadline.
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
