//! An idle connection on which bytes arrive is kept only if they are complete messages of
//! the kinds that a server sends without a request; and a server's message is one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolwarden::driver::Unsolicited;
use poolwarden::fuzzing::{server_message, server_messages, unsolicited};

fuzz_target!(|bytes: &[u8]| {
    let (messages, is_between) = server_messages([bytes]);
    let unsolicited_only = messages.iter().all(|(kind, _)| b"AS".contains(kind));
    let keeps = unsolicited(bytes) == Unsolicited::Keep;
    assert_eq!(keeps, is_between && unsolicited_only, "{}", bytes.escape_ascii());
    for message in server_message(bytes).into_iter().flatten() {
        let text = message.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
    }
});
