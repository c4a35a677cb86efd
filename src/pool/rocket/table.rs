//! The table `databases.NAME` of Rocket's configuration.

use crate::config::settings::Settings;
use crate::error::Error;
use ::rocket::figment::value::{Dict, Value};
use ::rocket::{Build, Rocket};
use rocket_sync_db_pools::Config;

/// Rocket's own names, and the options that they stand for.
const NAMES: [(&str, &str); 2] = [("pool_size", "max_size"), ("timeout", "checkout_timeout")];

/// What Rocket's configuration has of one database.
pub(super) struct Table {
    name: String,
    /// Without Rocket's own names.
    keys: Dict,
    /// The values under Rocket's own names.
    own: Vec<(&'static str, &'static str, Value)>,
}

impl Table {
    /// Reads the table of a database.
    pub(super) fn read(name: &str, rocket: &Rocket<Build>) -> Result<Table, Error> {
        let path = format!("databases.{name}");
        let value = rocket.figment().find_value(&path).map_err(|_| {
            let text = "not in Rocket's configuration; it needs a url at least";
            Error::config(format!("{path}: {text}"))
        })?;
        let mut keys = value.into_dict().ok_or_else(|| {
            let text = "expected a table with a url, keys and options (the value is not shown)";
            Error::config(format!("{path}: {text}"))
        })?;
        let own = NAMES
            .iter()
            .filter_map(|(own, option)| Some((*own, *option, keys.remove(*own)?)))
            .collect();
        Ok(Table { name: name.to_owned(), keys, own })
    }

    /// Returns the settings for a pool of this crate, which takes both names of an option.
    pub(super) fn settings(self) -> Result<Settings, Error> {
        let mut keys = self.keys;
        for (own, option, value) in self.own {
            if keys.contains_key(option) {
                let text = format!("{own} and {option} are both set; set only one");
                return Err(in_table(&self.name, &text));
            }
            keys.insert(option.to_owned(), value);
        }
        parse(&self.name, keys)
    }

    /// Returns the settings for a pool of r2d2 that Rocket limits by its own two values.
    pub(super) fn settings_beside(self, config: &Config) -> Result<Settings, Error> {
        let settings = parse(&self.name, self.keys)?;
        for (own, option) in NAMES {
            if settings.options().is_set(option) {
                let text = format!(
                    "{option}: Rocket limits the pool of #[database] by {own}; set {own} instead"
                );
                return Err(in_table(&self.name, &text));
            }
        }
        let mut keys = Dict::new();
        keys.insert("max_size".into(), config.pool_size.into());
        keys.insert("checkout_timeout".into(), config.timeout.into());
        Ok(parse(&self.name, keys)?.or(settings))
    }
}

fn parse(name: &str, keys: Dict) -> Result<Settings, Error> {
    let value = Value::from(keys);
    // Not the error's own Display, which adds where the value is from in figment's words.
    value.deserialize().map_err(|error| in_table(name, &error.kind.to_string()))
}

fn in_table(name: &str, text: &str) -> Error {
    Error::config(format!("databases.{name}: {text}"))
}
