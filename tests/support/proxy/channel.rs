//! A channel whose receiving end can be polled together with sockets.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

/// The sending end; dropping it ends the receiving thread.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    sender: Sender<T>,
    /// Gets one byte per message, and closes with the sender.
    wake: UnixStream,
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    // A receiver is not `Sync`; only one thread takes this lock.
    receiver: Mutex<Receiver<T>>,
    wake: UnixStream,
}

pub(super) fn pair<T>() -> (Outbox<T>, Inbox<T>) {
    let (sender, receiver) = channel();
    let (theirs, ours) = UnixStream::pair().expect("a socket pair can be made");
    ours.set_nonblocking(true).expect("a socket can be made non-blocking");
    (Outbox { sender, wake: theirs }, Inbox { receiver: Mutex::new(receiver), wake: ours })
}

impl<T> Outbox<T> {
    /// Sends a message; lost when the receiving thread has ended.
    pub(super) fn send(&self, message: T) {
        if self.sender.send(message).is_ok() {
            let _ = (&self.wake).write_all(&[1]);
        }
    }
}

impl<T> Inbox<T> {
    /// Returns the descriptor to poll for POLLIN.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Returns the messages that have arrived, or `None` once the sending end is gone.
    pub(super) fn take(&self) -> Option<Vec<T>> {
        // First the wake bytes, then the messages: a message in between writes another byte.
        let _ = (&self.wake).read(&mut [0; 64]);
        let receiver = self.receiver.lock().expect("no holder of this lock panics");
        let mut messages = Vec::new();
        loop {
            match receiver.try_recv() {
                Ok(message) => messages.push(message),
                Err(TryRecvError::Empty) => return Some(messages),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
    }
}
