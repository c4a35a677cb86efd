//! The order of candidates, their shares of the time, and what is remembered of them.

use super::candidates::{Candidate, TlsChoice, Wanted};
use super::credentials::{CredentialSource, Credentials};
use super::memory::{PLAIN_FOR, UNRESPONSIVE_FOR};
use super::resolver::Resolver;
use super::servers::{HostOrder, Servers};
use crate::config::settings::Endpoint;
use crate::config::tls::SslMode;
use crate::driver::attempt::{Attempt, AttemptOptions};
use crate::error::{ConnectError, FaultClass};
use crate::sys::sockets::Descriptor;
use std::cell::RefCell;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(90);

fn within(timeout: Duration) -> Attempt {
    Attempt::new(Instant::now(), AttemptOptions { timeout, ..AttemptOptions::default() })
}

/// Servers of these names, each with two addresses, or with one that needs no lookup.
fn servers(names: &[&str], addresses: &'static [&'static str]) -> Servers {
    let tcp = |host: &&str| {
        let address = addresses.is_empty().then(|| IpAddr::from([192, 0, 2, 9]));
        Endpoint::Tcp { host: (*host).into(), address, port: 1 }
    };
    let mut servers = Servers::new(names.iter().map(tcp).collect(), HostOrder::AsGiven);
    servers.resolve_with(Resolver::with(move |_, port| {
        let parse = |text: &&str| (text.parse::<IpAddr>().expect("an address"), port).into();
        Ok(addresses.iter().map(parse).collect())
    }));
    servers
}

fn error(fault: FaultClass, code: &str) -> ConnectError {
    ConnectError::new(fault, "db.test").with_code(code)
}

/// Tries the candidates with this `sslmode`; returns what the dials returned.
fn open<T>(
    servers: &Servers,
    mode: SslMode,
    attempt: &Attempt,
    dial: impl FnMut(&Candidate<'_, ()>) -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    let wanted = Wanted { passes: &[()], mode, by_name: false, stored: &|_| None };
    servers.open(&wanted, attempt, dial)
}

/// Tries the candidates without TLS; each is noted by its host and address.
fn tried(
    servers: &Servers,
    attempt: &Attempt,
    outcome: impl Fn(&str) -> Result<(), FaultClass>,
) -> (Vec<String>, Result<(), ConnectError>) {
    let mut tried = Vec::new();
    let result = open(servers, SslMode::Disable, attempt, |candidate| {
        let label = candidate.endpoint.label();
        let host = label.trim_end_matches(":1");
        let name = format!("{host} {}", candidate.address.expect("an address").ip());
        tried.push(name.clone());
        outcome(&name).map_err(|fault| ConnectError::new(fault, label))
    });
    (tried, result)
}

const TWO: &[&str] = &["192.0.2.1", "192.0.2.2"];

#[test]
fn each_endpoint_has_an_equal_share_of_the_time_that_is_left_and_each_address_one_of_that() {
    let shares = |addresses, names: &[&str]| {
        let attempt = within(LONG);
        let shares = RefCell::new(Vec::new());
        let (_, result) = tried(&servers(names, addresses), &attempt, |_| {
            shares.borrow_mut().push(attempt.remaining().as_secs_f64().round());
            Err(FaultClass::Refused)
        });
        assert!(attempt.remaining() > LONG - Duration::from_secs(10), "the rest has all the time");
        (shares.into_inner(), result.expect_err("all refuse").to_string())
    };
    let (of_endpoints, text) = shares(&[], &["a", "b", "c"]);
    assert_eq!(of_endpoints, [30.0, 45.0, 90.0]);
    let wanted = "cannot connect to c:1: connection refused; earlier: \
                  a:1: connection refused; b:1: connection refused";
    assert_eq!(text, wanted);
    assert_eq!(shares(TWO, &["a", "b", "c"]).0, [15.0, 30.0, 22.0, 45.0, 45.0, 90.0]);
    assert_eq!(shares(&[], &["a"]).0, [90.0]);
}

#[test]
fn a_server_that_did_not_respond_recently_is_tried_after_the_others() {
    let servers = servers(&["a", "b", "c"], &[]);
    let hosts = |unresponsive: &str| {
        let (tried, result) = tried(&servers, &within(LONG), |name| {
            if unresponsive.contains(&name[..1]) { Err(FaultClass::TimedOut) } else { Ok(()) }
        });
        (tried.iter().map(|name| &name[..1]).collect::<String>(), result.is_ok())
    };
    assert_eq!(hosts("a"), ("ab".into(), true));
    assert_eq!(hosts("a"), ("b".into(), true));
    assert_eq!(hosts("bc"), ("bca".into(), true));
    assert_eq!(hosts(""), ("a".into(), true), "only a responds");
    let mut each = ["a:1", "b:1", "c:1"];
    let later = Instant::now() + UNRESPONSIVE_FOR;
    servers.memory.responsive_first(&mut each, |name| (*name).to_owned(), later);
    assert_eq!(each, ["a:1", "b:1", "c:1"], "it is forgotten in time");
}

#[test]
fn an_address_that_did_not_respond_recently_is_tried_after_the_others_of_its_name() {
    let servers = servers(&["db"], TWO);
    let addresses = || {
        let (tried, result) = tried(&servers, &within(LONG), |name| {
            if name == "db 192.0.2.1" { Err(FaultClass::TimedOut) } else { Ok(()) }
        });
        assert!(result.is_ok());
        tried
    };
    assert_eq!(addresses(), ["db 192.0.2.1", "db 192.0.2.2"]);
    assert_eq!(addresses(), ["db 192.0.2.2"]);
}

#[test]
fn a_name_that_cannot_be_resolved_is_one_failure_among_the_others() {
    let mut servers = servers(&["a", "b"], TWO);
    servers.resolve_with(Resolver::with(|host: &str, port| match host {
        "a" => Err(std::io::Error::other("no such name")),
        _ => Ok(vec![([192, 0, 2, 2], port).into()]),
    }));
    let (only, result) = tried(&servers, &within(LONG), |_| Err(FaultClass::Refused));
    assert_eq!(only, ["b 192.0.2.2"]);
    let text = result.expect_err("refused").to_string();
    assert!(text.ends_with("; earlier: a:1: no such host"), "{text}");
}

#[test]
fn a_rejection_by_the_server_itself_ends_the_attempt() {
    let (count, result) =
        tried(&servers(&["a", "b"], TWO), &within(LONG), |_| Err(FaultClass::Authentication));
    assert!(result.is_err());
    assert_eq!(count.len(), 1);
}

#[test]
fn the_next_dial_waits_until_the_server_has_closed_the_last_one() {
    let attempt = within(LONG);
    let is_closed = Arc::new(AtomicBool::new(false));
    let result = open(&servers(&["a", "b"], &[]), SslMode::Disable, &attempt, |candidate| {
        if candidate.endpoint.label() == "b:1" {
            assert!(is_closed.load(SeqCst), "the second dial began too early");
            return Ok(());
        }
        let (near, far) = UnixStream::pair().expect("a pair");
        attempt.watch(Descriptor::duplicate(&near).expect("a duplicate")).expect("in time");
        let closed = Arc::clone(&is_closed);
        std::thread::spawn(move || {
            // Sees our end first, as a server does.
            assert_eq!((&far).read(&mut [0]).expect("an end"), 0);
            std::thread::sleep(Duration::from_millis(200));
            closed.store(true, SeqCst);
        });
        Err(ConnectError::new(FaultClass::NotStandby, "a:1"))
    });
    result.expect("the second accepts");
}

#[cfg(feature = "native-tls")]
mod tls {
    use super::*;

    /// Dials once; returns the choices that were tried and whether it succeeded.
    fn choices(servers: &Servers, mode: SslMode, first: &ConnectError) -> (Vec<bool>, bool) {
        let mut tried = Vec::new();
        let outcome = open(servers, mode, &within(LONG), |candidate| {
            tried.push(candidate.tls == TlsChoice::Tls);
            if candidate.tls == TlsChoice::Tls { Err(first.clone()) } else { Ok(()) }
        });
        (tried, outcome.is_ok())
    }

    #[test]
    fn only_prefer_dials_twice_and_only_after_a_tls_failure() {
        let table = [
            (SslMode::Prefer, FaultClass::Tls, "", vec![true, false]),
            (SslMode::Prefer, FaultClass::Authentication, "28000", vec![true, false]),
            (SslMode::Prefer, FaultClass::Authentication, "28P01", vec![true]),
            (SslMode::Prefer, FaultClass::Hangup, "", vec![true]),
            (SslMode::Require, FaultClass::Tls, "", vec![true]),
            (SslMode::VerifyFull, FaultClass::Authentication, "28000", vec![true]),
            (SslMode::Disable, FaultClass::Tls, "", vec![false]),
        ];
        for (mode, fault, code, expected) in table {
            let (tried, _) = choices(&servers(&["h"], &[]), mode, &error(fault, code));
            assert_eq!(tried, expected, "{mode} {fault:?} {code}");
        }
    }

    #[test]
    fn the_outcome_is_remembered_until_the_server_rejects_it() {
        let servers = servers(&["h"], &[]);
        let failure = error(FaultClass::Tls, "");
        assert_eq!(choices(&servers, SslMode::Prefer, &failure), (vec![true, false], true));
        assert_eq!(choices(&servers, SslMode::Prefer, &failure), (vec![false], true));
        assert!(servers.memory.why_plain("h:1", Instant::now() + PLAIN_FOR).is_none());
        let lost = open(&servers, SslMode::Prefer, &within(LONG), |candidate| {
            assert_ne!(candidate.tls, TlsChoice::Tls);
            Err::<(), _>(error(FaultClass::Authentication, "28000"))
        });
        assert!(lost.is_err());
        assert_eq!(choices(&servers, SslMode::Prefer, &failure), (vec![true, false], true));
    }

    #[test]
    fn a_failed_dial_without_tls_is_not_remembered() {
        let servers = servers(&["h"], &[]);
        let fault = |second: &ConnectError| {
            let outcome = open(&servers, SslMode::Prefer, &within(LONG), |candidate| {
                let tls = error(FaultClass::Tls, "");
                let is_tls = candidate.tls == TlsChoice::Tls;
                Err::<(), _>(if is_tls { tls } else { second.clone() })
            });
            outcome.expect_err("both fail").class()
        };
        let refused = error(FaultClass::Authentication, "28000");
        assert_eq!(fault(&refused), FaultClass::Tls, "the server requires TLS");
        assert_eq!(fault(&error(FaultClass::Saturated, "53300")), FaultClass::Saturated);
    }
}

mod hook {
    use super::*;

    fn with_hook(source: CredentialSource) -> Servers {
        let mut servers = servers(&["a", "b"], &[]);
        servers.log_in_with(source);
        servers
    }

    /// A source whose hook returns p1, p2, and so on.
    fn counting() -> CredentialSource {
        let asked = AtomicU32::new(0);
        CredentialSource::from_hook(move || {
            Ok(Credentials::new(format!("p{}", asked.fetch_add(1, SeqCst) + 1)))
        })
    }

    /// Dials a server that accepts one password; returns those that were tried.
    fn log_in(source: CredentialSource, accepted: &str) -> (String, Result<(), FaultClass>) {
        let mut tried = String::new();
        let result = open(&with_hook(source), SslMode::Disable, &within(LONG), |candidate| {
            let password =
                candidate.credentials.as_ref().map_or("none", |one| one.password.expose());
            tried += password;
            let rejected = error(FaultClass::Authentication, "28P01");
            if password == accepted { Ok(()) } else { Err(rejected) }
        });
        (tried, result.map_err(|error| error.class()))
    }

    #[test]
    fn without_a_hook_the_configuration_applies() {
        assert_eq!(log_in(CredentialSource::default(), "none"), ("none".to_owned(), Ok(())));
    }

    #[test]
    fn credentials_that_were_replaced_in_the_meantime_are_tried_once() {
        let rejected = Err(FaultClass::Authentication);
        assert_eq!(log_in(counting(), "p1"), ("p1".to_owned(), Ok(())));
        assert_eq!(log_in(counting(), "p2"), ("p1p2".to_owned(), Ok(())));
        assert_eq!(log_in(counting(), "p3"), ("p1p2".to_owned(), rejected));
        let same = CredentialSource::from_hook(|| Ok(Credentials::new("p")));
        assert_eq!(log_in(same, "p1"), ("p".to_owned(), rejected));
    }

    #[test]
    fn the_second_credentials_apply_to_the_candidates_that_follow() {
        let mut tried = Vec::new();
        let result = open(&with_hook(counting()), SslMode::Disable, &within(LONG), |candidate| {
            let password = candidate.credentials.as_ref().expect("the hook's").password.expose();
            let label = candidate.endpoint.label();
            tried.push(format!("{label} {password}"));
            match (&*label, password) {
                (_, "p1") => Err(error(FaultClass::Authentication, "28P01")),
                ("a:1", _) => Err(error(FaultClass::Starting, "57P03")),
                _ => Ok(()),
            }
        });
        assert!(result.is_ok());
        assert_eq!(tried, ["a:1 p1", "a:1 p2", "b:1 p2"]);
    }

    #[test]
    fn after_the_deadline_nothing_is_dialled() {
        let late = within(Duration::ZERO);
        let outcome = open(&with_hook(counting()), SslMode::Disable, &late, |_| -> Result<(), _> {
            panic!("not dialled")
        });
        assert_eq!(outcome.map_err(|error| error.class()), Err(FaultClass::TimedOut));
    }

    #[test]
    fn an_error_of_the_hook_has_a_class_and_is_the_source() {
        let source = CredentialSource::from_hook(|| Err("the vault is sealed".into()));
        let outcome = open(&with_hook(source), SslMode::Disable, &within(LONG), |_| Ok(()));
        let error = outcome.expect_err("no credentials");
        assert_eq!(error.class(), FaultClass::Credentials);
        let cause = std::error::Error::source(&error).expect("a source");
        assert_eq!(cause.to_string(), "the vault is sealed");
    }
}
