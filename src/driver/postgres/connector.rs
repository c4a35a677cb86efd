//! The connector that the driver calls with the raw socket, before the first byte is
//! sent.

use super::negotiation;
use super::negotiation::TlsRequest;
use crate::driver::attempt::Attempt;
use crate::driver::postgres::protocol::shared_state::SharedState;
use crate::driver::postgres::transport::Transport;
use crate::driver::workarounds::debug_descriptor::descriptor_of;
use crate::error::{BoxError, Phase};
use crate::sys::sockets::Descriptor;
use parking_lot::Mutex;
use postgres::Socket;
use postgres::tls::{MakeTlsConnect, TlsConnect};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The connector of one dial or one cancel request.
#[derive(Clone)]
pub(super) struct Connector {
    attempt: Attempt,
    tls: TlsRequest,
    /// The host name that the server's certificate must be valid for.
    host: String,
    encrypted: Arc<AtomicBool>,
    /// Our own descriptor of the socket that was connected last.
    descriptor: Arc<Mutex<Option<Descriptor>>>,
    protocol: Arc<SharedState>,
}

impl Connector {
    pub(super) fn new(attempt: &Attempt, tls: TlsRequest) -> Connector {
        Connector {
            attempt: attempt.clone(),
            tls,
            host: String::new(),
            encrypted: Arc::default(),
            descriptor: Arc::default(),
            protocol: Arc::new(SharedState::new()),
        }
    }

    /// Returns `true` if the connection uses TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted.load(Relaxed)
    }

    /// Returns our own descriptor of the socket that was connected.
    pub(super) fn socket(&self) -> Option<Descriptor> {
        self.descriptor.lock().clone()
    }

    /// Returns what the transport of the connection records about it.
    pub(super) fn protocol(&self) -> Arc<SharedState> {
        Arc::clone(&self.protocol)
    }

    /// Registers the socket with the attempt's deadline before the first byte is sent, so
    /// that nothing that follows can take longer than the attempt.
    async fn take_over(self, socket: Socket) -> Result<Transport, BoxError> {
        self.attempt.enter(Phase::Handshaking);
        let descriptor = descriptor_of(&socket)?;
        self.descriptor.lock().clone_from(&descriptor);
        if let Some(descriptor) = descriptor {
            self.attempt.watch(descriptor)?;
            // On loopback the kernel may assign a client the very port that it connects to.
            self.attempt.abort_if_self_connected();
        }
        let stream = negotiation::negotiate(self.tls, self.host, socket).await?;
        self.encrypted.store(stream.is_encrypted(), Relaxed);
        Ok(Transport::new(stream, self.protocol))
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Transport;
    type TlsConnect = Connector;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connector, Infallible> {
        Ok(Connector { host: host.to_owned(), ..self.clone() })
    }
}

impl TlsConnect<Socket> for Connector {
    type Stream = Transport;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Transport, BoxError>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(self.take_over(socket))
    }
}
