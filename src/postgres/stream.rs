//! The bytes below the driver's messages: the socket itself, or TLS over it.

use postgres::Socket;
use postgres::tls::ChannelBinding;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// TLS over the driver's socket; the buffer saves a system call for each record.
#[cfg(feature = "native-tls")]
pub(super) type Encrypted = tokio_native_tls::TlsStream<tokio::io::BufReader<Socket>>;

/// A byte stream to the server.
pub(super) enum Stream {
    Plain(Socket),
    #[cfg(feature = "native-tls")]
    Tls(Box<Encrypted>),
}

impl Stream {
    pub(super) fn is_encrypted(&self) -> bool {
        !matches!(self, Stream::Plain(_))
    }

    /// What the authentication can be bound to.
    pub(super) fn channel_binding(&self) -> ChannelBinding {
        match self {
            Stream::Plain(_) => ChannelBinding::none(),
            #[cfg(feature = "native-tls")]
            Stream::Tls(stream) => match stream.get_ref().tls_server_end_point() {
                Ok(Some(hash)) => ChannelBinding::tls_server_end_point(hash),
                Ok(None) | Err(_) => ChannelBinding::none(),
            },
        }
    }
}

/// Calls the same method of whichever stream it is.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain(socket) => {
                let $inner = Pin::new(socket);
                $call
            }
            #[cfg(feature = "native-tls")]
            Stream::Tls(stream) => {
                let $inner = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, inner => inner.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_shutdown(context))
    }
}
