//! The stream between the driver and the server: ours, so that what passes can
//! be known. It passes everything on as it is, and reads along until the server
//! is ready.

use super::startup::{Outcome, Startup};
use postgres::Socket;
use postgres::tls::{ChannelBinding, TlsStream};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The byte stream of one connection.
pub(super) struct Wire {
    socket: Socket,
    /// Reads along; `None` once the server is ready.
    startup: Option<Startup>,
    process_id: ProcessId,
}

/// The process that the server named at start-up, once it has; it may have none.
pub(super) type ProcessId = Arc<OnceLock<i32>>;

impl Wire {
    pub(super) fn plain(socket: Socket, process_id: ProcessId) -> Wire {
        Wire { socket, startup: Some(Startup::default()), process_id }
    }

    #[cold]
    fn read_along(&mut self, bytes: &[u8]) {
        let outcome = self.startup.as_mut().map(|startup| startup.read(bytes));
        if let Some(Outcome::Ready(Some(process_id))) = outcome {
            // Set by nobody else: one wire, one start-up.
            let _ = self.process_id.set(process_id);
        }
        if outcome != Some(Outcome::Unfinished) {
            self.startup = None;
        }
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        if self.startup.is_some() {
            self.read_along(&buffer.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
