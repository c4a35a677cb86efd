//! The few packets of the MySQL protocol that the fake server reads and writes.

use std::io::{self, Read};

// MySQL documentation, "Capabilities Flags": LONG_PASSWORD, LONG_FLAG,
// CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION,
// MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS, PLUGIN_AUTH, CONNECT_ATTRS.
const CAPABILITIES: u32 = 0x001F_A20D;
const UTF8MB4: u8 = 45;
const AUTOCOMMIT: [u8; 2] = [2, 0];
// "Status Flags": SERVER_STATUS_AUTOCOMMIT and SERVER_MORE_RESULTS_EXISTS.
const MORE_RESULTS: [u8; 2] = [10, 0];
const VAR_STRING: u8 = 0xFD;
const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";

/// The fake server's answer to one command.
#[derive(Debug)]
pub(super) enum Answer {
    Ok,
    Error(u16, &'static str),
    /// One row of texts.
    Row(Vec<String>),
    /// The answers to several statements in one text; only the last may be an error.
    All(Vec<Answer>),
}

impl Answer {
    /// Returns the answer's packets, the first one with this sequence id.
    pub(super) fn packets(&self, sequence: u8) -> Vec<u8> {
        let payloads = self.payloads(AUTOCOMMIT);
        let numbered = (0..).zip(&payloads);
        let frames = numbered.map(|(n, payload)| frame(sequence.wrapping_add(n), payload));
        frames.collect::<Vec<_>>().concat()
    }

    fn payloads(&self, status: [u8; 2]) -> Vec<Vec<u8>> {
        match self {
            Answer::Ok => vec![[&[0, 0, 0][..], &status, &[0, 0]].concat()],
            Answer::Error(number, text) => vec![error(*number, text)],
            Answer::Row(values) => row(values, status),
            Answer::All(answers) => {
                let (last, others) = answers.split_last().expect("at least one");
                let others = others.iter().flat_map(|answer| answer.payloads(MORE_RESULTS));
                others.chain(last.payloads(status)).collect()
            }
        }
    }
}

/// Returns the packet for a client that was idle for too long.
pub(super) fn inactivity() -> Vec<u8> {
    let text = "The client was disconnected by the server because of inactivity. \
                See wait_timeout and interactive_timeout for configuring this behavior.";
    frame(0, &error(4031, text))
}

/// Returns the server's first packet ("Protocol::HandshakeV10").
pub(super) fn greeting(connection: u32, version: &str) -> Vec<u8> {
    let capabilities = CAPABILITIES.to_le_bytes();
    let payload = [
        &[10][..],
        version.as_bytes(),
        &[0],
        &connection.to_le_bytes(),
        &NONCE[..8],
        &[0],
        &capabilities[..2],
        &[UTF8MB4],
        &AUTOCOMMIT,
        &capabilities[2..],
        &[21],
        &[0; 10],
        &NONCE[8..],
        b"\0mysql_native_password\0",
    ];
    frame(0, &payload.concat())
}

/// Reads one packet and returns its sequence id and its payload.
pub(super) fn read(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let [a, b, c, sequence] = header;
    let mut payload = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
    stream.read_exact(&mut payload)?;
    Ok((sequence, payload))
}

fn frame(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], payload].concat()
}

fn error(number: u16, text: &str) -> Vec<u8> {
    [&[0xFF][..], &number.to_le_bytes(), b"#HY000", text.as_bytes()].concat()
}

// "Text Resultset": the number of columns, each column, EOF, the row, EOF.
fn row(values: &[String], status: [u8; 2]) -> Vec<Vec<u8>> {
    let eof = || [&[0xFE, 0, 0][..], &status].concat();
    let mut payloads = vec![vec![values.len() as u8]];
    payloads.extend(values.iter().map(|_| column()));
    payloads.push(eof());
    payloads.push(values.iter().flat_map(|value| counted(value)).collect());
    payloads.push(eof());
    payloads
}

fn column() -> Vec<u8> {
    let names: Vec<u8> = ["def", "", "", "", "value", ""].into_iter().flat_map(counted).collect();
    let rest = [12, UTF8MB4, 0, 0xFF, 0, 0, 0, VAR_STRING, 0, 0, 0, 0, 0];
    [&names[..], &rest].concat()
}

// A length-encoded string; none of ours is as long as 251 bytes.
fn counted(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 251);
    [&[length.expect("our texts are short")], text.as_bytes()].concat()
}
