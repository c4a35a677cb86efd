//! The byte stream between the driver and the server: the socket, or TLS over it. The
//! protocol layer sees everything that passes.

use super::protocol::protocol::Protocol;
use super::protocol::shared_state::SharedState;
use crate::sys::process;
use postgres::Socket;
use postgres::tls::{ChannelBinding, TlsStream};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// TLS over the driver's socket; the buffer saves a system call for each record.
#[cfg(feature = "native-tls")]
pub(super) type Encrypted = tokio_native_tls::TlsStream<tokio::io::BufReader<Socket>>;

/// How much is read at once while replies are rewritten.
const PIECE: usize = 8 * 1024;

/// The connected stream below the protocol.
pub(super) enum Stream {
    Plain(Socket),
    #[cfg(feature = "native-tls")]
    Tls(Box<Encrypted>),
}

/// What both streams can do.
trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ReadWrite for T {}

impl Stream {
    pub(super) fn is_encrypted(&self) -> bool {
        !matches!(self, Stream::Plain(_))
    }

    fn as_pin(&mut self) -> Pin<&mut dyn ReadWrite> {
        match self {
            Stream::Plain(socket) => Pin::new(socket),
            #[cfg(feature = "native-tls")]
            Stream::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

/// The byte stream of one connection, as the driver sees it.
pub(super) struct Transport {
    stream: Stream,
    protocol: Protocol,
    /// Rewritten requests that the server has not taken yet.
    to_server: Pending,
    /// Rewritten replies that the driver has not taken yet.
    to_driver: Pending,
    /// The process that opened the connection.
    generation: usize,
}

impl Transport {
    pub(super) fn new(stream: Stream, shared: Arc<SharedState>) -> Transport {
        let protocol = Protocol::new(shared);
        Transport {
            stream,
            protocol,
            to_server: Pending::default(),
            to_driver: Pending::default(),
            generation: process::generation(),
        }
    }

    /// Fails in a forked child: what it read or sent would be missing from, or mixed into,
    /// the parent's session.
    fn check_process(&self) -> io::Result<()> {
        if self.generation == process::generation() {
            return Ok(());
        }
        Err(io::Error::other("this process was forked after the connection was opened"))
    }

    fn read_as_it_is(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.stream.as_pin().poll_read(context, buffer);
        let received = &buffer.filled()[before..];
        if !received.is_empty() {
            self.protocol.received(received);
            self.protocol.check_bytes(received.len())?;
        }
        polled
    }

    fn read_rewritten(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.to_driver.is_empty() {
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(self.stream.as_pin().poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.protocol.rewrite_reply(piece.filled(), &mut self.to_driver.bytes)?;
            self.protocol.check_bytes(piece.filled().len())?;
        }
        let waiting = self.to_driver.rest();
        let taken = waiting.len().min(buffer.remaining());
        buffer.put_slice(&waiting[..taken]);
        self.to_driver.took(taken);
        Poll::Ready(Ok(()))
    }

    /// Sends the rewritten requests that are still here.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.to_server.is_empty() {
            let rest = self.to_server.rest();
            match ready!(self.stream.as_pin().poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.to_server.took(taken),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for Transport {
    /// Returns what the authentication can be bound to.
    fn channel_binding(&self) -> ChannelBinding {
        match &self.stream {
            Stream::Plain(_) => ChannelBinding::none(),
            #[cfg(feature = "native-tls")]
            Stream::Tls(stream) => match stream.get_ref().tls_server_end_point() {
                Ok(Some(hash)) => ChannelBinding::tls_server_end_point(hash),
                Ok(None) | Err(_) => ChannelBinding::none(),
            },
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let transport = self.get_mut();
        transport.check_process()?;
        let before = buffer.filled().len();
        let polled = match transport.protocol.is_rewriting() {
            true => transport.read_rewritten(context, buffer),
            false => transport.read_as_it_is(context, buffer),
        };
        transport.protocol.shared().driver_took(buffer.filled().len() > before);
        polled
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let transport = self.get_mut();
        transport.check_process()?;
        if transport.protocol.must_wait(bytes) {
            // The driver has polled for replies before: the next one wakes it.
            return Poll::Pending;
        }
        transport.protocol.admit(bytes)?;
        if !transport.protocol.is_rewriting() {
            let polled = transport.stream.as_pin().poll_write(context, bytes);
            if let Poll::Ready(Ok(taken)) = polled {
                transport.protocol.sent(&bytes[..taken]);
            }
            return polled;
        }
        ready!(transport.drain(context))?;
        transport.protocol.rewrite_request(bytes, &mut transport.to_server.bytes);
        // What is not sent now is sent at the next write or flush.
        match transport.drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let transport = self.get_mut();
        transport.check_process()?;
        // The driver does nothing but flush while it waits for the reader of its rows.
        if transport.protocol.shared().is_given_up() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        ready!(transport.drain(context))?;
        transport.stream.as_pin().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let transport = self.get_mut();
        transport.check_process()?;
        ready!(transport.drain(context))?;
        transport.stream.as_pin().poll_shutdown(context)
    }
}

/// Bytes that are still to be passed on.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// How many of them were passed on.
    gone: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    fn took(&mut self, count: usize) {
        self.gone += count;
        if self.is_empty() {
            self.gone = 0;
            self.bytes.clear();
            // One large row or parameter does not hold its memory for ever.
            self.bytes.shrink_to(4 * PIECE);
        }
    }
}
