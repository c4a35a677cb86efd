//! Any text is either parsed as settings or refused with an error of one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolwarden::fuzzing::settings_errors;

fuzz_target!(|text: &str| {
    for error in settings_errors(text) {
        let message = error.to_string();
        assert!(message.len() >= 8 && !message.contains(['\n', '\0']), "{message:?}");
    }
});
