//! A cause that waiting cannot cure is reported immediately; a recovery is noticed

use crate::variant::{My, Ours, Pg, Subject, Variant};
use poolwarden::{ErrorKind, FaultClass, MySql, Pool, Postgres};
use std::error::Error as _;
use std::io;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::proxy::{Mode, Proxy};
use support::{mariadb, port, postgres as pg};

/// `build` and `get` fail immediately although a caller would wait 30 s; the
/// driver's own error is the source.
fn fails_immediately<D, E>(driver: impl Fn() -> D, fault: FaultClass)
where
    D: poolwarden::driver::Driver,
    E: std::error::Error + 'static,
{
    let began = Instant::now();
    let from_build = Pool::builder().build(driver()).map(drop).expect_err("build fails");
    let lazy = Pool::builder().build_lazy(driver()).expect("options agree");
    let from_get = lazy.get().map(drop).expect_err("get fails");
    // A loaded computer may take seconds for a password.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for error in [from_build, from_get] {
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        assert_eq!(error.connect_error().map(|cause| cause.class()), Some(fault), "{error}");
        let source = error.source().expect("the driver's own error");
        assert!(source.downcast_ref::<E>().is_some(), "not the driver's error: {source:?}");
    }
}

#[test]
fn a_wrong_password_an_unknown_database_and_a_closed_port_fail_immediately_with_postgres() {
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
    fails_immediately::<_, postgres::Error>(driver(wrong), FaultClass::Authentication);
    let unknown = server.url("postgres", "no_such_database");
    fails_immediately::<_, postgres::Error>(driver(unknown), FaultClass::UnknownDatabase);
    let closed = format!("postgres://postgres@127.0.0.1:{}/postgres", port::unused());
    fails_immediately::<_, postgres::Error>(driver(closed), FaultClass::Refused);
    let no_file = "host=/nowhere user=postgres".to_owned();
    fails_immediately::<_, postgres::Error>(driver(no_file), FaultClass::Refused);
}

#[test]
fn a_wrong_password_an_unknown_database_and_a_closed_port_fail_immediately_with_mariadb() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::shared();
    let database = server.fresh_database();
    let driver = |url: String| move || MySql::new(&url).expect("a driver");
    let (port, user) = (server.port(), database.user());
    let wrong = format!("mysql://{user}:wrong@127.0.0.1:{port}/{}", database.name());
    fails_immediately::<_, mysql::Error>(driver(wrong), FaultClass::Authentication);
    let closed = format!("mysql://{user}:app@127.0.0.1:{}/x", port::unused());
    fails_immediately::<_, mysql::Error>(driver(closed), FaultClass::Refused);
    let no_file = format!("mysql://{user}:app@localhost/x?socket=%2Fnowhere%2Fsock");
    fails_immediately::<_, mysql::Error>(driver(no_file), FaultClass::Refused);
    server.sql(
        "DROP USER IF EXISTS anywhere; \
                CREATE USER anywhere IDENTIFIED BY 'app'; \
                GRANT ALL ON *.* TO anywhere",
    );
    let unknown = format!("mysql://anywhere:app@127.0.0.1:{port}/no_such_database");
    fails_immediately::<_, mysql::Error>(driver(unknown), FaultClass::UnknownDatabase);
}

#[test]
fn a_host_without_an_address_is_reported_immediately() {
    let nobody = |_: &str, _: u16| -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("no such host is known"))
    };
    let pg =
        || Postgres::new("postgres://u@nowhere.test/d").expect("a driver").with_resolver(nobody);
    fails_immediately::<_, io::Error>(pg, FaultClass::UnknownHost);
    let my = || MySql::new("mysql://u@nowhere.test/d").expect("a driver").with_resolver(nobody);
    fails_immediately::<_, io::Error>(my, FaultClass::UnknownHost);
}

/// Makes a server unreachable behind a proxy, lets many callers fail, and restores it.
fn outage<F: Variant>(variant: &F, proxy: &Proxy) {
    let pool = Pool::builder().max_size(10).build(variant.driver()).expect("the server accepts");
    let ours: Ours<F> = Ours(pool);
    proxy.set_mode(Mode::Refuse);
    proxy.apply(&support::proxy::Fault::Fin);
    let (before, began) = (ours.0.snapshot().connect_attempts, Instant::now());
    let Asked { times, fast, slowest } = fail_repeatedly(&ours, Duration::from_secs(1));
    let attempts = ours.0.snapshot().connect_attempts - before;
    // The first attempts of an outage in which nothing listens are that far apart.
    let spacings = began.elapsed().as_millis() / 30;
    // On a loaded computer a thread may be kept from running in between.
    assert!(fast * 2 > times, "a failing get takes milliseconds: only {fast} of {times} did");
    assert!(slowest < Duration::from_secs(5), "one took {slowest:?}");
    let most = u64::try_from(spacings + 1).expect("few");
    assert!((3..=most).contains(&attempts), "{attempts} attempts in {spacings} spacings");
    let quiet = ours.0.snapshot().connect_attempts;
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(ours.0.snapshot().connect_attempts, quiet, "no caller was waiting");
    recovers_soon(variant, 10, || {
        proxy.set_mode(Mode::Refuse);
        proxy.apply(&support::proxy::Fault::Fin);
        recovery(&ours, || proxy.set_mode(Mode::Pass))
    });
}

/// Asserts that the first success comes soon after the server accepts. A loaded computer
/// only adds delay, to a bare connection as well: one of several rounds counts.
#[track_caller]
fn recovers_soon<F: Variant>(variant: &F, rounds: usize, mut round: impl FnMut() -> Duration) {
    let mut slow = Vec::new();
    for _ in 0..rounds {
        let (took, began) = (round(), Instant::now());
        F::ask(&mut variant.open().expect("the server accepts")).expect("an answer");
        let bare = began.elapsed();
        if took <= Duration::from_millis(150) + 4 * bare {
            return;
        }
        slow.push((took, bare));
    }
    panic!("first success, and a bare connection: {slow:?}");
}

/// 16 threads check out as fast as they can; returns how often, and the longest wait.
fn fail_repeatedly<F: Variant>(ours: &Ours<F>, time: Duration) -> Asked {
    let until = Instant::now() + time;
    let ask = || {
        let mut asked = Asked::default();
        while Instant::now() < until {
            let began = Instant::now();
            let error = ours.0.get().map(drop).expect_err("the server is down");
            assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
            asked.add(began.elapsed());
            std::thread::yield_now();
        }
        asked
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        let results = workers.into_iter().map(|one| one.join().expect("no panic"));
        results.fold(Asked::default(), Asked::and)
    })
}

/// How often a pool was asked for a connection in vain, and how long that took.
#[derive(Default)]
struct Asked {
    times: usize,
    /// How often the answer came long before the next attempt to connect.
    fast: usize,
    slowest: Duration,
}

impl Asked {
    fn add(&mut self, took: Duration) {
        self.times += 1;
        self.fast += usize::from(took < Duration::from_millis(20));
        self.slowest = self.slowest.max(took);
    }

    fn and(self, other: Asked) -> Asked {
        Asked {
            times: self.times + other.times,
            fast: self.fast + other.fast,
            slowest: self.slowest.max(other.slowest),
        }
    }
}

/// Returns how long after `open` the first of several waiting threads is served, if it
/// opens just after an attempt: the worst moment.
fn recovery<F: Variant>(ours: &Ours<F>, open: impl FnOnce()) -> Duration {
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
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        std::thread::sleep(Duration::from_millis(230));
        let attempts = || ours.0.snapshot().connect_attempts;
        let before = attempts();
        while attempts() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        open();
        let accepts = Instant::now();
        let firsts = workers.into_iter().filter_map(|one| one.join().expect("no panic"));
        firsts.min().expect("a caller is served").saturating_duration_since(accepts)
    })
}

#[test]
fn a_postgres_outage_is_reported_within_milliseconds_and_its_end_is_noticed_immediately() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    outage(&Pg::new(database.url_via(proxy.port())), &proxy);
}

#[test]
fn a_mariadb_outage_is_reported_within_milliseconds_and_its_end_is_noticed_immediately() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let proxy = Proxy::to_port(mariadb::shared().port());
    outage(&My::new(database.url_via(proxy.port())), &proxy);
}

/// 64 threads check out repeatedly while the server behind the proxy is restarted:
/// few attempts reach the proxy, and all are served soon after it accepts.
fn callers_during_a_restart<F: Variant>(
    variant: &F,
    proxy: &Proxy,
    stop: impl FnOnce(),
    start: impl FnOnce() -> Instant,
) -> Duration {
    let ours: Ours<F> = Ours(Pool::builder().max_size(10).build(variant.driver()).expect("there"));
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
        // The pool may still report an earlier cause.
        let known = || ours.0.get().map(drop).err().and_then(|error| error.down_for());
        assert!(support::wait::eventually(Duration::from_secs(20), || known().is_some()));
        let began = Instant::now();
        let error = ours.0.get().map(drop).expect_err("the server is down");
        let quick = began.elapsed();
        assert!(quick < Duration::from_secs(5), "{error} after {quick:?}");
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
    // On a loaded computer the proxy accepts some late, and so closer together: they are
    // counted over the whole outage.
    let (count, spacings) = (between(down, gone), (gone - down).as_millis() / 100);
    let most = usize::try_from(spacings).expect("few") + 5;
    assert!((5..=most).contains(&count), "{count} attempts in {spacings} spacings");
    let served = served.into_inner().expect("no panic");
    let first = served.iter().filter(|at| **at >= up).min().expect("served again");
    first.saturating_duration_since(up)
}

#[test]
fn many_callers_during_a_postgres_restart_are_served_quickly_with_few_attempts() {
    support::require!(postgres);
    let server = pg::Server::start();
    let proxy = Proxy::to_port(server.port());
    let variant = Pg::new(server.url_via(proxy.port(), "postgres", "postgres"));
    recovers_soon(&variant, 6, || {
        callers_during_a_restart(
            &variant,
            &proxy,
            || server.stop_fast(),
            || {
                server.start_again();
                assert!(server.wait_ready(Duration::from_secs(20)));
                Instant::now()
            },
        )
    });
}

#[test]
fn many_callers_during_a_mariadb_restart_are_served_quickly_with_few_attempts() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let proxy = Proxy::to_port(server.port());
    let variant = My::new(database.url_via(proxy.port()));
    recovers_soon(&variant, 6, || {
        callers_during_a_restart(
            &variant,
            &proxy,
            || server.stop(),
            || {
                server.start_again();
                Instant::now()
            },
        )
    });
}

#[test]
fn a_caller_waits_for_a_starting_server_and_its_timeout_names_the_cause() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let variant = Pg::new(server.url("postgres", "postgres"));
    let pool = Pool::builder().build_lazy(variant.driver()).expect("options agree");
    let held = variant.open().expect("a session that a smart shutdown waits for");
    server.stop_smart();
    let error = pool.get_timeout(Duration::from_millis(1_500)).map(drop).expect_err("it stops");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
    let cause = error.connect_error().expect("the last connect error");
    assert_eq!((cause.class(), cause.code()), (FaultClass::Starting, Some("57P03")));
    assert!(error.to_string().contains("57P03"), "{error}");
    drop(held);
}

#[test]
fn a_socket_that_was_connected_to_itself_is_refused() {
    // On loopback a client that retries may be given the very port that it connects to
    // by chance. Here it binds that port first, so that it always is.
    let port = port::unused();
    let own: SocketAddr = ([127, 0, 0, 1], port).into();
    let opts = mysql::OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(port);
    let driver = MySql::from_opts(opts.bind_address(Some(own)).into()).expect("a driver");
    let pool = Pool::builder().build_lazy(driver).expect("options agree");
    let began = Instant::now();
    let error = pool.get().map(drop).expect_err("the connection is refused");
    assert!(began.elapsed() < Duration::from_secs(10), "after {:?}", began.elapsed());
    let cause = error.connect_error().expect("a failed connect");
    assert_eq!(cause.class(), FaultClass::SelfConnected, "{cause:?}");
    assert!(error.to_string().contains("connected to itself"), "{error}");
}

/// The beginning of a PostgreSQL message, and of MariaDB's greeting.
#[test]
fn a_server_that_closes_in_the_middle_of_its_reply_is_reported_as_a_hangup() {
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
    fails_immediately::<_, postgres::Error>(
        || Postgres::new(&url).expect("a driver"),
        FaultClass::Hangup,
    );
    let my = half(&[90, 0, 0, 0, 10, b'1'], false);
    let url = format!("mysql://u@{}/d", my.addr());
    fails_immediately::<_, mysql::Error>(
        || MySql::new(&url).expect("a driver"),
        FaultClass::Hangup,
    );
}
