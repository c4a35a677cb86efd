//! Host names to addresses, within a deadline.
//!
//! A resolver cannot be interrupted, so it runs on a helper thread that may be
//! left behind. Look-ups of one name are shared: however many attempts a hanging
//! resolver outlives, it holds one thread for each name.

use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

/// Turns a host name and a port into addresses, in the order to try them.
pub(crate) type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A resolver of host names; clones share the look-ups under way.
#[derive(Clone)]
pub(crate) struct Resolver {
    lookup: Arc<Lookup>,
    under_way: Arc<Mutex<HashMap<Name, Arc<Inquiry>>>>,
}

/// A host name with a port.
type Name = (String, u16);

/// One look-up under way: its answer, and those who wait for it.
#[derive(Default)]
struct Inquiry {
    answer: Mutex<Option<Answer>>,
    answered: Condvar,
}

/// An `io::Error` cannot be cloned; its kind, number and text can.
type Answer = Result<Vec<SocketAddr>, (io::ErrorKind, Option<i32>, String)>;

impl Resolver {
    /// The system's resolver.
    pub(crate) fn system() -> Resolver {
        Resolver::with(|host: &str, port: u16| {
            (host, port).to_socket_addrs().map(|addresses| addresses.collect())
        })
    }

    pub(crate) fn with<F>(lookup: F) -> Resolver
    where
        F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        Resolver { lookup: Arc::new(lookup), under_way: Arc::default() }
    }

    /// Resolves a name. Blocks until the deadline at most; an address written as
    /// a name needs no look-up.
    ///
    /// # Errors
    ///
    /// The resolver's error; `TimedOut` at the deadline; `NotFound` for no address.
    pub(crate) fn resolve(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> io::Result<Vec<SocketAddr>> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let inquiry = self.inquire(host, port)?;
        let mut answer = inquiry.answer.lock();
        while answer.is_none() {
            if inquiry.answered.wait_until(&mut answer, deadline).timed_out() && answer.is_none() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the resolver has not answered",
                ));
            }
        }
        match answer.as_ref().expect("the loop ends with an answer") {
            Ok(addresses) if addresses.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
            }
            Ok(addresses) => Ok(addresses.clone()),
            Err((_, Some(number), _)) => Err(io::Error::from_raw_os_error(*number)),
            Err((kind, None, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }

    /// Joins the look-up of this name that is under way, or starts one.
    fn inquire(&self, host: &str, port: u16) -> io::Result<Arc<Inquiry>> {
        let key = (host.to_owned(), port);
        let mut under_way = self.under_way.lock();
        if let Some(inquiry) = under_way.get(&key) {
            return Ok(Arc::clone(inquiry));
        }
        let inquiry = Arc::new(Inquiry::default());
        under_way.insert(key.clone(), Arc::clone(&inquiry));
        drop(under_way);
        let (resolver, result) = (self.clone(), Arc::clone(&inquiry));
        let forgotten = key.clone();
        let thread = std::thread::Builder::new().name("poolwarden-resolve".into());
        let started = thread.spawn(move || resolver.answer(&key, &result));
        if let Err(error) = started {
            self.under_way.lock().remove(&forgotten);
            return Err(error);
        }
        Ok(inquiry)
    }

    fn answer(&self, key: &Name, inquiry: &Inquiry) {
        let answer = crate::fence::fence(|| (self.lookup)(&key.0, key.1));
        let answer = match answer {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err((error.kind(), error.raw_os_error(), error.to_string())),
            Err(panicked) => Err((io::ErrorKind::Other, None, panicked.to_string())),
        };
        self.under_way.lock().remove(key);
        *inquiry.answer.lock() = Some(answer);
        inquiry.answered.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn an_address_needs_no_look_up() {
        let resolver = Resolver::with(|_, _| panic!("not asked"));
        let found = resolver.resolve("::1", 5432, soon()).expect("an address");
        assert_eq!(found, ["[::1]:5432".parse().expect("an address")]);
    }

    #[test]
    fn a_hanging_resolver_is_left_behind_at_the_deadline_and_asked_once() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let resolver = Resolver::with(move |_, _| {
            count.fetch_add(1, SeqCst);
            std::thread::sleep(Duration::from_millis(300));
            Ok(Vec::new())
        });
        let start = Instant::now();
        for _ in 0..3 {
            let deadline = Instant::now() + Duration::from_millis(20);
            let error = resolver.resolve("slow.test", 1, deadline).expect_err("it hangs");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        assert!(start.elapsed() < Duration::from_millis(290));
        assert_eq!(asked.load(SeqCst), 1);
    }

    #[test]
    fn errors_empty_answers_and_panics_are_errors() {
        let failing = Resolver::with(|host: &str, _| match host {
            "none.test" => Ok(Vec::new()),
            "panic.test" => panic!("resolver"),
            _ => Err(io::Error::other("no such name")),
        });
        let error = |host| failing.resolve(host, 1, soon()).expect_err("an error").to_string();
        assert_eq!(error("none.test"), "the name has no address");
        assert_eq!(error("panic.test"), "panicked: resolver");
        assert_eq!(error("other.test"), "no such name");
    }
}
