//! A channel whose receiving end can be polled together with sockets.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

/// The sending end; dropping it ends the receiving thread.
#[derive(Debug)]
pub(super) struct Post<T> {
    sender: Sender<T>,
    /// Rings once for each message, and by its close.
    bell: UnixStream,
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    // A receiver is not `Sync`; nobody ever waits for this lock.
    receiver: Mutex<Receiver<T>>,
    bell: UnixStream,
}

pub(super) fn pair<T>() -> (Post<T>, Inbox<T>) {
    let (sender, receiver) = channel();
    let (theirs, ours) = UnixStream::pair().expect("a socket pair can be made");
    ours.set_nonblocking(true).expect("a socket can be made non-blocking");
    (Post { sender, bell: theirs }, Inbox { receiver: Mutex::new(receiver), bell: ours })
}

impl<T> Post<T> {
    /// Sends a message; lost when the receiving thread has ended.
    pub(super) fn send(&self, message: T) {
        if self.sender.send(message).is_ok() {
            let _ = (&self.bell).write_all(&[1]);
        }
    }
}

impl<T> Inbox<T> {
    /// Returns what a poll for POLLIN waits on.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Returns the messages that have arrived, or `None` once the sending end is gone.
    pub(super) fn take(&self) -> Option<Vec<T>> {
        // First the bell, then the messages: one that comes between rings again.
        let _ = (&self.bell).read(&mut [0; 64]);
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
