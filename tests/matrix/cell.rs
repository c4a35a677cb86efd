//! The axes of the matrix.

use std::fmt;

/// Whether the connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Plain,
    Tls,
}

macro_rules! axis {
    ($(#[$doc:meta])* $axis:ident { $($(#[$about:meta])* $name:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $axis {
            $($(#[$about])* $name,)+
        }

        impl $axis {
            pub const ALL: &'static [$axis] = &[$($axis::$name,)+];
        }

        impl fmt::Display for $axis {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($axis::$name => $text,)+ })
            }
        }
    };
}

axis! {
    /// What the pool, or its caller, is in the middle of.
    Position {
        /// The connections lie in the pool; a caller comes afterwards.
        Idle = "idle",
        /// The ping of a check-out waits for its answer.
        CheckOut = "at check-out",
        /// A query waits for its thousand rows.
        Query = "mid-query",
        /// A statement that writes, and is its own transaction, waits for its answer,
        /// which the server has given.
        Write = "lone write",
        /// A transaction is between two of its statements.
        Between = "in a transaction",
        /// COMMIT is on its way and has not reached the server.
        CommitSent = "COMMIT sent",
        /// The server has committed, and its answer is on its way.
        CommitDone = "COMMIT answered",
        /// The cleaning of a check-in waits for its answer.
        CheckIn = "at check-in",
        /// A connection is being opened and waits for the server's first answer.
        Connecting = "connecting",
        /// A connection is being opened and is in the middle of its TLS handshake.
        Handshake = "TLS handshake",
    }
}

axis! {
    /// What strikes.
    Blow {
        /// Both sides are closed; the client gets a FIN.
        Fin = "FIN",
        /// The client gets a FIN; what it sends still reaches the server.
        HalfClose = "half-close",
        /// Both sides are reset.
        Rst = "RST",
        /// Nothing goes on; the kernel acknowledges.
        Stall = "stall",
        /// Nothing goes on, and nothing is acknowledged.
        BlackHole = "black hole",
        /// A FIN after half a message.
        Truncated = "truncated",
        /// Bytes that no server sends.
        Injected = "injected",
        /// What is on its way comes late.
        Delay = "delay",
    }
}

impl Position {
    /// A statement of a caller is under way, or about to be.
    pub fn is_work(self) -> bool {
        matches!(self, Position::Query | Position::Between) || self.is_decided_by_itself()
    }

    /// What is under way may have its effect, whatever follows.
    pub fn is_decided_by_itself(self) -> bool {
        matches!(self, Position::Write | Position::CommitSent | Position::CommitDone)
    }
}

/// Whether we can make certificates, and the crate was built to use them.
pub fn has_tls() -> bool {
    cfg!(feature = "native-tls") && support::certificates::available()
}

/// One cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub security: Security,
    pub position: Position,
    pub blow: Blow,
}

impl Cell {
    /// All cells that make sense, of one server.
    pub fn all() -> impl Iterator<Item = Cell> {
        let tls = has_tls().then_some(Security::Tls);
        let securities = [Security::Plain].into_iter().chain(tls);
        let positions = |security| Position::ALL.iter().map(move |position| (security, *position));
        let all = securities.flat_map(positions).flat_map(|(security, position)| {
            Blow::ALL.iter().map(move |blow| Cell { security, position, blow: *blow })
        });
        all.filter(|cell| cell.makes_sense())
    }

    fn makes_sense(self) -> bool {
        self.position != Position::Handshake || self.security == Security::Tls
    }

    /// Tells whether the plain run takes it: one fault for each position, and at least
    /// one position for each fault, another one for each security.
    pub fn is_on_the_diagonal(&self) -> bool {
        let shift = if self.security == Security::Tls { 3 } else { 0 };
        (self.position as usize + shift) % Blow::ALL.len() == self.blow as usize
    }

    /// Whether nothing but a deadline of ours tells the caller.
    pub fn is_silent(self) -> bool {
        matches!(self.blow, Blow::Stall | Blow::BlackHole)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}, {}", self.security, self.position, self.blow)
    }
}
