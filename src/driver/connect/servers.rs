//! The servers of one driver, and in which order they are dialled.

use super::credentials::CredentialSource;
use super::memory::Memory;
use super::resolver::Resolver;
use crate::config::settings::Endpoint;
use std::net::SocketAddr;
use std::sync::Arc;

/// The order in which hosts and addresses are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HostOrder {
    #[default]
    AsGiven,
    /// libpq's `load_balance_hosts=random`.
    Random,
}

impl HostOrder {
    /// Returns the order for a value of libpq's `load_balance_hosts`.
    pub(crate) fn named(word: Option<&str>) -> HostOrder {
        if word == Some("random") { HostOrder::Random } else { HostOrder::AsGiven }
    }

    pub(super) fn apply<T>(self, candidates: &mut [T]) {
        if self == HostOrder::Random {
            fastrand::shuffle(candidates);
        }
    }
}

/// The servers of one driver, in the order of its configuration.
pub(crate) struct Servers {
    endpoints: Vec<Endpoint>,
    pub(super) order: HostOrder,
    pub(super) resolver: Resolver,
    pub(super) credentials: CredentialSource,
    pub(super) memory: Arc<Memory>,
}

impl Servers {
    pub(crate) fn new(endpoints: Vec<Endpoint>, order: HostOrder) -> Servers {
        Servers {
            endpoints,
            order,
            resolver: Resolver::system(),
            credentials: CredentialSource::default(),
            memory: Arc::default(),
        }
    }

    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Returns `true` if one of them is reached by a unix socket.
    pub(crate) fn has_unix_socket(&self) -> bool {
        self.endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Unix { .. }))
    }

    pub(crate) fn resolve_with(&mut self, resolver: Resolver) {
        self.resolver = resolver;
    }

    pub(crate) fn log_in_with(&mut self, credentials: CredentialSource) {
        self.credentials = credentials;
    }

    /// Forgets how the servers were reached: the TLS settings have changed.
    pub(crate) fn forget(&mut self) {
        self.memory = Arc::default();
    }

    /// Returns this server alone, at this address, for a second connection to it.
    pub(crate) fn only(&self, endpoint: &Endpoint, address: Option<SocketAddr>) -> Servers {
        let resolver = match address {
            Some(address) => Resolver::with(move |_, _| Ok(vec![address])),
            None => self.resolver.clone(),
        };
        Servers {
            endpoints: vec![endpoint.clone()],
            order: HostOrder::AsGiven,
            resolver,
            credentials: self.credentials.clone(),
            memory: Arc::clone(&self.memory),
        }
    }

    /// Returns the servers' names for logs and errors: the first, and how many more.
    pub(crate) fn label(&self) -> String {
        let first = self.endpoints.first().map_or_else(|| "nowhere".to_owned(), Endpoint::label);
        match self.endpoints.len() {
            0 | 1 => first,
            count => format!("{first} and {} more", count - 1),
        }
    }
}
