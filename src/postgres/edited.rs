//! The stream that the driver gets: the wire, or behind a pooler the wire with the
//! names taken off its statements.

use super::ledger::Ledger;
use super::unnamed::Unnamed;
use super::wire::Wire;
use postgres::tls::{ChannelBinding, TlsStream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once while editing.
const PIECE: usize = 8 * 1024;

/// The byte stream of one connection, as the driver sees it.
pub(super) struct Edited {
    wire: Wire,
    ledger: Arc<Ledger>,
    /// Set when the ledger first says that the server is behind a pooler.
    editing: Option<Box<Editing>>,
}

struct Editing {
    unnamed: Unnamed,
    /// What the driver has sent and the wire has not taken yet.
    to_server: Pending,
    /// What the server has sent and the driver has not taken yet.
    to_driver: Pending,
}

impl Edited {
    pub(super) fn new(wire: Wire, ledger: Arc<Ledger>) -> Edited {
        Edited { wire, ledger, editing: None }
    }

    /// The wire, and what is edited if anything is.
    fn split(&mut self) -> (Pin<&mut Wire>, Option<&mut Editing>) {
        if self.editing.is_none() && self.ledger.names_are_unsafe() {
            self.editing = Some(Box::new(Editing {
                unnamed: Unnamed::new(),
                to_server: Pending::default(),
                to_driver: Pending::default(),
            }));
        }
        (Pin::new(&mut self.wire), self.editing.as_deref_mut())
    }
}

impl Edited {
    fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (mut wire, editing) = self.split();
        let Some(editing) = editing else { return wire.poll_read(context, buffer) };
        while editing.to_driver.is_empty() {
            let mut piece = [std::mem::MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(wire.as_mut().poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            editing.unnamed.edit_answer(piece.filled(), &mut editing.to_driver.bytes)?;
        }
        let waiting = editing.to_driver.rest();
        let taken = waiting.len().min(buffer.remaining());
        buffer.put_slice(&waiting[..taken]);
        editing.to_driver.took(taken);
        Poll::Ready(Ok(()))
    }

    fn check(&self) -> io::Result<()> {
        if self.ledger.is_given_up() {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}

impl TlsStream for Edited {
    fn channel_binding(&self) -> ChannelBinding {
        self.wire.channel_binding()
    }
}

impl AsyncRead for Edited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.poll_bytes(context, buffer);
        self.ledger.driver_took(buffer.filled().len() > before);
        polled
    }
}

impl AsyncWrite for Edited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let (mut wire, editing) = self.split();
        let Some(editing) = editing else { return wire.poll_write(context, bytes) };
        ready!(editing.to_server.drain(wire.as_mut(), context))?;
        editing.unnamed.edit_request(bytes, &mut editing.to_server.bytes);
        // What does not go now goes at the next write or flush.
        if let Poll::Ready(Err(error)) = editing.to_server.drain(wire, context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The one thing that the driver does while it waits for the reader of its rows.
        self.check()?;
        let (mut wire, editing) = self.split();
        if let Some(editing) = editing {
            ready!(editing.to_server.drain(wire.as_mut(), context))?;
        }
        wire.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (mut wire, editing) = self.split();
        if let Some(editing) = editing {
            ready!(editing.to_server.drain(wire.as_mut(), context))?;
        }
        wire.poll_shutdown(context)
    }
}

/// Bytes on their way.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// How many of them have gone.
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

    fn drain(
        &mut self,
        mut wire: Pin<&mut Wire>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match ready!(wire.as_mut().poll_write(context, self.rest()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.took(taken),
            }
        }
        Poll::Ready(Ok(()))
    }
}
