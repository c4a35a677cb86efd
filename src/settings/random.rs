//! The parser against random texts: never a panic, never a secret in an error, and
//! what is written properly is read back.
//!
//! `TEST_SEED` repeats a run; `FUZZ_CASES` makes it longer.

use super::*;

const MARKER: &str = "Sw0rdf1sh";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs a case so often, each with a generator of its own that can be made again.
fn repeat(count: u64, case: impl Fn(&mut fastrand::Rng) -> String) {
    let first = number("TEST_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    for seed in first..first + number("FUZZ_CASES").unwrap_or(count) {
        let wrong = case(&mut fastrand::Rng::with_seed(seed));
        assert!(wrong.is_empty(), "TEST_SEED={seed}: {wrong}");
    }
}

/// What a URL, a list of keys or a person's mistake is made of.
const PIECES: &[&str] = &[
    "postgres://",
    "postgresql://",
    "mysql://",
    "mariadb://",
    "sqlite:",
    "://",
    ":",
    "/",
    "//",
    "@",
    "?",
    "&",
    "=",
    "%",
    "%2F",
    "%zz",
    "%00",
    "%ff",
    "#",
    "+",
    ",",
    "[",
    "]",
    "[::1]",
    "::1",
    "'",
    "\\",
    " ",
    "\t",
    "\n",
    "\0",
    "ä",
    "\u{1F980}",
    "0",
    "1",
    "65536",
    "-1",
    "host",
    "localhost",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "require",
    "pool_",
    "pool_max_size",
    "8",
    "pool_max_lifetime",
    "30s",
    "none",
    "127.0.0.1",
    "db",
    "a",
    "",
];

const WELL_FORMED: &[&str] = &[
    "postgres://user:Sw0rdf1sh@host:5432/name?sslmode=require&pool_max_size=8",
    "postgresql://:Sw0rdf1sh@[::1]:5432,host2/name",
    "mysql://user:Sw0rdf1sh@host/name?connect_timeout=5&pool_max_lifetime=30s",
    "postgres://host/name?user=u&password=Sw0rdf1sh&application_name=me",
    "mysql://user@host?ssl-mode=REQUIRED&pkcs12_path=/p&pkcs12_pass=Sw0rdf1sh",
    "host=host port=5432 user=user password=Sw0rdf1sh dbname=name pool_min_idle=1",
    "user = user password = 'Sw0rdf1sh' host = host sslmode=disable",
];

/// A place between two characters, and not within the marker.
fn place(random: &mut fastrand::Rng, text: &str) -> usize {
    let marker = text.find(MARKER).map_or(0..0, |start| start + 1..start + MARKER.len());
    loop {
        let place = random.usize(..=text.len());
        if text.is_char_boundary(place) && !marker.contains(&place) {
            return place;
        }
    }
}

fn mistake(random: &mut fastrand::Rng, text: &mut String) {
    let at = place(random, text);
    match random.u8(..4) {
        // Left out.
        0 if !text[at..].starts_with(MARKER) && at < text.len() => drop(text.remove(at)),
        // Two characters the wrong way round.
        1 if !text[at..].starts_with(MARKER) && at < text.len() => {
            let character = text.remove(at);
            let at = place(random, text);
            text.insert(at, character);
        }
        _ => text.insert_str(at, PIECES[random.usize(..PIECES.len())]),
    }
}

/// Parses and hands to the drivers' own readers; returns all errors there are.
fn all_errors(text: &str) -> Vec<Error> {
    let settings = match Settings::parse(text) {
        Ok(settings) => settings,
        Err(error) => return vec![error],
    };
    let _ = format!("{settings:?}");
    let mut errors: Vec<Error> = settings.all_knobs(1).err().into_iter().collect();
    for system in [System::Postgres, System::MySql, System::Sqlite] {
        errors.extend(settings.must_suit(system).err());
    }
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    errors.extend([settings.places(1).err(), settings.tls().err()].into_iter().flatten());
    errors
}

#[test]
fn random_texts_are_read_or_refused_in_words() {
    repeat(20_000, |random| {
        let count = random.usize(..14);
        let text: String = (0..count).map(|_| PIECES[random.usize(..PIECES.len())]).collect();
        for error in all_errors(&text) {
            let words = error.to_string();
            if words.len() < 8 || words.contains(['\n', '\0']) {
                return format!("{text:?}: {words:?}");
            }
        }
        String::new()
    });
}

#[test]
fn mistakes_around_a_password_never_bring_it_to_light() {
    repeat(20_000, |random| {
        let mut text = WELL_FORMED[random.usize(..WELL_FORMED.len())].to_owned();
        for _ in 0..random.usize(1..4) {
            mistake(random, &mut text);
        }
        for error in all_errors(&text) {
            let words = format!("{error} {error:?}");
            if words.contains(MARKER) {
                return format!("{text:?}: {words}");
            }
        }
        String::new()
    });
}

fn nasty(random: &mut fastrand::Rng) -> String {
    let length = random.usize(1..12);
    let any = |random: &mut fastrand::Rng| match random.u8(..3) {
        0 => random.alphanumeric(),
        1 => random.char('!'..='\u{7e}'),
        _ => random.char('\u{1}'..='\u{2fff}'),
    };
    (0..length).map(|_| any(random)).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[test]
fn what_is_written_properly_is_read_back() {
    repeat(10_000, |random| {
        let (user, password, name) = (nasty(random), nasty(random), nasty(random));
        let port = random.u16(1..);
        let url = format!(
            "mysql://{}:{}@h1:{port},[::1]/{}?pool_max_size={port}",
            encoded(&user),
            encoded(&password),
            encoded(&name)
        );
        let list = format!(
            "user={} password ={} dbname= {} host=h1,::1 port={port}, pool_max_size={port}",
            quoted(&user),
            quoted(&password),
            quoted(&name)
        );
        for text in [url, list] {
            let settings = match Settings::parse(&text) {
                Ok(settings) => settings,
                Err(error) => return format!("{text:?}: {error}"),
            };
            let read = ["user", "password", "dbname", "host"].map(|key| settings.text(key));
            let wanted = [&user, &password, &name, "h1,::1"].map(Some);
            let both = (settings.text("port"), settings.knobs.max_size);
            if read != wanted || both != (Some(&*format!("{port},")), Some(port.into())) {
                return format!("{text:?}: {read:?}, {both:?}");
            }
        }
        String::new()
    });
}
