//! Every setting of every driver with every kind of bad value: the error names the setting
//! and shows no value, and no driver panics.

use poolwarden::config::System;
use poolwarden::driver::{Driver, FromSettings};
use poolwarden::{Error, ErrorKind, MySql, Pool, PoolOptions, Postgres, Settings};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;
use support::child::without_panics;

/// A word that no error may show: any value may be a misplaced secret.
const MARKER: &str = "Sw0rdf1sh";

/// The settings that name a file: an error says which file cannot be used.
const FILES: [&str; 4] = ["sslrootcert", "sslcert", "sslkey", "sslpkcs12"];

/// The names of all keys, from the table itself, so that a new key is tried as well.
fn keys() -> Vec<&'static str> {
    let table = include_str!("../../src/config/settings/keys.rs");
    let rows = table.lines().filter_map(|line| line.trim().strip_prefix("key(\""));
    let names: Vec<_> = rows.filter_map(|row| row.split_once('"')).map(|(name, _)| name).collect();
    assert!(names.len() > 40, "the table of keys is written differently: {names:?}");
    names
}

/// Returns all names as they are written in a URL.
fn names() -> Vec<String> {
    let options = PoolOptions::NAMES.iter().map(|name| format!("pool_{name}"));
    keys().into_iter().map(str::to_owned).chain(options).collect()
}

/// Values of which each setting refuses some.
fn values() -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        " ",
        "0",
        "1",
        "-1",
        "2.5",
        "1e400",
        "NaN",
        "none",
        "true",
        "off",
        "'",
        "\\",
        "\"",
        "%",
        "a\0b",
        "a\nb",
        "\u{202e}\u{0}",
        "é,é",
        ",",
        "/",
        "@",
        "[",
        "::1%",
        "4294967295",
        "4294967296",
        "99999999999999999999999",
        "18446744073709551615ms",
        "fixed:0",
        "share:NaN",
        "0s/0s/0",
    ]
    .map(str::to_owned)
    .into();
    all.extend([MARKER.to_owned(), MARKER.repeat(10_000)]);
    all
}

/// Values of which each driver gets some, as it has them from the settings.
fn accepted_values() -> Vec<String> {
    let mut all: Vec<String> = ["0", "1", "'", "é,é", "/", "true", "127", "4294967295", "/no/file"]
        .map(str::to_owned)
        .into();
    all.extend([MARKER.to_owned(), MARKER.repeat(5_000)]);
    all
}

/// Fails unless the error is about the configuration, names the setting, and shows no value.
fn assert_clear(error: &Error, name: &str, value: &str) {
    let (text, debug) = (error.to_string(), format!("{error:?} {error:#?}"));
    let shown: String = value.chars().take(40).collect();
    assert_eq!(error.kind(), ErrorKind::Config, "{name}={shown}: {text}");
    assert!(text.contains(name.strip_prefix("pool_").unwrap_or(name)), "{name}={shown}: {text}");
    let may_show = FILES.contains(&name);
    let is_shown = text.contains(MARKER) || debug.contains(MARKER);
    assert!(may_show || !is_shown, "{name}: {text} {debug}");
    assert!(!text.contains(['\n', '\0', '\u{202e}']), "{name}={shown}: {text:?}");
    assert!(text.len() < 5_000, "{name}={shown}: {text}");
}

fn nobody(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
    Err(io::Error::other("no such host is known"))
}

/// Uses a driver whose settings were accepted; whatever happens is no panic. Returns whether
/// it could connect.
fn use_driver<D: Driver>(driver: Result<D, Error>, name: &str, value: &str) -> bool {
    let pool = driver.and_then(|driver| {
        let builder = Pool::builder().checkout_timeout(Duration::from_secs(5));
        builder.connect_timeout(Duration::from_secs(5)).build_lazy(driver)
    });
    let pool = match pool {
        Ok(pool) => pool,
        Err(error) => {
            assert_clear(&error, name, value);
            return false;
        }
    };
    let got = pool.get().map(drop);
    if let Err(error) = &got {
        let text = error.to_string();
        assert!(!text.contains("panicked"), "{name}: {text}");
        assert!(!text.contains(['\n', '\0']), "{name}: {text:?}");
    }
    assert_eq!(pool.snapshot().panics, 0, "{name}");
    got.is_ok()
}

/// Uses settings with the driver that they are for.
fn use_settings(settings: &Settings, system: System, name: &str, value: &str) -> bool {
    match system {
        System::Postgres => {
            let driver = Postgres::from_settings(settings);
            use_driver(driver.map(|driver| driver.with_resolver(nobody)), name, value)
        }
        System::MySql => {
            let driver = MySql::from_settings(settings);
            use_driver(driver.map(|driver| driver.with_resolver(nobody)), name, value)
        }
        #[cfg(feature = "sqlite")]
        System::Sqlite => use_driver(poolwarden::Sqlite::from_settings(settings), name, value),
        _ => false,
    }
}

/// Returns the settings of a URL that leads to a server; each system's, with what must be
/// absent from it for a key to be set.
fn bases(urls: &str) -> Vec<(System, Settings)> {
    let settings = urls.lines().map(|url| Settings::parse(url).expect("a good URL"));
    settings.map(|settings| (settings.system().expect("a scheme"), settings)).collect()
}

/// Returns the URLs of a fresh database of each server that is installed.
fn urls() -> String {
    let mut urls = vec!["sqlite::memory:".to_owned()];
    if support::postgres::available() {
        let server = support::postgres::shared();
        urls.push(server.url("postgres", "postgres"));
    }
    if support::mariadb::available() {
        urls.push(support::mariadb::shared().url(""));
    }
    urls.join("\n")
}

#[test]
fn a_bad_value_of_any_key_or_option_is_an_error_that_names_it_and_no_driver_panics() {
    without_panics(urls, |urls| {
        // SQLite creates a file at any path.
        let folder = tempfile::tempdir().expect("a folder");
        std::env::set_current_dir(&folder).expect("the child is alone");
        for (system, base) in bases(urls) {
            let mut connected = 0;
            for name in names() {
                for value in accepted_values() {
                    let escaped = value.replace('\\', r"\\").replace('\'', r"\'");
                    match Settings::parse(&format!("{name}='{escaped}'")) {
                        Err(error) => assert_clear(&error, &name, &value),
                        Ok(settings) => {
                            let settings = settings.or(base.clone());
                            connected += u32::from(use_settings(&settings, system, &name, &value));
                        }
                    }
                }
            }
            assert!(connected > 20, "{system}: only {connected} connections");
        }
    });
}

#[test]
fn each_source_of_settings_refuses_the_same_values_and_names_the_setting() {
    let percent = |value: &str| value.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for name in names() {
        let bare = name.strip_prefix("pool_").unwrap_or(&name);
        let variable = match bare {
            "name" => "A_POOL_NAME".to_owned(),
            other => format!("A_{}", other.to_uppercase()),
        };
        for value in values() {
            let encoded: String = percent(&value);
            let url = Settings::parse(&format!("postgres://h?{name}={encoded}"));
            let file = Settings::default();
            let file = {
                let mut file = file;
                file.set(bare, &value).map(|()| file)
            };
            let environment = Settings::from_lookup("A", |asked| {
                (asked == variable).then(|| OsString::from(&value))
            });
            for (source, refused) in [("url", url.err()), ("file", file.err())] {
                if let Some(error) = &refused {
                    assert_clear(error, &name, &value);
                }
                assert!(!value.is_empty() || refused.is_some(), "{source}: {name} is empty");
            }
            // There an empty value is none.
            if let Err(error) = environment {
                assert_clear(&error, &variable, &value);
            }
        }
    }
}

#[test]
fn a_setting_given_twice_or_in_bytes_that_are_no_text_is_refused_by_its_name() {
    for name in names() {
        for text in [format!("{name}=1 {name}=1"), format!("postgres://h?{name}=1&{name}=1")] {
            if let Err(error) = Settings::parse(&text) {
                assert_clear(&error, &name, "1");
            } else {
                panic!("{text} is accepted");
            }
        }
        let error = Settings::parse(&format!("postgres://h?{name}=%ff")).expect_err(&name);
        assert_clear(&error, &name, MARKER);
        let bare = name.strip_prefix("pool_").unwrap_or(&name);
        let variable = match bare {
            "name" => "A_POOL_NAME".to_owned(),
            other => format!("A_{}", other.to_uppercase()),
        };
        let bytes = [MARKER.as_bytes(), b"\xff"].concat();
        let read = Settings::from_lookup("A", |asked| {
            (asked == variable).then(|| OsString::from_vec(bytes.clone()))
        });
        // `ssl` has no variable of its own.
        match read {
            Err(error) => assert_clear(&error, &variable, MARKER),
            Ok(_) => assert_eq!(name, "ssl"),
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_value_of_the_wrong_type_in_a_file_is_refused_by_its_name() {
    use serde_json::{Value, json};
    let wrong = [json!([MARKER]), json!({ MARKER: MARKER }), json!([]), json!(-1), json!(1e300)];
    for name in names() {
        let bare = name.strip_prefix("pool_").unwrap_or(&name);
        for value in &wrong {
            let map = json!({ bare: value });
            let is_plain = !matches!(value, Value::Array(_) | Value::Object(_));
            match serde_json::from_value::<Settings>(map) {
                Ok(_) => assert!(is_plain, "{bare}: {value}"),
                Err(error) => {
                    let text = format!("{error} {error:?}");
                    assert!(text.contains(bare) && !text.contains(MARKER), "{bare}: {text}");
                }
            }
        }
    }
}
