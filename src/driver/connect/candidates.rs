//! The ways to reach a server, one after the other: each server in each pass, each address
//! of its name, with TLS and without, with the first credentials and the second.

use super::credentials::Credentials;
use super::servers::Servers;
use crate::config::settings::Endpoint;
use crate::config::tls::{HAS_TLS, SslMode};
use crate::driver::attempt::Attempt;
use crate::error::{ConnectError, FaultClass, Phase};
use crate::sys::clock;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// What a driver requires of its candidates.
pub(crate) struct Wanted<'a, R> {
    /// What the server must be, in each pass through all servers.
    pub(crate) passes: &'a [R],
    pub(crate) mode: SslMode,
    /// The driver resolves a name by itself and dials its first address.
    pub(crate) by_name: bool,
    /// Returns the credentials that are stored for a server; those of a hook come first.
    pub(crate) stored: &'a dyn Fn(&Endpoint) -> Option<Credentials>,
}

/// Whether a dial uses TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsChoice {
    /// TLS, as `sslmode` requires.
    Tls,
    /// No TLS; after a failed attempt with TLS, its error.
    Plain(Option<String>),
}

impl TlsChoice {
    /// Returns why TLS failed, where it was tried.
    pub(crate) fn why_plain(&self) -> Option<&str> {
        match self {
            TlsChoice::Plain(why) => why.as_deref(),
            TlsChoice::Tls => None,
        }
    }
}

/// One way to reach one server.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a, R> {
    pub(crate) endpoint: &'a Endpoint,
    /// `None` for a unix socket.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) tls: TlsChoice,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) pass: R,
    /// The end of its share of the time; `None` if it has all that is left.
    pub(super) deadline: Option<Instant>,
    /// Why the name has no address.
    pub(super) unresolved: Option<ConnectError>,
    /// Why the same with TLS failed, in this attempt.
    tls_failure: Option<ConnectError>,
    has_other_endpoints: bool,
    has_other_addresses: bool,
    is_last_address: bool,
}

/// The candidates of one attempt; what the last one came to decides about the next.
pub(super) struct Candidates<'a, R> {
    servers: &'a Servers,
    wanted: &'a Wanted<'a, R>,
    attempt: &'a Attempt,
    /// The hook's, and whether it was called a second time.
    credentials: Option<Credentials>,
    asked_again: bool,
    endpoints: VecDeque<(&'a Endpoint, R)>,
    /// What is left of the endpoint that was begun last.
    addresses: VecDeque<Candidate<'a, R>>,
    endpoint_deadline: Instant,
    /// The last candidate in another way.
    other_way: Option<Candidate<'a, R>>,
}

impl<'a, R: Copy> Candidates<'a, R> {
    /// Calls the credentials hook, if there is one.
    pub(super) fn new(
        servers: &'a Servers,
        wanted: &'a Wanted<'a, R>,
        attempt: &'a Attempt,
    ) -> Result<Candidates<'a, R>, ConnectError> {
        let credentials = servers.credentials.ask(&servers.label(), attempt)?;
        let mut each: Vec<&Endpoint> = servers.endpoints().iter().collect();
        servers.order.apply(&mut each);
        let passes = wanted.passes.iter();
        let all = passes.flat_map(|pass| each.iter().map(|endpoint| (*endpoint, *pass)));
        let mut all: Vec<_> = all.collect();
        servers.memory.responsive_first(&mut all, |(one, _)| one.label(), Instant::now());
        Ok(Candidates {
            servers,
            wanted,
            attempt,
            credentials,
            asked_again: false,
            endpoints: all.into(),
            addresses: VecDeque::new(),
            endpoint_deadline: attempt.deadline(),
            other_way: None,
        })
    }

    /// Resolves the next endpoint within its share of the time; the share is divided among
    /// its addresses in turn.
    fn begin_endpoint(&mut self) -> Option<()> {
        let left = self.endpoints.len();
        let (endpoint, pass) = self.endpoints.pop_front()?;
        let several = self.wanted.passes.len() * self.servers.endpoints().len() > 1;
        self.endpoint_deadline = share(self.attempt.deadline(), left);
        if several {
            self.attempt.begin_host(self.endpoint_deadline);
        }
        let found = self.addresses_of(endpoint);
        self.attempt.end_host();
        let (addresses, unresolved) = match found {
            Ok(addresses) => (addresses, None),
            Err(error) => (vec![None], Some(error)),
        };
        let candidate = Candidate {
            endpoint,
            address: None,
            tls: self.first_choice(endpoint),
            credentials: self.credentials.clone().or_else(|| (self.wanted.stored)(endpoint)),
            pass,
            deadline: None,
            unresolved,
            tls_failure: None,
            has_other_endpoints: several,
            has_other_addresses: addresses.len() > 1,
            is_last_address: false,
        };
        let each = |address| Candidate { address, ..candidate.clone() };
        self.addresses = addresses.into_iter().map(each).collect();
        Some(())
    }

    /// Returns the addresses of an endpoint, one at least, in the order to try them.
    fn addresses_of(&self, endpoint: &Endpoint) -> Result<Vec<Option<SocketAddr>>, ConnectError> {
        let (host, port) = match endpoint {
            Endpoint::Unix { .. } => return Ok(vec![None]),
            Endpoint::Tcp { address: Some(address), port, .. } => {
                return Ok(vec![Some(SocketAddr::new(*address, *port))]);
            }
            Endpoint::Tcp { host, port, .. } => (host, *port),
        };
        self.attempt.enter(Phase::Resolving);
        let resolved = self.servers.resolver.resolve(host, port, self.attempt.deadline());
        let mut addresses = resolved.map_err(|error| {
            let timed_out = error.kind() == io::ErrorKind::TimedOut;
            let fault = if timed_out { FaultClass::TimedOut } else { FaultClass::UnknownHost };
            ConnectError::new(fault, format!("{host}:{port}")).with_source(error)
        })?;
        if self.wanted.by_name {
            addresses.truncate(1);
        } else {
            self.servers.order.apply(&mut addresses);
            let now = Instant::now();
            self.servers.memory.responsive_first(&mut addresses, SocketAddr::to_string, now);
        }
        Ok(addresses.into_iter().map(Some).collect())
    }

    fn first_choice(&self, endpoint: &Endpoint) -> TlsChoice {
        match self.wanted.mode {
            _ if matches!(endpoint, Endpoint::Unix { .. }) => TlsChoice::Plain(None),
            SslMode::Disable => TlsChoice::Plain(None),
            SslMode::Prefer if !HAS_TLS => TlsChoice::Plain(None),
            SslMode::Prefer => {
                match self.servers.memory.why_plain(&endpoint.label(), Instant::now()) {
                    Some(why) => TlsChoice::Plain(Some(why)),
                    None => TlsChoice::Tls,
                }
            }
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => TlsChoice::Tls,
        }
    }

    /// With `sslmode=prefer`, makes the next candidate the same one without TLS, if TLS
    /// failed; returns `true` if it does.
    pub(super) fn without_tls(&mut self, last: &Candidate<'a, R>, error: &ConnectError) -> bool {
        let is_due_to_tls = error.class() == FaultClass::Tls || error.code() == Some(REJECTED);
        let may = self.wanted.mode == SslMode::Prefer && last.tls == TlsChoice::Tls;
        if may && is_due_to_tls {
            self.other_way = Some(Candidate {
                tls: TlsChoice::Plain(Some(error.to_string())),
                tls_failure: Some(error.clone()),
                ..last.clone()
            });
        }
        may && is_due_to_tls
    }

    /// Makes the next candidate the same one with other credentials, if the hook has some;
    /// returns `true` if it has. Those that were rejected may have been replaced since the
    /// hook returned them.
    pub(super) fn as_another(&mut self, last: &Candidate<'a, R>) -> bool {
        if self.credentials.is_none() || std::mem::replace(&mut self.asked_again, true) {
            return false;
        }
        let second = self.servers.credentials.ask(&self.servers.label(), self.attempt);
        let Ok(Some(second)) = second else { return false };
        if self.credentials.as_ref() == Some(&second) {
            return false;
        }
        self.credentials = Some(second.clone());
        for candidate in &mut self.addresses {
            candidate.credentials = Some(second.clone());
        }
        let tls = self.first_choice(last.endpoint);
        let credentials = Some(second);
        self.other_way = Some(Candidate { tls, tls_failure: None, credentials, ..last.clone() });
        true
    }

    /// Remembers what a successful dial has shown.
    pub(super) fn succeeded(&self, candidate: &Candidate<'a, R>) {
        let (memory, endpoint) = (&self.servers.memory, candidate.endpoint.label());
        memory.has_responded(&endpoint);
        if let Some(address) = candidate.address {
            memory.has_responded(&address.to_string());
        }
        if let Some(failure) = &candidate.tls_failure {
            memory.is_plain(endpoint, failure.to_string(), Instant::now());
        }
    }

    /// Remembers what a failed dial has shown; returns the error to report.
    pub(super) fn failed(&self, candidate: &Candidate<'a, R>, error: ConnectError) -> ConnectError {
        let (memory, endpoint) = (&self.servers.memory, candidate.endpoint.label());
        if error.class() == FaultClass::TimedOut || self.attempt.remaining().is_zero() {
            let now = Instant::now();
            if let Some(address) = candidate.address.filter(|_| candidate.has_other_addresses) {
                memory.has_not_responded(address.to_string(), now);
            }
            if candidate.has_other_endpoints && candidate.is_last_address {
                memory.has_not_responded(endpoint.clone(), now);
            }
        }
        if candidate.tls == TlsChoice::Tls {
            return error;
        }
        // The server may require TLS by now.
        if matches!(error.class(), FaultClass::Authentication | FaultClass::Configuration) {
            memory.may_have_tls(&endpoint);
        }
        match &candidate.tls_failure {
            // It rejects clients without TLS: report why TLS failed.
            Some(failure) if error.code() == Some(REJECTED) => failure.clone(),
            _ => error,
        }
    }
}

/// PostgreSQL documentation, "Error Codes": invalid_authorization_specification, the
/// error of an entry of pg_hba.conf that rejects TLS. A wrong password is 28P01: a second
/// dial would only send it unencrypted.
const REJECTED: &str = "28000";

impl<'a, R: Copy> Iterator for Candidates<'a, R> {
    type Item = Candidate<'a, R>;

    fn next(&mut self) -> Option<Candidate<'a, R>> {
        if let Some(candidate) = self.other_way.take() {
            return Some(candidate);
        }
        if self.addresses.is_empty() {
            self.begin_endpoint()?;
        }
        let left = self.addresses.len();
        let mut candidate = self.addresses.pop_front()?;
        candidate.is_last_address = left == 1;
        let shares = candidate.has_other_endpoints || candidate.has_other_addresses;
        candidate.deadline = shares.then(|| share(self.endpoint_deadline, left));
        Some(candidate)
    }
}

/// Returns the end of the next of so many equal shares of the time that is left.
fn share(deadline: Instant, count: usize) -> Instant {
    let now = Instant::now();
    now + clock::left(deadline, now) / u32::try_from(count).unwrap_or(u32::MAX)
}
