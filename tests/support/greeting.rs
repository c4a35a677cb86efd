//! Whether a pooler for PostgreSQL answers new clients.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// The interval between two readiness checks.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);

/// Returns `true` if the pooler on this loopback port answers a new client.
pub(crate) fn is_answered(port: u16) -> bool {
    ask(port).unwrap_or(false)
}

// PostgreSQL docs, "Message Formats", SSLRequest: the answer is one byte.
fn ask(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(matches!(&answer, b"N" | b"S"))
}
