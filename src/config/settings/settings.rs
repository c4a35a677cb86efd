//! Connection settings and pool options, by key.
//!
//! No error shows a value, nor a key that may be part of an unescaped password.

use super::key_value::{KeyValue, Style};
use super::keys::{Found, Key};
use super::system::System;
use super::url;
use super::{conninfo, keys, suggestions};
use crate::config::options::PoolOptions;
use crate::config::text_value::TextValue;
use crate::error::Error;
use crate::sys::one_line::one_line;
use crate::sys::secret::Secret;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The server, the user, the database and the pool options: from a URL, a connection
/// string, the environment or a file.
///
/// [`FromSettings`](crate::driver::FromSettings) creates a driver from it, and [`Pool::connect`]
/// a pool. The README lists all keys.
///
/// ```
/// use poolwarden::Settings;
/// use poolwarden::config::System;
///
/// let url = "postgres://app:hunter2@db1:5432,db2/orders?sslmode=require&pool_max_size=8";
/// let settings: Settings = url.parse()?;
/// assert_eq!(settings.system(), Some(System::Postgres));
/// assert_eq!(settings.options().max_size, Some(8));
/// assert!(!format!("{settings:?}").contains("hunter2"));
/// # Ok::<(), poolwarden::Error>(())
/// ```
///
/// [`Pool::connect`]: crate::Pool::connect
#[derive(Clone, Default, PartialEq)]
pub struct Settings {
    pub(super) system: Option<System>,
    /// By the key's own name; all secret, because any value may be a misplaced password.
    pub(super) values: BTreeMap<&'static str, Secret>,
    pub(super) options: PoolOptions,
}

impl Settings {
    /// Parses a URL (`postgres://`, `postgresql://`, `mysql://`, `mariadb://`, `sqlite:`)
    /// or a connection string (`host=… user=…`, with libpq's quoting rules).
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), naming the key, and never showing a
    /// value.
    pub fn parse(text: &str) -> Result<Settings, Error> {
        let (format, parsed) = match url::split(text) {
            Ok(Some((system, pairs))) => ("connection URL", Ok((Some(system), pairs))),
            Ok(None) => ("connection string", conninfo::parse(text).map(|pairs| (None, pairs))),
            Err(mistake) => ("connection URL", Err(mistake)),
        };
        let error = |mistake: String| Error::config(format!("{format}: {mistake}"));
        let (system, pairs) = parsed.map_err(error)?;
        let mut settings = Settings { system, ..Settings::default() };
        for pair in pairs {
            settings.put(&pair, Style::Prefixed).map_err(error)?;
        }
        Ok(settings)
    }

    /// Sets one key, as in a file: the options' names have no `pool_`.
    ///
    /// Replaces an earlier value.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): there is no such key, or the value is
    /// invalid. The value is not shown.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let mut one = Settings::default();
        let pair = KeyValue { key: key.to_owned(), value: value.to_owned(), may_be_shown: true };
        one.put(&pair, Style::Bare).map_err(Error::config)?;
        *self = one.or(std::mem::take(self));
        Ok(())
    }

    /// Returns these settings, with unset keys filled from the others.
    #[must_use]
    pub fn or(mut self, other: Settings) -> Settings {
        self.system = self.system.or(other.system);
        for (key, value) in other.values {
            self.values.entry(key).or_insert(value);
        }
        let mut options = other.options;
        options.overlay(&self.options);
        self.options = options;
        self
    }

    /// Returns the kind of database, if a URL's scheme sets it.
    pub fn system(&self) -> Option<System> {
        self.system
    }

    /// Returns the options of the pool.
    pub fn options(&self) -> &PoolOptions {
        &self.options
    }

    pub(super) fn put(&mut self, pair: &KeyValue, style: Style) -> Result<(), String> {
        match keys::find(&pair.key, style) {
            Found::Option(name) => self.set_option(&pair.key, name, &pair.value),
            Found::Key(key) => self.set_key(&pair.key, key, &pair.value),
            Found::Refused(reason) => Err(format!("{}: {reason}", pair.key)),
            Found::Unknown if pair.may_be_shown => Err(suggestions::unknown(&pair.key, style)),
            Found::Unknown => Err(suggestions::UNSHOWN.to_owned()),
        }
    }

    /// Sets an option, once. `shown` is its name as the user wrote it.
    pub(super) fn set_option(
        &mut self,
        shown: &str,
        name: &str,
        value: &str,
    ) -> Result<(), String> {
        if self.options.is_set(name) {
            return Err(format!("{shown}: set twice"));
        }
        if value.is_empty() {
            return Err(format!("{shown}: empty value; omit the key instead"));
        }
        let set = self.options.parse_and_set(name, value);
        set.map(drop).map_err(|expected| format!("{shown}: expected {expected}"))
    }

    /// Sets a key, once. `shown` is the key as the user wrote it.
    pub(super) fn set_key(
        &mut self,
        shown: &str,
        key: &'static Key,
        value: &str,
    ) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("{shown}: empty value; omit the key instead"));
        }
        let value = key.value_type.check(value).map_err(|mistake| format!("{shown}: {mistake}"))?;
        match self.values.insert(key.stored_as(), Secret::new(value)) {
            None => Ok(()),
            Some(_) => Err(format!("{shown}: set twice")),
        }
    }
}

/// What the drivers read. Each value was checked when it was set.
impl Settings {
    /// Rejects settings for another system.
    pub(crate) fn must_suit(&self, system: System) -> Result<(), Error> {
        if let Some(other) = self.system.filter(|own| *own != system) {
            let text = format!("the connection URL is for {other}, not for {system}");
            return Err(Error::config(text));
        }
        for name in self.values.keys() {
            let systems = keys::systems_of(name);
            if !systems.contains(&system) {
                let other = systems.first().map_or_else(String::new, System::to_string);
                return Err(Error::config(format!("{name}: a key for {other}, not for {system}")));
            }
        }
        Ok(())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.secret(key).map(Secret::expose)
    }

    pub(crate) fn secret(&self, key: &str) -> Option<&Secret> {
        self.values.get(key)
    }

    pub(crate) fn value<T: TextValue>(&self, key: &str) -> Option<T> {
        self.text(key).and_then(T::parse)
    }

    /// Returns a time in whole seconds; as in libpq, 0 and less mean unset.
    pub(crate) fn seconds(&self, key: &str) -> Option<Duration> {
        self.value(key).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// Returns the options, with those that other keys imply: libpq's `connect_timeout`
    /// applies to each host, so the timeout for all hosts is a multiple of it.
    pub(crate) fn all_options(&self, hosts: usize) -> Result<PoolOptions, Error> {
        let mut options = self.options.clone();
        if let (None, Some(each)) = (options.connect_timeout, self.seconds("connect_timeout")) {
            let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
            options.connect_timeout = Some(each.saturating_mul(hosts));
        }
        options.check()?;
        Ok(options)
    }
}

impl FromStr for Settings {
    type Err = Error;

    fn from_str(text: &str) -> Result<Settings, Error> {
        Settings::parse(text)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Settings");
        if let Some(system) = self.system {
            out.field("system", &system);
        }
        for (key, value) in &self.values {
            match keys::is_public(key) {
                true => out.field(key, &format_args!("{}", one_line(value.expose()))),
                false => out.field(key, &format_args!("***")),
            };
        }
        out.field("options", &self.options).finish()
    }
}
