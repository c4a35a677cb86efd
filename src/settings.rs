//! What a URL, a list of keys, an environment or a file says about a database and
//! its pool: one parser for all of them. Pure policy: only the thin entry points
//! for the environment touch the process.
//!
//! Every form comes down to keys with values as text, checked on the way in
//! against one table. No error shows a value, nor a key that may be part of a
//! password which was not escaped.

mod environment;
mod form;
mod hints;
mod keys;
mod pairs;
mod percent;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod places;
#[cfg(feature = "serde")]
mod serial;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod tls;
mod url;

#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use places::Place;

use crate::config::{Knobs, Plain};
use crate::driver::Driver;
use crate::error::Error;
use crate::secret::Secret;
use keys::{Found, Key};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum System {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            System::Postgres => "PostgreSQL",
            System::MySql => "MySQL and MariaDB",
            System::Sqlite => "SQLite",
        })
    }
}

/// Where a database is, who connects, and the knobs of its pool: whatever a URL,
/// a list of keys, an environment or a file said of it.
///
/// A driver is made of it by [`FromSettings`], and [`Pool::connect`] does both
/// steps at once. The README lists all keys.
///
/// ```
/// use poolwarden::{Settings, System};
///
/// let url = "postgres://app:hunter2@db1:5432,db2/orders?sslmode=require&pool_max_size=8";
/// let settings: Settings = url.parse()?;
/// assert_eq!(settings.system(), Some(System::Postgres));
/// assert_eq!(settings.knobs().max_size, Some(8));
/// assert!(!format!("{settings:?}").contains("hunter2"));
/// # Ok::<(), poolwarden::Error>(())
/// ```
///
/// [`Pool::connect`]: crate::Pool::connect
#[derive(Clone, Default, PartialEq)]
pub struct Settings {
    system: Option<System>,
    /// By the key's own name; all secret, because nothing here tells a password
    /// from a host that was put in the wrong place.
    values: BTreeMap<&'static str, Secret>,
    knobs: Knobs,
}

/// A driver that can be made of [`Settings`].
pub trait FromSettings: Driver + Sized {
    /// Makes the driver. The settings' knobs become the defaults of its pools.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): the settings are another system's,
    /// name no host, or contradict themselves.
    fn from_settings(settings: &Settings) -> Result<Self, Error>;
}

/// How keys are written: a URL marks the pool's own by `pool_`, a file or an
/// environment of its own for one pool does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Marked,
    Bare,
}

/// One key with its value as they were written, percent-encoding undone.
struct Given {
    key: String,
    value: String,
    /// False if the key may be part of a password that was not escaped.
    may_be_shown: bool,
}

impl Settings {
    /// Reads a URL (`postgres://`, `postgresql://`, `mysql://`, `mariadb://`,
    /// `sqlite:`) or a list of keys (`host=… user=…`, with libpq's rules for quotes).
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), naming the key, and never showing a
    /// value.
    pub fn parse(text: &str) -> Result<Settings, Error> {
        let (form, read) = match url::split(text) {
            Ok(Some((system, given))) => ("connection URL", Ok((Some(system), given))),
            Ok(None) => ("connection string", pairs::read(text).map(|given| (None, given))),
            Err(what) => ("connection URL", Err(what)),
        };
        let within = |what: String| Error::config(format!("{form}: {what}"));
        let (system, given) = read.map_err(within)?;
        let mut settings = Settings { system, ..Settings::default() };
        for one in given {
            settings.put(&one, Style::Marked).map_err(within)?;
        }
        Ok(settings)
    }

    /// Sets one key, as a file has it: the knobs' names without `pool_`.
    ///
    /// Replaces an earlier value.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): there is no such key, or the value is
    /// not one of its. The value is not shown.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let mut one = Settings::default();
        let given = Given { key: key.to_owned(), value: value.to_owned(), may_be_shown: true };
        one.put(&given, Style::Bare).map_err(Error::config)?;
        *self = one.or(std::mem::take(self));
        Ok(())
    }

    /// Fills what is not said here with what the other says, key by key.
    #[must_use]
    pub fn or(mut self, other: Settings) -> Settings {
        self.system = self.system.or(other.system);
        for (key, value) in other.values {
            self.values.entry(key).or_insert(value);
        }
        let mut knobs = other.knobs;
        knobs.overlay(&self.knobs);
        self.knobs = knobs;
        self
    }

    /// Returns the kind of database, if a URL's scheme said it.
    pub fn system(&self) -> Option<System> {
        self.system
    }

    /// Returns the knobs of the pool.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    fn put(&mut self, given: &Given, style: Style) -> Result<(), String> {
        match keys::find(&given.key, style) {
            Found::Knob(name) => self.turn(&given.key, name, &given.value),
            Found::Key(key) => self.say(&given.key, key, &given.value),
            Found::Refused(reason) => Err(format!("{}: {reason}", given.key)),
            Found::Unknown if given.may_be_shown => Err(hints::unknown(&given.key, style)),
            Found::Unknown => Err(hints::UNSHOWN.to_owned()),
        }
    }

    /// Turns a knob, once. `shown` is its name as the user wrote it.
    fn turn(&mut self, shown: &str, name: &str, value: &str) -> Result<(), String> {
        if self.knobs.is_set(name) {
            return Err(format!("{shown}: given twice"));
        }
        if value.is_empty() {
            return Err(format!("{shown}: empty; leave it out"));
        }
        self.knobs.read(name, value).map(drop).map_err(|form| format!("{shown}: not {form}"))
    }

    /// Takes a key's value, once. `shown` is the key as the user wrote it.
    fn say(&mut self, shown: &str, key: &'static Key, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("{shown}: empty; leave it out"));
        }
        let value = key.form.check(value).map_err(|what| format!("{shown}: {what}"))?;
        match self.values.insert(key.stored_as(), Secret::new(value)) {
            None => Ok(()),
            Some(_) => Err(format!("{shown}: given twice")),
        }
    }
}

/// What the drivers read out. Each value was checked when it came in.
impl Settings {
    /// Refuses what was said for another system.
    pub(crate) fn must_suit(&self, system: System) -> Result<(), Error> {
        if let Some(other) = self.system.filter(|own| *own != system) {
            let text = format!("the connection URL is one of {other}, not of {system}");
            return Err(Error::config(text));
        }
        for name in self.values.keys() {
            let systems = keys::systems_of(name);
            if !systems.contains(&system) {
                let other = systems.first().map_or_else(String::new, System::to_string);
                return Err(Error::config(format!("{name}: a key of {other}, not of {system}")));
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

    pub(crate) fn value<T: Plain>(&self, key: &str) -> Option<T> {
        self.text(key).and_then(T::read)
    }

    /// A time in libpq's whole seconds; 0 and less are "as if not given".
    pub(crate) fn seconds(&self, key: &str) -> Option<Duration> {
        self.value(key).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// The knobs, with what other keys say of them: libpq's `connect_timeout` is a
    /// bound for each host, so for all of them it is so many times as long.
    pub(crate) fn all_knobs(&self, hosts: usize) -> Result<Knobs, Error> {
        let mut knobs = self.knobs.clone();
        if let (None, Some(each)) = (knobs.connect_timeout, self.seconds("connect_timeout")) {
            let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
            knobs.connect_timeout = Some(each.saturating_mul(hosts));
        }
        knobs.check()?;
        Ok(knobs)
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
                true => out.field(key, &format_args!("{}", value.expose())),
                false => out.field(key, &format_args!("***")),
            };
        }
        out.field("knobs", &self.knobs).finish()
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
