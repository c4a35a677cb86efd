//! The names of prepared statements are removed in the same way, however the messages are
//! split into pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolwarden::fuzzing::Rewriter;

fuzz_target!(|exchange: Vec<(bool, Vec<(u8, &[u8])>)>| {
    let exchange: Vec<(bool, Vec<u8>)> = exchange
        .into_iter()
        .map(|(is_request, messages)| (is_request, messages.iter().flat_map(message).collect()))
        .collect();
    let whole = rewritten(&exchange, usize::MAX);
    assert_eq!(rewritten(&exchange, 1), whole);
    assert_eq!(rewritten(&exchange, 7), whole);
});

fn message((kind, body): &(u8, &[u8])) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short body");
    [&[*kind][..], &length.to_be_bytes(), body].concat()
}

/// Returns what each peer receives, and `true` if the connection may be used further.
fn rewritten(exchange: &[(bool, Vec<u8>)], piece: usize) -> ([Vec<u8>; 2], bool) {
    let (mut rewriter, mut seen) = (Rewriter::begin(), [Vec::new(), Vec::new()]);
    for (is_request, bytes) in exchange {
        for bytes in bytes.chunks(piece) {
            if !rewriter.pass(*is_request, bytes, &mut seen[usize::from(*is_request)]) {
                return (seen, false);
            }
        }
    }
    (seen, true)
}
