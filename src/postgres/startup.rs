//! The first messages of a server, read as they pass: which process it says that
//! it gave us.
//!
//! PostgreSQL documentation, "Message Formats": a type byte, a length that counts
//! itself, a body. BackendKeyData (`K`) begins with the process id; ReadyForQuery
//! (`Z`) ends the start-up, and with it this reader's use.

/// A message's type byte and length.
const HEAD: usize = 5;
/// Longer messages are no start-up; what follows cannot be understood.
const LONGEST: usize = 1 << 20;

/// Reads the messages of one start-up, in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct Startup {
    /// The beginning of the message under way: its head, and a process id's room.
    start: [u8; HEAD + 4],
    /// How much of the message under way has passed, its head included.
    passed: usize,
    process_id: Option<i32>,
}

/// How a start-up went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is more to come.
    Unfinished,
    /// The server is ready; it named this process, or none.
    Ready(Option<i32>),
    /// These are not the messages of a start-up.
    NotUnderstood,
}

impl Startup {
    /// Takes the next bytes of the server, which may end anywhere.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Outcome {
        while let Some((byte, rest)) = bytes.split_first() {
            if let Some(place) = self.start.get_mut(self.passed) {
                *place = *byte;
                self.passed += 1;
                bytes = rest;
            } else {
                // The rest of a long body is of no interest.
                let skipped = bytes.len().min(self.whole().saturating_sub(self.passed));
                self.passed += skipped;
                bytes = &bytes[skipped..];
            }
            if self.passed >= HEAD {
                if !(HEAD..=LONGEST).contains(&self.whole()) {
                    return Outcome::NotUnderstood;
                }
                if self.passed == self.whole() && self.end_message() {
                    return Outcome::Ready(self.process_id);
                }
            }
        }
        Outcome::Unfinished
    }

    /// The length of the message under way; its type byte is not in its own count.
    fn whole(&self) -> usize {
        let [_, a, b, c, d, ..] = self.start;
        usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX).saturating_add(1)
    }

    /// Takes note of the message that is complete; tells whether it is the last.
    fn end_message(&mut self) -> bool {
        let [kind, _, _, _, _, a, b, c, d] = self.start;
        if kind == b'K' && self.passed >= HEAD + 4 {
            self.process_id = Some(i32::from_be_bytes([a, b, c, d]));
        }
        self.passed = 0;
        kind == b'Z'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("a short body");
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn server(process_id: i32) -> Vec<u8> {
        let key = [&process_id.to_be_bytes()[..], &[1, 2, 3, 4]].concat();
        [
            message(b'R', &[0, 0, 0, 0]),
            message(b'S', b"server_version\x0015.18 (Debian 15.18-0+deb12u1)\0"),
            message(b'K', &key),
            message(b'S', b""),
            message(b'Z', b"I"),
        ]
        .concat()
    }

    #[test]
    fn the_process_id_is_read_however_the_bytes_are_split() {
        let bytes = server(-1_234_567);
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let mut startup = Startup::default();
                let (one, two) = (&bytes[..first], &bytes[first..second]);
                assert_eq!(startup.read(one), Outcome::Unfinished);
                assert_eq!(startup.read(two), Outcome::Unfinished);
                assert_eq!(startup.read(&bytes[second..]), Outcome::Ready(Some(-1_234_567)));
            }
        }
    }

    #[test]
    fn single_bytes_are_enough() {
        let (bytes, mut startup) = (server(7), Startup::default());
        let (last, others) = bytes.split_last().expect("bytes");
        assert!(others.iter().all(|byte| startup.read(&[*byte]) == Outcome::Unfinished));
        assert_eq!(startup.read(&[*last]), Outcome::Ready(Some(7)));
    }

    #[test]
    fn a_server_that_names_no_process_is_understood() {
        let bytes = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
        assert_eq!(Startup::default().read(&bytes), Outcome::Ready(None));
        let short = [message(b'K', &[1, 2]), message(b'Z', b"I")].concat();
        assert_eq!(Startup::default().read(&short), Outcome::Ready(None));
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_reading() {
        for length in [0, 3, u32::MAX, 1 << 21] {
            let bytes = [&[b'R'][..], &length.to_be_bytes(), &[0; 9]].concat();
            assert_eq!(Startup::default().read(&bytes), Outcome::NotUnderstood, "{length}");
        }
    }

    #[test]
    fn nonsense_never_panics() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let mut startup = Startup::default();
            for _ in 0..4 {
                let length = random.usize(..64);
                let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
                let _ = startup.read(&bytes);
            }
        }
    }
}
