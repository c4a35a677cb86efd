//! The texts of errors and log lines, with values filled in, for review as text.
//!
//! `INSTA_UPDATE=always` writes the files in `tests/it/snapshots` anew.

use crate::common::fake::{Act, At, Fake, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, pool, pool_with, start_checkout, until, until_waiting};
use poolwarden::config::ServerLimits;
use poolwarden::driver::Phase;
use poolwarden::{ConnectError, Error, FaultClass, Pool, PoolOptions, Settings, SizePolicy};
use std::fmt::{Display, Write as _};
use std::io;
use std::thread;
use std::time::Duration;

/// Compares texts with the stored ones; times and places differ from run to run.
pub fn check(name: &str, texts: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"\b\d+(\.\d+)? (ns|µs|ms|s)\b", "<time>");
    settings.add_filter(r"(connection) \d+", "$1 <number>");
    settings.add_filter(r"Error code \d+: [^;\n]*", "<SQLite's own text>");
    settings.add_filter(r"from [^ ]*\.rs:\d+", "from <place>");
    settings.bind(|| insta::assert_snapshot!(name, texts));
}

/// A text in one line and in several.
struct Text(String, String);

impl Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if f.alternate() { &self.1 } else { &self.0 })
    }
}

/// One case with its heading; of an error of a pool also the form with a line for each
/// holder, where it differs.
pub fn case(out: &mut String, heading: &str, text: impl Display) {
    let (line, lines) = (format!("{text}"), format!("{text:#}"));
    assert!(!line.contains('\n'), "{line}");
    let _ = writeln!(out, "# {heading}\n{line}");
    if line != lines {
        let _ = writeln!(out, "{lines}");
    }
    out.push('\n');
}

/// Checks out as many connections as there are, each on a thread of its own.
fn hold(pool: &Pool<Fake>, count: usize) -> Vec<poolwarden::PooledConnection<Fake>> {
    let callers: Vec<_> = (0..count).map(|_| start_checkout(pool, LONG_TIMEOUT)).collect();
    callers.into_iter().map(|caller| caller.connection()).collect()
}

const SHORT: Duration = Duration::from_millis(20);

/// The error of a caller on another thread, while so many connections are held.
fn all_held(count: usize) -> Error {
    let size = u32::try_from(count).expect("few");
    let (pool, _) = pool(Transport::InProcess, |options| options.max_size(size).name("orders"));
    let _held = hold(&pool, count);
    start_checkout(&pool, SHORT).error()
}

/// The error of a caller that holds so many connections itself.
fn nested(count: usize) -> Error {
    let size = u32::try_from(count).expect("few");
    let (pool, _) = pool(Transport::InProcess, |options| options.max_size(size).name("orders"));
    let _held: Vec<_> = (0..count).map(|_| pool.get().expect("it opens")).collect();
    pool.get_timeout(SHORT).expect_err("all are held by this thread")
}

/// The error of a caller for whom there is no place in the queue.
fn queue_full(limit: u32) -> Error {
    let options = |options: poolwarden::Builder<Fake>| options.max_size(1).name("orders");
    let (pool, _) = pool(Transport::InProcess, |o| options(o).max_waiting(limit));
    let held = hold(&pool, 1);
    let wait = || {
        let pool = pool.clone();
        thread::spawn(move || drop(pool.get()))
    };
    let waiting: Vec<_> = (0..limit).map(|_| wait()).collect();
    until_waiting(&pool, limit);
    let error = start_checkout(&pool, SHORT).error();
    drop(held);
    waiting.into_iter().for_each(|caller| caller.join().expect("a check-out"));
    error
}

#[test]
fn check_outs_that_fail() {
    let mut out = String::new();
    case(&mut out, "one connection, held", all_held(1));
    case(&mut out, "two connections, held", all_held(2));
    case(&mut out, "seven connections, held", all_held(7));
    case(&mut out, "held by the caller itself: one", nested(1));
    case(&mut out, "held by the caller itself: two", nested(2));
    case(&mut out, "queue full: one caller waiting", queue_full(1));
    case(&mut out, "queue full: two callers waiting", queue_full(2));
    let gate = Gate::shut();
    let hanging = |script: &crate::common::fake::Script| {
        script.always(At::Connect, Act::Hang(gate.clone()));
    };
    let (slow, _) = pool_with(Transport::Tcp, hanging, |options| options.name("orders"));
    case(&mut out, "a connect that hangs", start_checkout(&slow, SHORT).error());
    gate.open();
    let (shut, _) = pool(Transport::InProcess, |options| options.name("orders"));
    shut.close(Duration::from_secs(1));
    case(&mut out, "a closed pool", start_checkout(&shut, SHORT).error());
    let (full, script) = pool(Transport::Tcp, |options| options.name("orders"));
    script.always(At::Connect, Act::Fault(FaultClass::Saturated));
    case(&mut out, "a full server", start_checkout(&full, Duration::from_millis(300)).error());
    let (down, script) = pool(Transport::Tcp, |options| options.name("orders"));
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    case(&mut out, "a server that is down", start_checkout(&down, LONG_TIMEOUT).error());
    until!(down, {
        let error = start_checkout(&down, LONG_TIMEOUT).error();
        let known = error.down_for().is_some();
        if known {
            case(&mut out, "a server that is known to be down", error);
        }
        known
    });
    let (refusing, _) = pool(Transport::Tcp, |options| {
        options.name("orders").on_checkout(|_| Err("role \"app\" does not exist".into()))
    });
    case(&mut out, "an on_checkout hook that fails", refusing.get().expect_err("it is refused"));
    let (plain, _) = pool(Transport::Tcp, |options| options.name("orders"));
    let refused = plain.get_with(|_| Err("role \"app\" does not exist"));
    case(&mut out, "a closure of get_with that fails", refused.expect_err("it is refused"));
    check("check_outs", &out);
}

#[test]
fn connect_errors_of_every_class() {
    const CLASSES: &[FaultClass] = &[
        FaultClass::Refused,
        FaultClass::UnknownHost,
        FaultClass::Unreachable,
        FaultClass::TimedOut,
        FaultClass::Hangup,
        FaultClass::Authentication,
        FaultClass::UnknownDatabase,
        FaultClass::Tls,
        FaultClass::Starting,
        FaultClass::Saturated,
        FaultClass::FleetFull,
        FaultClass::ReadOnly,
        FaultClass::NotStandby,
        FaultClass::NoServer,
        FaultClass::SelfConnected,
        FaultClass::LocalResource,
        FaultClass::Configuration,
        FaultClass::Panicked,
        FaultClass::Hook,
        FaultClass::Credentials,
        FaultClass::BeforeConnect,
        FaultClass::Other,
    ];
    let mut out = String::new();
    for fault in CLASSES {
        let error = ConnectError::new(*fault, "db.example:5432");
        case(&mut out, &format!("{fault:?}"), &error);
        let error = error.with_code("00000").with_source("the driver's own text");
        case(&mut out, &format!("{fault:?}, with a code and a source"), error);
    }
    let system = |number| io::Error::from_raw_os_error(number);
    let refused = ConnectError::new(FaultClass::Refused, "db.example:5432");
    let refused = refused.with_source(system(nix::libc::ECONNREFUSED));
    case(&mut out, "the operating system's own words", refused);
    let lines = "no \"a\r\n\u{1b}[2Jb\"";
    let forged = ConnectError::new(FaultClass::Other, lines).with_source(lines);
    case(&mut out, "a target and a text with line breaks", forged);
    check("connects", &out);
}

#[test]
fn connects_of_a_pool_that_fail() {
    let mut out = String::new();
    for (heading, act) in [
        ("an error with a code", Act::Fault(FaultClass::Authentication)),
        ("a driver that panics", Act::Panic),
        ("an error whose text panics", Act::Unprintable),
    ] {
        let options = |options: poolwarden::Builder<Fake>| {
            options.name("orders").checkout_timeout(Duration::from_millis(200))
        };
        let (pool, script) = pool(Transport::Tcp, options);
        script.always(At::Connect, act);
        let error = pool.get().expect_err("it cannot be opened");
        // An attempt may begin or end at that moment.
        let between =
            |text: String| text.replace("pending 1", "pending 0").replace("closing 1", "closing 0");
        case(&mut out, heading, Text(between(format!("{error}")), between(format!("{error:#}"))));
    }
    let hook = |panics: bool| {
        let (pool, _) = pool(Transport::InProcess, move |options| {
            options.name("orders").init(move |_| {
                assert!(!panics, "in the hook");
                Err("role \"app\" does not exist".into())
            })
        });
        pool.get().expect_err("the hook fails")
    };
    case(&mut out, "an init hook that fails", hook(false));
    case(&mut out, "an init hook that panics", hook(true));
    let options = |options: poolwarden::Builder<Fake>| {
        options.name("orders").connect_timeout(Duration::from_millis(50))
    };
    let (slow, script) = pool(Transport::Tcp, options);
    script.server().freeze();
    case(&mut out, "a handshake that hangs", slow.get().expect_err("nothing answers"));
    check("connects_of_a_pool", &out);
}

#[test]
fn every_phase_of_a_connect() {
    let mut out = String::new();
    for phase in [
        Phase::Starting,
        Phase::Resolving,
        Phase::Connecting,
        Phase::Handshaking,
        Phase::Initialising,
        Phase::Authorising,
        Phase::Configuring,
        Phase::TakingSlot,
    ] {
        case(&mut out, &format!("{phase:?}"), format!("timed out ({phase}, after 1.5 s)"));
    }
    check("phases", &out);
}

#[test]
fn settings_that_are_rejected() {
    let mut out = String::new();
    for text in [
        "oracle://h/d",
        "postgres://h:port/d",
        "postgres://h:0/d",
        "postgres://a:1,b:x/d",
        "postgres://a,,b",
        "postgres://::1/d",
        "postgres://[::1",
        "postgres://[]",
        "postgres://[::1]z",
        "postgres://u:%zz@h",
        "postgres://u:%ff@h",
        "postgres://h/d@e",
        "postgres://h?sslmode",
        "postgres://h?sslmode=requre",
        "postgres://h?sslmode=allow",
        "postgres://h?pool_max_size=many",
        "postgres://h?pool_max_lifetime=soon",
        "postgres://h?pool_validation=never",
        "postgres://h?pool_size_policy=half",
        "postgres://h?pool_keepalive=30s",
        "postgres://h?pool_max_size=8&pool_max_size=9",
        "postgres://h?user=",
        "postgres://h?pool_min=1",
        "postgres://h?sslcrl=/x",
        "postgres://h?hostaddr=h",
        "postgres://u@h/d?password=a&b=1",
        "mysql://h?read_timeout=5",
        "mysql://h?danger_accept_invalid_certs=true",
        "mysql://h?ssl=maybe",
        "host=h port",
        "host=h =x",
        "host=h password='x",
        "host=h pasword=x",
        "host=h:5432",
        "host=h connect_timeout=soon",
        "host=h user=a\0b",
        "sqlite:",
    ] {
        let error = text.parse::<Settings>().expect_err(text);
        case(&mut out, &text.escape_debug().to_string(), error);
    }
    for (prefix, name, value) in [
        ("ORDERS", "ORDERS_MAX_SIZE", "many"),
        ("ORDERS", "ORDERS_URL", "oracle://h"),
        ("ORDERS", "ORDERS_PASSWORD_FILE", "/nowhere"),
    ] {
        let look_up = |asked: &str| (asked == name).then(|| value.into());
        let error = Settings::from_lookup(prefix, look_up).expect_err(name);
        case(&mut out, &format!("{name}={value}"), format!("{error:#}"));
    }
    let both = |asked: &str| asked.starts_with("A_PASSWORD").then(|| "x".into());
    let error = Settings::from_lookup("A", both).expect_err("both are set");
    case(&mut out, "A_PASSWORD=x A_PASSWORD_FILE=x", error);
    check("settings", &out);
}

#[test]
fn options_that_are_rejected() {
    let mut out = String::new();
    for (name, value) in [
        ("max_size", "0"),
        ("row_limit", "0"),
        ("byte_limit", "0"),
        ("max_waiting", "0"),
        ("lifetime_jitter", "1.5"),
        ("statement_cache", "10001"),
        ("connect_timeout", "0"),
        ("max_lifetime", "400d"),
        ("tcp_user_timeout", "0"),
        ("keepalive", "10ms/10s/3"),
        ("keepalive", "30s/10s/0"),
        ("size_policy", "share:1.5"),
        ("size_policy", "fixed:0"),
        ("size_policy", "instances:0"),
        ("min_idle", "11"),
        ("ping_timeout", "31s"),
        ("idle_timeout", "1h"),
        ("schema", ""),
        ("time_zone", "UTC'"),
        ("keepalive_ping", "0"),
        ("keepalive_ping", "30m"),
    ] {
        let mut options = PoolOptions::default();
        options.set(name, value).expect("a value of its form");
        case(&mut out, &format!("{name}={value}"), options.check().expect_err(name));
    }
    let error = PoolOptions::default().set("colour", "blue").expect_err("no such option");
    case(&mut out, "colour=blue", error);
    check("options", &out);
}

#[test]
fn size_policies_under_a_servers_limits() {
    let mut limits = ServerLimits::default();
    limits.product = "PostgreSQL 17.2".into();
    (limits.max_connections, limits.reserved_connections) = (Some(8), Some(3));
    let mut out = String::new();
    for policy in [
        SizePolicy::Fixed(10),
        SizePolicy::Share { of_server: 0.5 },
        SizePolicy::PerInstance { instances: 1 },
        SizePolicy::PerInstance { instances: 2 },
    ] {
        case(&mut out, &format!("{policy:?}"), policy);
    }
    check("size_policies", &out);
}
