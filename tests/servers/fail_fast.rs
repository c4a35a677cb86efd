//! What waiting cannot heal is told at once; what heals is noticed at once.

use crate::flavour::{Flavour, My, Ours, Pg, Subject};
use poolwarden::{ConnectFault, ErrorKind, MySql, Pool, Postgres};
use std::error::Error as _;
use std::io;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::proxy::{Mode, Proxy};
use support::{mariadb, port, postgres as pg};

/// `build` and `get` fail within a second although a caller would wait 30 s; the
/// driver's own error is the source.
fn fails_at_once<D, E>(driver: impl Fn() -> D, fault: ConnectFault)
where
    D: poolwarden::Driver,
    E: std::error::Error + 'static,
{
    let began = Instant::now();
    let from_build = Pool::builder().build(driver()).map(drop).expect_err("build fails");
    let lazy = Pool::builder().build_lazy(driver()).expect("knobs agree");
    let from_get = lazy.get().map(drop).expect_err("get fails");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for error in [from_build, from_get] {
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        assert_eq!(error.connect_error().map(|cause| cause.fault()), Some(fault), "{error}");
        let source = error.source().expect("the driver's own error");
        assert!(source.downcast_ref::<E>().is_some(), "not the driver's error: {source:?}");
    }
}

#[test]
fn a_wrong_password_an_unknown_database_and_a_closed_port_are_told_at_once_by_postgres() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.hba("host all picky 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", "CREATE ROLE picky LOGIN PASSWORD 'right'");
    let driver = |url: String| move || Postgres::new(&url).expect("a driver");
    let port = server.port();
    let wrong = format!("postgres://picky:wrong@127.0.0.1:{port}/postgres");
    fails_at_once::<_, postgres::Error>(driver(wrong), ConnectFault::Authentication);
    let unknown = server.url("postgres", "no_such_database");
    fails_at_once::<_, postgres::Error>(driver(unknown), ConnectFault::UnknownDatabase);
    let closed = format!("postgres://postgres@127.0.0.1:{}/postgres", port::unused());
    fails_at_once::<_, postgres::Error>(driver(closed), ConnectFault::Refused);
    let no_file = "host=/nowhere user=postgres".to_owned();
    fails_at_once::<_, postgres::Error>(driver(no_file), ConnectFault::Refused);
}

#[test]
fn a_wrong_password_an_unknown_database_and_a_closed_port_are_told_at_once_by_mariadb() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::shared();
    let database = server.fresh_database();
    let driver = |url: String| move || MySql::new(&url).expect("a driver");
    let (port, user) = (server.port(), database.user());
    let wrong = format!("mysql://{user}:wrong@127.0.0.1:{port}/{}", database.name());
    fails_at_once::<_, mysql::Error>(driver(wrong), ConnectFault::Authentication);
    let closed = format!("mysql://{user}:app@127.0.0.1:{}/x", port::unused());
    fails_at_once::<_, mysql::Error>(driver(closed), ConnectFault::Refused);
    let no_file = format!("mysql://{user}:app@localhost/x?socket=%2Fnowhere%2Fsock");
    fails_at_once::<_, mysql::Error>(driver(no_file), ConnectFault::Refused);
    server.sql(
        "CREATE OR REPLACE USER anywhere IDENTIFIED BY 'app'; \
                GRANT ALL ON *.* TO anywhere",
    );
    let unknown = format!("mysql://anywhere:app@127.0.0.1:{port}/no_such_database");
    fails_at_once::<_, mysql::Error>(driver(unknown), ConnectFault::UnknownDatabase);
}

#[test]
fn a_host_without_an_address_is_told_at_once() {
    let nobody = |_: &str, _: u16| -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("no such host is known"))
    };
    let pg =
        || Postgres::new("postgres://u@nowhere.test/d").expect("a driver").with_resolver(nobody);
    fails_at_once::<_, io::Error>(pg, ConnectFault::UnknownHost);
    let my = || MySql::new("mysql://u@nowhere.test/d").expect("a driver").with_resolver(nobody);
    fails_at_once::<_, io::Error>(my, ConnectFault::UnknownHost);
}

/// Takes a server away behind a proxy, lets a herd ask, and gives it back.
fn outage<F: Flavour>(flavour: &F, proxy: &Proxy) {
    let pool = Pool::builder().max_size(10).build(flavour.driver()).expect("it is there");
    let ours: Ours<F> = Ours(pool);
    proxy.set_mode(Mode::Refuse);
    proxy.apply(&support::proxy::Fault::Fin);
    let before = ours.0.snapshot().connect_attempts;
    let (asked, slowest) = storm(&ours, Duration::from_secs(1));
    let attempts = ours.0.snapshot().connect_attempts - before;
    assert!(asked > 1_000, "a failing get takes milliseconds: only {asked} in a second");
    assert!(slowest < Duration::from_millis(500), "one took {slowest:?}");
    assert!((5..=11).contains(&attempts), "{attempts} attempts in a second");
    let quiet = ours.0.snapshot().connect_attempts;
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(ours.0.snapshot().connect_attempts, quiet, "nobody asked");
    // A loaded computer only ever adds to it: the best of three counts.
    let took = (0..3).map(|_| {
        proxy.set_mode(Mode::Refuse);
        proxy.apply(&support::proxy::Fault::Fin);
        recovery(&ours, || proxy.set_mode(Mode::Pass))
    });
    let best = took.min().expect("three tries");
    assert!(best <= Duration::from_millis(150), "first success after {best:?}");
}

/// 16 threads ask as fast as they can; returns how often, and the longest wait.
fn storm<F: Flavour>(ours: &Ours<F>, time: Duration) -> (usize, Duration) {
    let until = Instant::now() + time;
    let ask = || {
        let (mut asked, mut slowest) = (0, Duration::ZERO);
        while Instant::now() < until {
            let began = Instant::now();
            let error = ours.0.get().map(drop).expect_err("the server is down");
            assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
            slowest = slowest.max(began.elapsed());
            asked += 1;
            std::thread::yield_now();
        }
        (asked, slowest)
    };
    std::thread::scope(|scope| {
        let herd: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        let results = herd.into_iter().map(|one| one.join().expect("no panic"));
        results.fold((0, Duration::ZERO), |all, one| (all.0 + one.0, all.1.max(one.1)))
    })
}

/// How long after `open` the first of several asking threads is served, when it
/// opens just after an attempt: the worst moment.
fn recovery<F: Flavour>(ours: &Ours<F>, open: impl FnOnce()) -> Duration {
    let served = AtomicBool::new(false);
    let ask = || {
        while !served.load(SeqCst) {
            if ours.work().is_ok() {
                served.store(true, SeqCst);
                return Some(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    };
    std::thread::scope(|scope| {
        let herd: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        std::thread::sleep(Duration::from_millis(230));
        let attempts = || ours.0.snapshot().connect_attempts;
        let before = attempts();
        while attempts() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        open();
        let accepts = Instant::now();
        let firsts = herd.into_iter().filter_map(|one| one.join().expect("no panic"));
        firsts.min().expect("somebody is served").saturating_duration_since(accepts)
    })
}

#[test]
fn an_outage_of_postgres_is_told_in_milliseconds_and_its_end_is_seen_at_once() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    outage(&Pg::new(database.url_via(proxy.port())), &proxy);
}

#[test]
fn an_outage_of_mariadb_is_told_in_milliseconds_and_its_end_is_seen_at_once() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let proxy = Proxy::to_port(mariadb::shared().port());
    outage(&My::new(database.url_via(proxy.port())), &proxy);
}

/// 64 threads go on asking while the server behind the proxy is stopped and started:
/// few attempts reach the proxy, and all are served soon after it accepts.
fn herd_over_a_restart<F: Flavour>(
    flavour: &F,
    proxy: &Proxy,
    stop: impl FnOnce(),
    start: impl FnOnce() -> Instant,
) -> Duration {
    let ours: Ours<F> = Ours(Pool::builder().max_size(10).build(flavour.driver()).expect("there"));
    let (over, served) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let ask = || {
        while !over.load(SeqCst) {
            if ours.work().is_ok() {
                served.lock().expect("no panic").push(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let (down, gone, up) = std::thread::scope(|scope| {
        (0..64).for_each(|_| drop(scope.spawn(ask)));
        std::thread::sleep(Duration::from_millis(200));
        stop();
        let down = Instant::now();
        // What was said before is one thing, what is known now another.
        let known = || ours.0.get().map(drop).err().and_then(|error| error.down_for());
        assert!(support::wait::eventually(Duration::from_secs(5), || known().is_some()));
        let began = Instant::now();
        let error = ours.0.get().map(drop).expect_err("the server is down");
        let quick = began.elapsed();
        assert!(quick < Duration::from_millis(500), "{error} after {quick:?}");
        std::thread::sleep(Duration::from_millis(2_500));
        // It may accept before `start` knows.
        let gone = Instant::now();
        let up = start();
        std::thread::sleep(Duration::from_millis(500));
        over.store(true, SeqCst);
        (down, gone, up)
    });
    let attempts = proxy.accept_times();
    let between =
        |from: Instant, to: Instant| attempts.iter().filter(|at| **at >= from && **at < to).count();
    for from in attempts.iter().filter(|at| **at >= down && **at < gone) {
        // One more than ten begin in a second that begins with one.
        let count = between(*from, (*from + Duration::from_secs(1)).min(gone));
        // The proxy of a loaded computer accepts some late, and so closer together.
        assert!(count <= 13, "{count} attempts in a second");
    }
    assert!(between(down, gone) >= 5, "somebody asked all the time");
    let served = served.into_inner().expect("no panic");
    let first = served.iter().filter(|at| **at >= up).min().expect("served again");
    first.saturating_duration_since(up)
}

#[test]
fn a_herd_over_a_restarting_postgres_is_served_at_once_and_does_not_storm() {
    support::require!(postgres);
    let server = pg::Server::start();
    let proxy = Proxy::to_port(server.port());
    let flavour = Pg::new(server.url_via(proxy.port(), "postgres", "postgres"));
    // A loaded computer only ever adds to it: the best of three counts.
    let round = || {
        herd_over_a_restart(
            &flavour,
            &proxy,
            || server.stop_fast(),
            || {
                server.start_again();
                assert!(server.wait_ready(Duration::from_secs(20)));
                Instant::now()
            },
        )
    };
    let best = (0..3).map(|_| round()).min().expect("three rounds");
    assert!(best <= Duration::from_millis(150), "first success after {best:?}");
}

#[test]
fn a_herd_over_a_restarting_mariadb_is_served_at_once_and_does_not_storm() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let proxy = Proxy::to_port(server.port());
    let flavour = My::new(database.url_via(proxy.port()));
    let round = || {
        herd_over_a_restart(
            &flavour,
            &proxy,
            || server.stop(),
            || {
                server.start_again();
                Instant::now()
            },
        )
    };
    let best = (0..3).map(|_| round()).min().expect("three rounds");
    assert!(best <= Duration::from_millis(150), "first success after {best:?}");
}

#[test]
fn a_caller_waits_for_a_server_that_is_starting_and_one_that_does_not_start_is_named() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let flavour = Pg::new(server.url("postgres", "postgres"));
    let pool = Pool::builder().build_lazy(flavour.driver()).expect("knobs agree");
    let held = flavour.open().expect("a session that a smart shutdown waits for");
    server.stop_smart();
    let error = pool.get_timeout(Duration::from_millis(400)).map(drop).expect_err("it stops");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
    let cause = error.connect_error().expect("the last connect error");
    assert_eq!((cause.fault(), cause.code()), (ConnectFault::Starting, Some("57P03")));
    assert!(error.to_string().contains("57P03"), "{error}");
    drop(held);
}

#[test]
fn a_socket_that_was_connected_to_itself_is_refused() {
    // On loopback a client that retries may be given the very port that it asks
    // for. Here it binds that port first, which makes a certainty of the chance.
    let port = port::unused();
    let own: SocketAddr = ([127, 0, 0, 1], port).into();
    let opts = mysql::OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(port);
    let driver = MySql::from_opts(opts.bind_address(Some(own)).into()).expect("a driver");
    let pool = Pool::builder().build_lazy(driver).expect("knobs agree");
    let began = Instant::now();
    let error = pool.get().map(drop).expect_err("nobody listens");
    assert!(began.elapsed() < Duration::from_secs(1), "after {:?}", began.elapsed());
    let cause = error.connect_error().expect("a failed connect");
    assert_eq!(cause.fault(), ConnectFault::SelfConnected, "{cause:?}");
    assert!(error.to_string().contains("connected to itself"), "{error}");
}

/// The begin of a PostgreSQL message, and of MariaDB's greeting.
#[test]
fn a_server_that_hangs_up_in_the_middle_of_its_answer_is_told_as_one_that_hung_up() {
    let half = |bytes: &'static [u8], reads_first: bool| {
        support::script::serve(move |mut stream| {
            if reads_first {
                let _ = stream.read(&mut [0; 256]);
            }
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
        })
    };
    let pg = half(&[b'R', 0, 0, 0, 8, 0], true);
    let url = format!("postgres://u@{}/d?sslmode=disable", pg.addr());
    fails_at_once::<_, postgres::Error>(
        || Postgres::new(&url).expect("a driver"),
        ConnectFault::Hangup,
    );
    let my = half(&[90, 0, 0, 0, 10, b'1'], false);
    let url = format!("mysql://u@{}/d", my.addr());
    fails_at_once::<_, mysql::Error>(|| MySql::new(&url).expect("a driver"), ConnectFault::Hangup);
}
