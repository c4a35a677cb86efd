//! The stream between the driver and the server: ours, so that what passes is
//! known. It passes everything on as it is, and keeps the ledger.

use super::frames::Frames;
use super::ledger::{Ledger, WANTED};
use super::stream::Stream;
use postgres::tls::{ChannelBinding, TlsStream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The byte stream of one connection.
pub(super) struct Wire {
    stream: Stream,
    from_server: Frames,
    from_client: Frames,
    ledger: Arc<Ledger>,
}

impl Wire {
    pub(super) fn new(stream: Stream, ledger: Arc<Ledger>) -> Wire {
        let (from_server, from_client) = (Frames::of_server(WANTED), Frames::of_client());
        Wire { stream, from_server, from_client, ledger }
    }

    fn note_received(&mut self, bytes: &[u8]) {
        let ledger = &self.ledger;
        self.from_server.read(bytes, |kind, body| ledger.received(kind, body));
        self.note_place();
    }

    fn note_sent(&mut self, bytes: &[u8]) {
        let ledger = &self.ledger;
        self.from_client.read(bytes, |kind, _| ledger.sent(kind));
        self.note_place();
    }

    fn note_place(&self) {
        let between = self.from_server.is_between() && self.from_client.is_between();
        self.ledger.stands_inside(!between);
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.note_received(&buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(taken)) = polled {
            self.note_sent(&bytes[..taken]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
