//! The entry points of the fuzz targets in `tests/fuzz`.

use super::{Settings, System};
use crate::error::Error;

/// Parses a text as settings; returns every error of the parser, or of the drivers that
/// read the settings.
pub fn settings_errors(text: &str) -> Vec<Error> {
    let settings = match Settings::parse(text) {
        Ok(settings) => settings,
        Err(error) => return vec![error],
    };
    let _ = format!("{settings:?}");
    let mut errors: Vec<Error> = settings.all_options(1).err().into_iter().collect();
    for system in [System::Postgres, System::MySql, System::Sqlite] {
        errors.extend(settings.must_suit(system).err());
    }
    errors.extend([settings.endpoints(1).err(), settings.tls().err()].into_iter().flatten());
    errors
}

/// Returns the parsed value of a key.
pub fn setting(settings: &Settings, key: &str) -> Option<String> {
    settings.text(key).map(str::to_owned)
}
