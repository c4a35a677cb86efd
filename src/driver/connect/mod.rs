//! Connecting, the same for every server driver: the settings give candidates, one loop tries
//! them, and a driver opens one.

mod candidates;
pub(crate) mod credentials;
pub(crate) mod descriptors;
pub(crate) mod fleet;
mod memory;
mod open;
pub(crate) mod resolver;
mod servers;
pub(crate) mod transport_security;

pub(crate) use candidates::{Candidate, TlsChoice, Wanted};
pub(crate) use servers::{HostOrder, Servers};

#[cfg(test)]
mod tests;
