//! Parameters that are longer than the server takes.
//!
//! The driver sends the parameters of a long statement one by one
//! (`COM_STMT_SEND_LONG_DATA`), to which the server does not reply: where one is too long, it
//! ends the session, and the caller reads of a lost connection or of packets out of sync.
//! So the limit is asked for before such a statement is sent.

use crate::error::fault::mysql::TooLong;
use mysql::prelude::Queryable;
use mysql::{Conn, Params, Value};

/// The longest packet of the protocol (MySQL documentation, "Sending More Than 16Mb"). The
/// driver sends a shorter statement in one, and compares it with the limit by itself.
const LONGEST_PACKET: usize = 0xFF_FFFF;
/// The driver cuts a parameter into pieces of this length.
const PIECE: usize = LONGEST_PACKET - 6;
/// In front of each piece: the command, the statement's number, the parameter's.
const HEADER: usize = 7;
/// At most what a parameter takes besides its bytes: its type, its length, a bit.
const BESIDES: usize = 16;

/// Returns an error if the server would end the session for the length of a parameter.
///
/// Costs one round trip if the parameters together are longer than one packet.
pub(super) fn check(connection: &mut Conn, params: &Params) -> mysql::Result<()> {
    let (longest, together) = lengths(params);
    if together <= LONGEST_PACKET {
        return Ok(());
    }
    let limit = connection.query_first("select @@max_allowed_packet")?;
    match limit.map(|limit: u64| usize::try_from(limit).unwrap_or(usize::MAX)) {
        Some(limit) if is_too_long(longest, limit) => Err(TooLong { longest, limit }.into()),
        _ => Ok(()),
    }
}

/// The server takes no packet as long as the limit, and no parameter longer than it.
fn is_too_long(longest: usize, limit: usize) -> bool {
    longest > limit || longest.min(PIECE) + HEADER >= limit
}

/// Returns the length of the longest parameter, and at least what all take together.
fn lengths(params: &Params) -> (usize, usize) {
    let (mut longest, mut together) = (0, 0);
    let measure = |value: &Value| {
        let length = if let Value::Bytes(bytes) = value { bytes.len() } else { 0 };
        longest = longest.max(length);
        together += length + BESIDES;
    };
    match params {
        Params::Empty => {}
        Params::Named(values) => values.values().for_each(measure),
        Params::Positional(values) => values.iter().for_each(measure),
    }
    (longest, together)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_piece_with_its_header_must_be_shorter_than_the_limit_and_all_pieces_no_longer() {
        assert!(is_too_long(2 * MIB, MIB));
        assert!(is_too_long(MIB - 7, MIB) && !is_too_long(MIB - 8, MIB));
        // A server with the limit of MariaDB's default takes no piece of full length.
        assert!(is_too_long(17 * MIB, 16 * MIB) && is_too_long(PIECE, 16 * MIB));
        assert!(!is_too_long(64 * MIB, 64 * MIB) && is_too_long(64 * MIB + 1, 64 * MIB));
    }

    #[test]
    fn named_and_positional_parameters_are_measured() {
        let values = vec![Value::Bytes(vec![0; 5]), Value::Int(7), Value::Bytes(vec![0; 3])];
        assert_eq!(lengths(&Params::Positional(values)), (5, 8 + 3 * BESIDES));
        let named = Params::from(vec![("name", Value::Bytes(vec![0; 4]))]);
        assert_eq!(lengths(&named), (4, 4 + BESIDES));
        assert_eq!(lengths(&Params::Empty), (0, 0));
    }
}
