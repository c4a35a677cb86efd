//! Cuts a stream of PostgreSQL messages into frames, in whatever pieces it comes.
//!
//! PostgreSQL documentation, "Message Formats": a type byte, a length that counts
//! itself, a body. Only the first message of a client has no type byte.

/// A message's type byte and length.
const HEAD: usize = 5;

/// How much of a body is kept: enough for an error's severity, code and text.
const KEPT: usize = 512;

/// Reads one direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// The type byte and the length of the message under way.
    head: [u8; HEAD],
    /// The beginning of its body, if its type is one whose body is wanted.
    body: Vec<u8>,
    /// How much of the message has passed, its head included.
    passed: usize,
    wanted: &'static [u8],
    /// A length came that cannot be: what follows cannot be understood.
    lost: bool,
}

impl Frames {
    /// Reads a server's messages; of these types the body is kept.
    pub(super) fn of_server(wanted: &'static [u8]) -> Frames {
        Frames { head: [0; HEAD], body: Vec::new(), passed: 0, wanted, lost: false }
    }

    /// Reads a client's messages, the first of which has no type byte.
    pub(super) fn of_client() -> Frames {
        Frames { passed: 1, ..Frames::of_server(&[]) }
    }

    /// Tells whether the stream stands between two messages.
    pub(super) fn is_between(&self) -> bool {
        self.passed == 0 && !self.lost
    }

    /// Takes the next bytes, which may end anywhere; calls for every message that
    /// is complete, with its type and what was kept of its body.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8, &[u8])) {
        while !bytes.is_empty() && !self.lost {
            if self.passed < HEAD {
                let taken = bytes.len().min(HEAD - self.passed);
                self.head[self.passed..self.passed + taken].copy_from_slice(&bytes[..taken]);
                self.passed += taken;
                bytes = &bytes[taken..];
                self.lost = self.passed == HEAD && self.whole() < HEAD;
            } else {
                let taken = bytes.len().min(self.whole() - self.passed);
                self.keep(&bytes[..taken]);
                self.passed += taken;
                bytes = &bytes[taken..];
            }
            if self.passed >= HEAD && !self.lost && self.passed == self.whole() {
                each(self.head[0], &self.body);
                self.head[0] = 0;
                self.body.clear();
                self.passed = 0;
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.wanted.contains(&self.head[0]) {
            let room = KEPT.saturating_sub(self.body.len());
            self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The length of the message under way; its type byte is not in its own count.
    fn whole(&self) -> usize {
        let [_, a, b, c, d] = self.head;
        usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("a short body");
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    /// The slow reference: the whole stream at once, message by message.
    fn reference(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while bytes.len() >= HEAD {
            let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            let whole = usize::try_from(length).expect("a short message") + 1;
            if bytes.len() < whole {
                break;
            }
            let wanted = b"ZEK".contains(&bytes[0]);
            let body = if wanted { &bytes[HEAD..whole.min(HEAD + KEPT)] } else { &[] };
            found.push((bytes[0], body.to_vec()));
            bytes = &bytes[whole..];
        }
        found
    }

    fn in_pieces(bytes: &[u8], mut cut: impl FnMut(usize) -> usize) -> Vec<(u8, Vec<u8>)> {
        let (mut frames, mut found, mut rest) = (Frames::of_server(b"ZEK"), Vec::new(), bytes);
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(cut(rest.len()).clamp(1, rest.len()));
            frames.read(piece, |kind, body| found.push((kind, body.to_vec())));
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
                let kind = b"ZEKDCTSNAG1"[random.usize(..11)];
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

    #[test]
    fn a_client_begins_with_a_message_without_a_type() {
        let startup = [&9u32.to_be_bytes()[..], b"hello"].concat();
        let bytes = [startup, message(b'p', b"x"), message(b'Q', b"select 1\0")].concat();
        for first in 0..bytes.len() {
            let (mut frames, mut kinds) = (Frames::of_client(), Vec::new());
            frames.read(&bytes[..first], |kind, _| kinds.push(kind));
            frames.read(&bytes[first..], |kind, _| kinds.push(kind));
            assert_eq!(kinds, [0, b'p', b'Q']);
            assert!(frames.is_between());
        }
    }

    #[test]
    fn a_message_that_is_cut_off_is_not_between_two() {
        let bytes = message(b'D', b"a row");
        for end in 1..bytes.len() {
            let mut frames = Frames::of_server(b"Z");
            frames.read(&bytes[..end], |_, _| panic!("it is not complete"));
            assert!(!frames.is_between());
        }
    }

    #[test]
    fn a_length_that_cannot_be_and_nonsense_never_panic() {
        let mut frames = Frames::of_server(b"Z");
        frames.read(&[b'Z', 0, 0, 0, 3, b'I'], |_, _| panic!("no such message"));
        assert!(!frames.is_between());
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let mut frames = Frames::of_server(b"ZEK");
            let bytes: Vec<u8> = (0..random.usize(..64)).map(|_| random.u8(..)).collect();
            frames.read(&bytes, |_, _| ());
        }
    }
}
