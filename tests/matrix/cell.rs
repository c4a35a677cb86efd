//! The axes of the matrix.

use std::fmt;

/// The encryption of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
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
    /// The operation that the pool, or its caller, is in.
    Position {
        /// The connections are idle; a caller checks one out afterwards.
        Idle = "idle",
        /// The ping of a check-out waits for its reply.
        CheckOut = "at check-out",
        /// A query waits for its thousand rows.
        Query = "mid-query",
        /// An autocommitted write waits for its reply,
        /// which the server has sent.
        Write = "lone write",
        /// A transaction is between two of its statements.
        Between = "in a transaction",
        /// COMMIT was sent and has not reached the server.
        CommitSent = "COMMIT sent",
        /// The server has committed and sent its reply.
        CommitDone = "COMMIT answered",
        /// The reset of a check-in waits for its reply.
        CheckIn = "at check-in",
        /// A connection is being opened and waits for the server's first reply.
        Connecting = "connecting",
        /// A connection is being opened and is in its TLS handshake.
        Handshake = "TLS handshake",
    }
}

axis! {
    /// The fault.
    FaultKind {
        /// Both sides are closed; the client gets a FIN.
        Fin = "FIN",
        /// The client gets a FIN; its bytes still reach the server.
        HalfClose = "half-close",
        /// Both sides are reset.
        Rst = "RST",
        /// Nothing is forwarded; the kernel acknowledges.
        Stall = "stall",
        /// Nothing is forwarded or acknowledged.
        BlackHole = "black hole",
        /// A FIN after half a message.
        Truncated = "truncated",
        /// Bytes that no server sends.
        Injected = "injected",
        /// All bytes to the client are delayed.
        Delay = "delay",
    }
}

impl Position {
    /// Returns `true` if a statement of a caller is running or about to.
    pub fn is_work(self) -> bool {
        matches!(self, Position::Query | Position::Between) || self.may_take_effect()
    }

    /// Returns `true` if the running statement may take effect, whatever follows.
    pub fn may_take_effect(self) -> bool {
        matches!(self, Position::Write | Position::CommitSent | Position::CommitDone)
    }
}

/// Returns `true` if certificates can be made, and the crate and the servers were built to
/// use them.
pub fn has_tls() -> bool {
    use support::postgres;
    let of_servers = || !postgres::available() || postgres::tls();
    cfg!(feature = "native-tls") && support::certificates::available() && of_servers()
}

/// One cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub encryption: Encryption,
    pub position: Position,
    pub fault_kind: FaultKind,
}

impl Cell {
    /// Returns all possible cells of one server.
    pub fn all() -> impl Iterator<Item = Cell> {
        let tls = has_tls().then_some(Encryption::Tls);
        let encryptions = [Encryption::Plain].into_iter().chain(tls);
        let positions =
            |encryption| Position::ALL.iter().map(move |position| (encryption, *position));
        let all = encryptions.flat_map(positions).flat_map(|(encryption, position)| {
            FaultKind::ALL.iter().map(move |fault_kind| Cell {
                encryption,
                position,
                fault_kind: *fault_kind,
            })
        });
        all.filter(|cell| cell.is_possible())
    }

    fn is_possible(self) -> bool {
        self.position != Position::Handshake || self.encryption == Encryption::Tls
    }

    /// Returns `true` if the default run includes it: one fault for each position, and at
    /// least one position for each fault, a different one for each encryption.
    pub fn is_on_the_diagonal(&self) -> bool {
        let shift = if self.encryption == Encryption::Tls { 3 } else { 0 };
        (self.position as usize + shift) % FaultKind::ALL.len() == self.fault_kind as usize
    }

    /// Returns `true` if only a deadline of ours ends the caller's wait.
    pub fn needs_a_timeout(self) -> bool {
        matches!(self.fault_kind, FaultKind::Stall | FaultKind::BlackHole)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}, {}", self.encryption, self.position, self.fault_kind)
    }
}
