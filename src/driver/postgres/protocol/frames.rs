//! Splits one direction of a connection into PostgreSQL's messages, in whatever pieces
//! the bytes arrive.
//!
//! PostgreSQL documentation, "Message Formats": a type byte, a length that counts
//! itself, a body. Only the first message of a client has no type byte.

/// The size of a message's type byte and length.
const HEAD: usize = 5;

/// How many bytes are kept of a body whose beginning is wanted: enough for an error's
/// severity, code and text.
pub(in crate::driver::postgres) const BEGINNING: usize = 512;

/// How much is kept of the body of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver::postgres) enum Keep {
    /// Nothing, or what happens to lie in one piece with the message's head.
    Nothing,
    /// At least the first [`BEGINNING`] bytes.
    Beginning,
    /// All of it. Its bytes are not passed on.
    Whole,
}

/// What the parser finds in the bytes of one direction.
#[derive(Debug)]
pub(in crate::driver::postgres) enum Part<'a> {
    /// Bytes of a message that is not kept whole, to be passed on as they are.
    Raw(&'a [u8]),
    /// A message is complete: its type, and what was kept of its body.
    Message(u8, &'a [u8]),
}

/// The parser of one direction of a connection.
#[derive(Clone, Debug)]
pub(in crate::driver::postgres) struct Frames {
    /// The type byte and the length of the unfinished message.
    head: [u8; HEAD],
    /// What was kept of its body.
    body: Vec<u8>,
    /// How many of its bytes have arrived, the head included.
    arrived: usize,
    /// How much to keep of a message of this type.
    keep: fn(u8) -> Keep,
    /// The unfinished message has no type byte: it is the first one of a client.
    is_untyped: bool,
    /// An impossible length arrived: what follows cannot be parsed.
    lost: bool,
}

impl Frames {
    /// Creates a parser of a server's messages.
    pub(in crate::driver::postgres) fn of_server(keep: fn(u8) -> Keep) -> Frames {
        let (head, body) = ([0; HEAD], Vec::new());
        Frames { head, body, arrived: 0, keep, is_untyped: false, lost: false }
    }

    /// Creates a parser of a client's messages, the first of which has no type byte.
    pub(in crate::driver::postgres) fn of_client(keep: fn(u8) -> Keep) -> Frames {
        Frames { arrived: 1, is_untyped: true, ..Frames::of_server(keep) }
    }

    /// Sets how much is kept of the messages that follow.
    pub(in crate::driver::postgres) fn set_keep(&mut self, keep: fn(u8) -> Keep) {
        self.keep = keep;
    }

    /// Returns `true` if the last byte read was the end of a message.
    pub(in crate::driver::postgres) fn is_between(&self) -> bool {
        self.arrived == 0 && !self.lost
    }

    /// Returns `true` if an impossible length was read.
    pub(in crate::driver::postgres) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Returns the type of the unfinished message and what was kept of its body.
    pub(in crate::driver::postgres) fn unfinished(&self) -> Option<(u8, &[u8])> {
        (self.arrived > 0).then_some((self.head[0], &self.body))
    }

    /// Returns how many bytes of the unfinished message are still to come, as far as its
    /// length has arrived.
    pub(in crate::driver::postgres) fn missing(&self) -> usize {
        let is_known = self.arrived >= HEAD && !self.lost;
        if is_known { message_length(&self.head) - self.arrived } else { 0 }
    }

    /// Reads the next bytes, which may end anywhere, and calls `each` for every part.
    pub(in crate::driver::postgres) fn read(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Part<'_>),
    ) {
        while !bytes.is_empty() && !self.lost {
            if let Some(length) = self.whole_message(bytes) {
                let (message, rest) = bytes.split_at(length);
                let keep = (self.keep)(message[0]);
                if keep != Keep::Whole {
                    each(Part::Raw(message));
                }
                each(Part::Message(message[0], limited(&message[HEAD..], keep)));
                bytes = rest;
            } else {
                let taken = self.read_piece(bytes, &mut each);
                bytes = &bytes[taken..];
            }
        }
    }

    /// Returns the size of the message at the beginning of these bytes, if all of it is
    /// there.
    fn whole_message(&self, bytes: &[u8]) -> Option<usize> {
        let head = bytes.first_chunk::<HEAD>().filter(|_| self.arrived == 0)?;
        let length = message_length(head);
        (HEAD..=bytes.len()).contains(&length).then_some(length)
    }

    /// Reads bytes of a message that arrives in pieces: at most to the end of its head,
    /// or of its body. Returns how many.
    fn read_piece(&mut self, bytes: &[u8], each: &mut impl FnMut(Part<'_>)) -> usize {
        let taken = if self.arrived < HEAD {
            let taken = bytes.len().min(HEAD - self.arrived);
            self.head[self.arrived..self.arrived + taken].copy_from_slice(&bytes[..taken]);
            self.arrived += taken;
            self.lost = self.arrived == HEAD && message_length(&self.head) < HEAD;
            if self.arrived == HEAD && !self.lost && (self.keep)(self.head[0]) != Keep::Whole {
                let from = usize::from(self.is_untyped);
                each(Part::Raw(&self.head[from..]));
            }
            taken
        } else {
            let taken = bytes.len().min(message_length(&self.head) - self.arrived);
            self.keep_piece(&bytes[..taken], each);
            self.arrived += taken;
            taken
        };
        if self.arrived >= HEAD && !self.lost && self.arrived == message_length(&self.head) {
            each(Part::Message(self.head[0], &self.body));
            (self.head[0], self.is_untyped) = (0, false);
            self.body.clear();
            // One large message does not hold its memory for ever.
            self.body.shrink_to(64 * BEGINNING);
            self.arrived = 0;
        }
        taken
    }

    fn keep_piece(&mut self, bytes: &[u8], each: &mut impl FnMut(Part<'_>)) {
        let room = match (self.keep)(self.head[0]) {
            Keep::Nothing => 0,
            Keep::Beginning => BEGINNING.saturating_sub(self.body.len()),
            Keep::Whole => bytes.len(),
        };
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if (self.keep)(self.head[0]) != Keep::Whole {
            each(Part::Raw(bytes));
        }
    }
}

/// Cuts a body that lies in one piece, so that the result is the same in any pieces.
fn limited(body: &[u8], keep: Keep) -> &[u8] {
    match keep {
        Keep::Nothing => &[],
        Keep::Beginning => &body[..body.len().min(BEGINNING)],
        Keep::Whole => body,
    }
}

/// Returns the size of a message; its type byte is not part of the length that is sent.
fn message_length(head: &[u8; HEAD]) -> usize {
    let [_, a, b, c, d] = *head;
    usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX).saturating_add(1)
}

/// Writes a message whose body is made of these parts.
pub(in crate::driver::postgres) fn write(out: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length + 4).expect("bug: a message grew beyond its length field");
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    body.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, kind, &[body]);
        out
    }

    fn keep(kind: u8) -> Keep {
        match kind {
            b'Z' | b'E' | b'K' => Keep::Beginning,
            b'T' | b'1' => Keep::Whole,
            _ => Keep::Nothing,
        }
    }

    /// The messages of a stream, and the bytes that are passed on.
    type Found = (Vec<(u8, Vec<u8>)>, Vec<u8>);

    /// The slow reference: message by message, from the whole stream.
    fn reference(mut bytes: &[u8]) -> Found {
        let mut found = Found::default();
        while bytes.len() >= HEAD {
            let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            let whole = usize::try_from(length).expect("a short message") + 1;
            if bytes.len() < whole {
                break;
            }
            let kept = match keep(bytes[0]) {
                Keep::Nothing => HEAD,
                Keep::Beginning => whole.min(HEAD + BEGINNING),
                Keep::Whole => whole,
            };
            found.0.push((bytes[0], bytes[HEAD..kept].to_vec()));
            if keep(bytes[0]) != Keep::Whole {
                found.1.extend_from_slice(&bytes[..whole]);
            }
            bytes = &bytes[whole..];
        }
        found
    }

    fn in_pieces(bytes: &[u8], mut cut: impl FnMut(usize) -> usize) -> Found {
        let (mut frames, mut found, mut rest) = (Frames::of_server(keep), Found::default(), bytes);
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(cut(rest.len()).clamp(1, rest.len()));
            frames.read(piece, |part| match part {
                Part::Raw(bytes) => found.1.extend_from_slice(bytes),
                Part::Message(kind, body) => found.0.push((kind, body.to_vec())),
            });
            rest = left;
        }
        assert!(frames.is_between());
        found
    }

    #[test]
    fn any_split_of_any_stream_gives_the_messages_of_the_reference() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..300 {
            let mut bytes = Vec::new();
            for _ in 0..random.usize(1..30) {
                let kind = b"ZEKDCTSNAG1\0"[random.usize(..12)];
                let length = if random.u8(..10) == 0 { 3_000 } else { random.usize(..40) };
                let body: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
                bytes.extend(message(kind, &body));
            }
            let wanted = reference(&bytes);
            assert_eq!(in_pieces(&bytes, |_| 1), wanted);
            assert_eq!(in_pieces(&bytes, |left| left), wanted);
            assert_eq!(in_pieces(&bytes, |_| random.usize(1..700)), wanted);
        }
    }

    fn kinds(frames: &mut Frames, bytes: &[u8]) -> Vec<u8> {
        let mut kinds = Vec::new();
        frames.read(bytes, |part| {
            if let Part::Message(kind, _) = part {
                kinds.push(kind);
            }
        });
        kinds
    }

    #[test]
    fn a_client_begins_with_a_message_without_a_type() {
        let startup = [&9u32.to_be_bytes()[..], b"hello"].concat();
        let bytes = [startup, message(b'p', b"x"), message(b'Q', b"select 1\0")].concat();
        for first in 0..bytes.len() {
            let mut frames = Frames::of_client(keep);
            let mut found = kinds(&mut frames, &bytes[..first]);
            found.extend(kinds(&mut frames, &bytes[first..]));
            assert_eq!(found, [0, b'p', b'Q']);
            assert!(frames.is_between());
        }
    }

    #[test]
    fn a_message_that_is_cut_off_is_unfinished_and_its_beginning_is_kept() {
        let bytes = message(b'E', b"an error");
        for end in 1..bytes.len() {
            let mut frames = Frames::of_server(keep);
            assert!(kinds(&mut frames, &bytes[..end]).is_empty(), "it is not complete");
            assert!(!frames.is_between());
            let body = bytes[..end].get(HEAD..).unwrap_or_default();
            assert_eq!(frames.unfinished(), Some((b'E', body)));
        }
    }

    #[test]
    fn an_impossible_length_and_nonsense_never_panic() {
        let mut frames = Frames::of_server(keep);
        assert!(kinds(&mut frames, &[b'Z', 0, 0, 0, 3, b'I']).is_empty(), "no such message");
        assert!(frames.is_lost() && !frames.is_between());
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let mut frames = Frames::of_server(keep);
            let bytes: Vec<u8> = (0..random.usize(..64)).map(|_| random.u8(..)).collect();
            frames.read(&bytes, |_| ());
        }
    }
}
