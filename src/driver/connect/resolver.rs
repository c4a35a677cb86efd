//! Resolves host names within a deadline.
//!
//! A resolver cannot be interrupted, so it runs on a helper thread that is left behind
//! at the deadline. Lookups of one name are shared: however many attempts wait for a
//! hanging resolver, it occupies one thread for each name.

use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

/// Turns a host name and a port into addresses, in the order to try them.
pub(crate) type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A resolver of host names; clones share the pending lookups.
#[derive(Clone)]
pub(crate) struct Resolver {
    lookup: Arc<Lookup>,
    pending: Arc<Mutex<HashMap<Name, Arc<PendingLookup>>>>,
}

/// A host name with a port.
type Name = (String, u16);

/// One pending lookup: its answer, and the threads waiting for it.
#[derive(Default)]
struct PendingLookup {
    answer: Mutex<Option<Answer>>,
    answered: Condvar,
}

/// An `io::Error` cannot be cloned; its kind, number and text can.
type Answer = Result<Vec<SocketAddr>, (io::ErrorKind, Option<i32>, String)>;

impl Resolver {
    /// Returns the operating system's resolver.
    pub(crate) fn system() -> Resolver {
        Resolver::with(|host: &str, port: u16| {
            (host, port).to_socket_addrs().map(|addresses| addresses.collect())
        })
    }

    pub(crate) fn with<F>(lookup: F) -> Resolver
    where
        F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        Resolver { lookup: Arc::new(lookup), pending: Arc::default() }
    }

    /// Resolves a name. Blocks until the deadline at most; an address needs no lookup.
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
        let lookup = self.join_or_start(host, port)?;
        let mut answer = lookup.answer.lock();
        while answer.is_none() {
            if lookup.answered.wait_until(&mut answer, deadline).timed_out() && answer.is_none() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the resolver did not answer in time",
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

    /// Joins the pending lookup of this name, or starts one.
    fn join_or_start(&self, host: &str, port: u16) -> io::Result<Arc<PendingLookup>> {
        let key = (host.to_owned(), port);
        let mut pending = self.pending.lock();
        if let Some(lookup) = pending.get(&key) {
            return Ok(Arc::clone(lookup));
        }
        let lookup = Arc::new(PendingLookup::default());
        pending.insert(key.clone(), Arc::clone(&lookup));
        drop(pending);
        let (resolver, result) = (self.clone(), Arc::clone(&lookup));
        let name = key.clone();
        let thread = std::thread::Builder::new().name("poolwarden-resolve".into());
        let started = thread.spawn(move || resolver.answer(&key, &result));
        if let Err(error) = started {
            self.pending.lock().remove(&name);
            return Err(error);
        }
        Ok(lookup)
    }

    fn answer(&self, key: &Name, lookup: &PendingLookup) {
        let answer = crate::sys::catch_panic::catch_panic(|| (self.lookup)(&key.0, key.1));
        let answer = match answer {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err((error.kind(), error.raw_os_error(), error.to_string())),
            Err(panicked) => Err((io::ErrorKind::Other, None, panicked.to_string())),
        };
        self.pending.lock().remove(key);
        *lookup.answer.lock() = Some(answer);
        lookup.answered.notify_all();
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
    fn an_address_needs_no_lookup() {
        let resolver = Resolver::with(|_, _| panic!("not called"));
        let found = resolver.resolve("::1", 5432, soon()).expect("an address");
        assert_eq!(found, ["[::1]:5432".parse().expect("an address")]);
    }

    #[test]
    fn a_hanging_resolver_is_left_behind_at_the_deadline_and_called_once() {
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
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
        assert_eq!(calls.load(SeqCst), 1);
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
