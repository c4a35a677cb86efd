//! A stream of messages is split into the same frames, however the bytes are split into pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolwarden::fuzzing::{client_messages, enter_messages, server_messages};

/// The length of a message's type byte and length field.
const HEAD: usize = 5;

/// How many bytes of a body are kept.
const KEPT: usize = 512;

/// The types of the messages whose bodies are kept.
const WANTED: &[u8] = b"ZKENCS";

fuzz_target!(|input: (Vec<u8>, &[u8])| {
    let (cuts, bytes) = input;
    let (whole, is_between) = server_messages([bytes]);
    let (expected, rest) = reference(bytes);
    assert_eq!(whole, expected);
    assert_eq!(is_between, rest.is_empty());
    assert_eq!(server_messages(pieces(bytes, &cuts)), (whole.clone(), is_between));
    assert_eq!(server_messages(bytes.chunks(1)), (whole.clone(), is_between));

    let sent = client_messages([bytes]);
    assert_eq!(client_messages(pieces(bytes, &cuts)), sent);
    assert_eq!(client_messages(bytes.chunks(1)), sent);

    let directions = cuts.iter().map(|cut| cut % 2 == 0).chain(std::iter::repeat(false));
    enter_messages(directions.zip(whole).map(|(is_sent, (kind, body))| (is_sent, kind, body)));
});

/// Returns the messages, parsed one by one from the whole stream, and the remaining bytes.
fn reference(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, &[u8]) {
    let mut found = Vec::new();
    while bytes.len() >= HEAD {
        let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let whole = length as usize + 1;
        if whole < HEAD || bytes.len() < whole {
            break;
        }
        let kept = if WANTED.contains(&bytes[0]) { whole.min(HEAD + KEPT) } else { HEAD };
        found.push((bytes[0], bytes[HEAD..kept].to_vec()));
        bytes = &bytes[whole..];
    }
    (found, bytes)
}

fn pieces<'a>(mut bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    for cut in cuts {
        let (piece, rest) = bytes.split_at(usize::from(*cut).min(bytes.len()));
        found.push(piece);
        bytes = rest;
    }
    found.push(bytes);
    found
}
