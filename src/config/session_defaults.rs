//! The settings with which every session of a pool begins.

use super::isolation_level::IsolationLevel;
use crate::error::Error;

/// The settings with which every session of a pool begins; what is not set is the
/// server's default.
///
/// A pool's options of these names, for [`Driver`](crate::driver::Driver) implementations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionDefaults {
    /// The isolation level of transactions.
    pub isolation: Option<IsolationLevel>,
    /// Whether transactions are read-only.
    pub read_only: Option<bool>,
    /// The schema in which names are looked up; on MySQL and MariaDB the database.
    pub schema: Option<String>,
    /// The time zone.
    pub time_zone: Option<String>,
}

impl SessionDefaults {
    /// Returns the names of the options that are set.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let names = [
            ("isolation", self.isolation.is_some()),
            ("read_only", self.read_only.is_some()),
            ("schema", self.schema.is_some()),
            ("time_zone", self.time_zone.is_some()),
        ];
        names.into_iter().filter_map(|(name, is_set)| is_set.then_some(name))
    }

    /// Returns `true` if none is set.
    pub fn is_empty(&self) -> bool {
        self.names().next().is_none()
    }

    /// Refuses values that cannot be names.
    pub(super) fn check(&self) -> Result<(), Error> {
        let schema = self.schema.as_deref();
        if schema.is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
            return Err(Error::config("schema must be a name, without control characters"));
        }
        let is_of_zone = |letter: char| letter.is_ascii_alphanumeric() || "+-:/_".contains(letter);
        let zone = self.time_zone.as_deref();
        if zone.is_some_and(|zone| zone.is_empty() || !zone.chars().all(is_of_zone)) {
            return Err(Error::config(
                "time_zone must be a name such as UTC or Europe/Paris, or an offset such as +02:00",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(schema: &str, zone: &str) -> bool {
        let (schema, time_zone) = (Some(schema.to_owned()), Some(zone.to_owned()));
        SessionDefaults { schema, time_zone, ..SessionDefaults::default() }.check().is_ok()
    }

    #[test]
    fn a_schema_may_be_any_name_and_a_time_zone_only_what_needs_no_quotes() {
        assert!(checked("app", "Etc/GMT+7") && checked("a \"b\" `c`", "-03:30"));
        assert!(!checked("", "UTC") && !checked("a\0b", "UTC"));
        assert!(!checked("app", "") && !checked("app", "UTC'; drop table t --"));
    }

    #[test]
    fn the_names_of_what_is_set_are_those_of_the_options() {
        let mut defaults = SessionDefaults::default();
        assert!(defaults.is_empty());
        (defaults.read_only, defaults.schema) = (Some(false), Some("app".into()));
        assert_eq!(defaults.names().collect::<Vec<_>>(), ["read_only", "schema"]);
        assert!(defaults.names().all(|name| crate::PoolOptions::NAMES.contains(&name)));
    }
}
