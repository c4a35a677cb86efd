//! Scripted peers: listeners that send exactly the bytes that a test needs.

pub mod mysql;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use socket2::SockRef;

use crate::port;

/// A listener on a free odd loopback port that runs a script for each connection.
///
/// Dropping it closes the listener. Scripts that still run end by themselves,
/// at the latest when their peer closes and they read or write.
pub struct Script {
    addr: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    ends: AtomicBool,
}

/// Starts a listener that runs `script` for each connection, on a thread of its own.
///
/// The stream is the only handle of its socket in this process: when the script drops it, the
/// peer gets a FIN. That may take a moment while another thread starts a process, which has a
/// copy until its exec; a `shutdown` takes effect immediately.
pub fn serve(script: impl Fn(TcpStream) + Send + Sync + 'static) -> Script {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port::unused()));
    let listener = Arc::new(TcpListener::bind(addr).expect("the port was free just now"));
    let shared = Arc::<Shared>::default();
    let theirs = (Arc::clone(&listener), Arc::clone(&shared));
    let accept = move || accept(&theirs.0, &theirs.1, &Arc::new(script));
    let accepting = spawn("script-door", accept);
    Script { addr, listener, shared, accepting: Some(accepting) }
}

fn accept<F>(listener: &TcpListener, shared: &Shared, script: &Arc<F>)
where
    F: Fn(TcpStream) + Send + Sync + 'static,
{
    loop {
        let incoming = listener.accept();
        if shared.ends.load(Ordering::SeqCst) {
            return;
        }
        match incoming {
            Ok((stream, _)) => {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(script);
                // Not joined: it may wait for its peer.
                drop(spawn("script", move || script(stream)));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => panic!("cannot accept: {error}"),
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let named = thread::Builder::new().name(name.to_owned());
    named.spawn(body).expect("a thread can be started")
}

impl Script {
    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Returns how many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        // Refuses immediately, and ends the wait in accept; a close would do neither.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_script_serves_each_connection_until_it_is_dropped() {
        let script = serve(|mut stream| stream.write_all(b"hello").expect("the peer reads"));
        for _ in 0..2 {
            let mut heard = String::new();
            let mut stream = TcpStream::connect(script.addr()).expect("it listens");
            stream.read_to_string(&mut heard).expect("it writes and closes");
            assert_eq!(heard, "hello");
        }
        assert_eq!(script.accepted(), 2);
        let addr = script.addr();
        drop(script);
        let refused = TcpStream::connect(addr).expect_err("it is gone");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
