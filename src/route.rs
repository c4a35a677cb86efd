//! The way to a server: its hosts in turn, the addresses of each in turn, all
//! within the one deadline of the attempt.

use crate::driver::Attempt;
use crate::error::{ConnectError, ConnectFault, Phase};
use crate::resolve::Resolver;
use crate::settings::Place;
use std::io;
use std::net::SocketAddr;

/// In which order hosts and addresses are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    #[default]
    AsGiven,
    /// libpq's `load_balance_hosts=random`.
    Random,
}

impl Order {
    /// What libpq's `load_balance_hosts` calls it.
    pub(crate) fn named(word: Option<&str>) -> Order {
        if word == Some("random") { Order::Random } else { Order::AsGiven }
    }

    pub(crate) fn of<T>(self, mut places: Vec<T>) -> Vec<T> {
        if self == Order::Random {
            fastrand::shuffle(&mut places);
        }
        places
    }
}

/// Names the servers for people: the first, and how many more.
pub(crate) fn label(places: &[Place]) -> String {
    let first = places.first().map_or_else(|| "nowhere".to_owned(), Place::label);
    match places.len() {
        0 | 1 => first,
        count => format!("{first} and {} more", count - 1),
    }
}

/// Tries each in turn until one succeeds or the time is over; a refusal by the
/// server itself ends it, as libpq does.
pub(crate) fn first_success<T, R>(
    places: impl IntoIterator<Item = T>,
    attempt: &Attempt,
    label: &str,
    mut dial: impl FnMut(T) -> Result<R, ConnectError>,
) -> Result<R, ConnectError> {
    let mut last = None;
    for place in places {
        match dial(place) {
            Ok(connected) => return Ok(connected),
            Err(error) if is_final(error.fault()) || attempt.is_expired() => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| ConnectError::new(ConnectFault::UnknownHost, label)))
}

/// Resolves a host's name to addresses, one at least, in the order to try them.
pub(crate) fn addresses(
    (resolver, order): (&Resolver, Order),
    (host, port): (&str, u16),
    attempt: &Attempt,
) -> Result<Vec<SocketAddr>, ConnectError> {
    attempt.enter(Phase::Resolving);
    let addresses = resolver.resolve(host, port, attempt.deadline()).map_err(|error| {
        let timed_out = error.kind() == io::ErrorKind::TimedOut;
        let fault = if timed_out { ConnectFault::TimedOut } else { ConnectFault::UnknownHost };
        ConnectError::new(fault, format!("{host}:{port}")).with_source(error)
    })?;
    Ok(order.of(addresses))
}

/// PostgreSQL documentation, "Specifying Multiple Hosts": after a failed
/// authentication the remaining hosts are not tried. Another address of a server
/// that refuses would say the same.
fn is_final(fault: ConnectFault) -> bool {
    matches!(
        fault,
        ConnectFault::Authentication | ConnectFault::UnknownDatabase | ConnectFault::Config
    )
}
