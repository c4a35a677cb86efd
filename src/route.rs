//! The way to a server: its hosts in turn, the addresses of each in turn, all
//! within the one deadline of the attempt.

use crate::clock;
use crate::driver::Attempt;
use crate::error::{ConnectError, ConnectFault, Phase};
use crate::resolve::Resolver;
use crate::settings::Place;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

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

/// The servers of one driver, in the order of its configuration, and which of them
/// did not answer of late.
#[derive(Debug)]
pub(crate) struct Itinerary {
    places: Vec<Place>,
    order: Order,
    silent: Mutex<HashMap<String, Instant>>,
}

/// For how long a server that did not answer is tried after the others. Without this
/// each connection would wait for it first.
const SILENT_FOR: Duration = Duration::from_secs(30);

impl Itinerary {
    pub(crate) fn new(places: Vec<Place>, order: Order) -> Itinerary {
        Itinerary { places, order, silent: Mutex::default() }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Names the servers for people: the first, and how many more.
    pub(crate) fn label(&self) -> String {
        let first = self.places.first().map_or_else(|| "nowhere".to_owned(), Place::label);
        match self.places.len() {
            0 | 1 => first,
            count => format!("{first} and {} more", count - 1),
        }
    }

    /// Tries each server until one can be used.
    pub(crate) fn travel<R>(
        &self,
        attempt: &Attempt,
        mut dial: impl FnMut(&Place) -> Result<R, ConnectError>,
    ) -> Result<R, ConnectError> {
        let places = self.sorted(Instant::now());
        first_success(places, attempt, &self.label(), |place| {
            let outcome = dial(place);
            self.note(place, attempt, outcome.as_ref().err());
            outcome
        })
    }

    fn sorted(&self, now: Instant) -> Vec<&Place> {
        let mut places = self.order.of(self.places.iter().collect());
        let mut silent = self.silent.lock();
        silent.retain(|_, since| now.saturating_duration_since(*since) < SILENT_FOR);
        places.sort_by_key(|place| silent.contains_key(&place.label()));
        places
    }

    fn note(&self, place: &Place, attempt: &Attempt, error: Option<&ConnectError>) {
        if self.places.len() < 2 {
            return;
        }
        let timed_out = |error: &ConnectError| error.fault() == ConnectFault::TimedOut;
        if error.is_some_and(|error| timed_out(error) || attempt.remaining().is_zero()) {
            self.silent.lock().insert(place.label(), Instant::now());
        } else if error.is_none() {
            self.silent.lock().remove(&place.label());
        }
    }
}

/// Tries each in turn until one succeeds or the time is over; a refusal by the
/// server itself ends it, as libpq does. Each has an equal share of what is left, so
/// that one that does not answer leaves time for the others.
pub(crate) fn first_success<T, R>(
    places: Vec<T>,
    attempt: &Attempt,
    label: &str,
    mut dial: impl FnMut(T) -> Result<R, ConnectError>,
) -> Result<R, ConnectError> {
    let (whole, count) = (attempt.deadline(), places.len());
    let mut failed: Vec<ConnectError> = Vec::new();
    for (place, left) in places.into_iter().zip((1..=count).rev()) {
        if count > 1 {
            let now = Instant::now();
            let share = clock::left(whole, now) / u32::try_from(left).unwrap_or(u32::MAX);
            attempt.begin_leg(now + share);
        }
        let outcome = dial(place);
        let cut = count > 1 && attempt.end_leg();
        match outcome {
            Ok(connected) => return Ok(connected),
            Err(error) if is_final(error.fault()) || attempt.is_expired() => {
                return Err(error.after(failed));
            }
            Err(error) => failed.push(if cut { error.into_timed_out() } else { error }),
        }
    }
    let last = failed.pop().unwrap_or_else(|| ConnectError::new(ConnectFault::UnknownHost, label));
    Err(last.after(failed))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Terms;

    fn attempt(timeout: Duration) -> Attempt {
        Attempt::new(Instant::now(), Terms { timeout, ..Terms::default() })
    }

    fn failed(place: &Place, fault: ConnectFault) -> Result<(), ConnectError> {
        Err(ConnectError::new(fault, place.label()))
    }

    fn three() -> Itinerary {
        let place = |host: &str| Place::Tcp { host: host.into(), address: None, port: 1 };
        Itinerary::new(["a", "b", "c"].map(place).into(), Order::AsGiven)
    }

    #[test]
    fn each_place_has_an_equal_share_of_the_time_that_is_left() {
        let attempt = attempt(Duration::from_secs(90));
        let mut shares = Vec::new();
        let outcome = three().travel(&attempt, |place| {
            shares.push(attempt.remaining().as_secs_f64().round());
            failed(place, ConnectFault::Refused)
        });
        assert_eq!(shares, [30.0, 45.0, 90.0]);
        assert!(attempt.remaining() > Duration::from_secs(80), "the rest has all the time");
        let text = outcome.expect_err("all refuse").to_string();
        let wanted = "cannot open a connection to c:1: connection refused (before it: \
                      a:1: connection refused, b:1: connection refused)";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_place_that_did_not_answer_of_late_is_tried_after_the_others() {
        let itinerary = three();
        let travel = |silent: &str| {
            let mut tried = String::new();
            let outcome = itinerary.travel(&attempt(Duration::from_secs(9)), |place| {
                let label = place.label();
                tried += &label[..1];
                if silent.contains(&label[..1]) {
                    return failed(place, ConnectFault::TimedOut);
                }
                Ok(())
            });
            (tried, outcome.is_ok())
        };
        assert_eq!(travel("a"), ("ab".into(), true));
        assert_eq!(travel("a"), ("b".into(), true));
        assert_eq!(travel("bc"), ("bca".into(), true));
        assert_eq!(travel(""), ("a".into(), true), "all but a are silent");
        let later = Instant::now() + SILENT_FOR;
        assert_eq!(itinerary.sorted(later)[2].label(), "c:1", "it is forgotten in time");
    }

    #[test]
    fn a_refusal_by_the_server_itself_ends_the_journey() {
        let mut tried = 0;
        let outcome = three().travel(&attempt(Duration::from_secs(9)), |place| {
            tried += 1;
            failed(place, ConnectFault::Authentication)
        });
        assert!(outcome.is_err());
        assert_eq!(tried, 1);
    }

    #[test]
    fn a_place_within_a_place_has_a_share_of_its_share() {
        let attempt = attempt(Duration::from_secs(60));
        let mut shares = Vec::new();
        let outcome = first_success(vec![1, 2], &attempt, "two", |_| {
            first_success(vec![1, 2], &attempt, "two", |_| {
                shares.push(attempt.remaining().as_secs_f64().round());
                Err::<(), _>(ConnectError::new(ConnectFault::Refused, "x"))
            })
        });
        assert!(outcome.is_err());
        assert_eq!(shares, [15.0, 30.0, 30.0, 60.0]);
    }
}
