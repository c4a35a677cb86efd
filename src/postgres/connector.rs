//! The connector that the driver calls with the raw socket, before the first byte.

use super::edited::Edited;
use super::ledger::Ledger;
use super::negotiation::{self, Demand};
use super::wire::Wire;
use crate::driver::Attempt;
use crate::error::{BoxError, Phase};
use crate::liveness::{self, Descriptor};
use parking_lot::Mutex;
use postgres::Socket;
use postgres::tls::{MakeTlsConnect, TlsConnect};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The connector of one dial or one cancel request.
#[derive(Clone)]
pub(super) struct Connector {
    attempt: Attempt,
    demand: Demand,
    /// The name that the server's certificate must be for.
    host: String,
    encrypted: Arc<AtomicBool>,
    /// A descriptor of our own for the socket that was connected last.
    seen: Arc<Mutex<Option<Descriptor>>>,
    ledger: Arc<Ledger>,
}

impl Connector {
    pub(super) fn new(attempt: &Attempt, demand: Demand) -> Connector {
        Connector {
            attempt: attempt.clone(),
            demand,
            host: String::new(),
            encrypted: Arc::default(),
            seen: Arc::default(),
            ledger: Arc::new(Ledger::new()),
        }
    }

    /// Tells whether the stream that was made is TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted.load(Relaxed)
    }

    /// A descriptor of our own for the socket that was connected.
    pub(super) fn socket(&self) -> Option<Descriptor> {
        self.seen.lock().clone()
    }

    /// What the stream of the connection tells about it.
    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// The watchdog knows the socket before the first byte, so that nothing that
    /// follows can outlast the attempt.
    async fn take_over(self, socket: Socket) -> Result<Edited, BoxError> {
        self.attempt.enter(Phase::Handshaking);
        let descriptor = descriptor_of(&socket);
        self.seen.lock().clone_from(&descriptor);
        if let Some(descriptor) = descriptor {
            self.attempt.watch(descriptor)?;
            // On loopback a client may be given the very port that it connects to.
            self.attempt.abort_if_self_connected();
        }
        let stream = negotiation::meet(self.demand, self.host, socket).await?;
        self.encrypted.store(stream.is_encrypted(), Relaxed);
        let wire = Wire::new(stream, Arc::clone(&self.ledger));
        Ok(Edited::new(wire, self.ledger))
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Edited;
    type TlsConnect = Connector;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connector, Infallible> {
        Ok(Connector { host: host.to_owned(), ..self.clone() })
    }
}

impl TlsConnect<Socket> for Connector {
    type Stream = Edited;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Edited, BoxError>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(self.take_over(socket))
    }
}

/// Finds the descriptor of the driver's socket in its Debug text, and believes it
/// only if a duplicate of it lies between the same two addresses.
///
/// The driver offers no other way. Should the text ever change, there is no
/// descriptor, and such connections are pinged instead of peeked at.
fn descriptor_of(socket: &Socket) -> Option<Descriptor> {
    let text = format!("{socket:?}");
    let local: SocketAddr = field(&text, "addr: ")?.parse().ok()?;
    let peer: SocketAddr = field(&text, "peer: ")?.parse().ok()?;
    let raw: RawFd = field(&text, "fd: ")?.parse().ok()?;
    liveness::verified_duplicate(raw, local, peer)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = &text[text.find(name)? + name.len()..];
    Some(rest[..rest.find([',', ' ', '}'])?].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_sockets_debug_text_are_found() {
        let text = "Socket(Tcp(TcpStream { addr: 127.0.0.1:40000, peer: [::1]:5432, fd: 9 }))";
        assert_eq!(field(text, "addr: "), Some("127.0.0.1:40000"));
        assert_eq!(field(text, "peer: "), Some("[::1]:5432"));
        assert_eq!(field(text, "fd: "), Some("9"));
        assert_eq!(field(text, "inode: "), None);
    }
}
