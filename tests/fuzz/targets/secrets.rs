//! No mistake in the text around a password makes the password appear in an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolwarden::fuzzing::settings_errors;

const PASSWORD: &str = "Sw0rdf1sh";

const WELL_FORMED: &[&str] = &[
    "postgres://user:Sw0rdf1sh@host:5432/name?sslmode=require&pool_max_size=8",
    "postgresql://:Sw0rdf1sh@[::1]:5432,host2/name",
    "mysql://user:Sw0rdf1sh@host/name?connect_timeout=5&pool_max_lifetime=30s",
    "postgres://host/name?user=u&password=Sw0rdf1sh&application_name=me",
    "mysql://user@host?ssl-mode=REQUIRED&pkcs12_path=/p&pkcs12_pass=Sw0rdf1sh",
    "host=host port=5432 user=user password=Sw0rdf1sh dbname=name pool_min_idle=1",
    "user = user password = 'Sw0rdf1sh' host = host sslmode=disable",
];

/// A mistake: its position and the change.
type Mistake<'a> = (u8, Change<'a>);

/// A text that is not empty is inserted. If it is empty, the character at the position is
/// moved to the second position, or removed if there is none.
type Change<'a> = (Option<u8>, &'a str);

fuzz_target!(|input: (u8, Vec<Mistake<'_>>)| {
    let (which, mistakes) = input;
    let mut text = WELL_FORMED[usize::from(which) % WELL_FORMED.len()].to_owned();
    for (at, (to, insert)) in mistakes.into_iter().take(3) {
        let at = position(&text, at);
        let is_outside = at < text.len() && !text[at..].starts_with(PASSWORD);
        match to {
            _ if !insert.is_empty() => text.insert_str(at, insert),
            Some(to) if is_outside => {
                let moved = text.remove(at);
                text.insert(position(&text, to), moved);
            }
            None if is_outside => drop(text.remove(at)),
            _ => {}
        }
    }
    for error in settings_errors(&text) {
        let output = format!("{error} {error:?}");
        assert!(!output.contains(PASSWORD), "{text:?}: {output}");
    }
});

/// Returns a position between two characters that is not inside the password.
fn position(text: &str, number: u8) -> usize {
    let password = text.find(PASSWORD).map_or(0..0, |start| start + 1..start + PASSWORD.len());
    let is_allowed = |at: &usize| text.is_char_boundary(*at) && !password.contains(at);
    let positions: Vec<usize> = (0..=text.len()).filter(is_allowed).collect();
    positions[usize::from(number) % positions.len()]
}
