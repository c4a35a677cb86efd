//! The options that have a plain value, each set or unset.

use super::defaults::{
    DEFAULT_BYTE_LIMIT, DEFAULT_CANCEL_TIMEOUT, DEFAULT_CHECKOUT_TIMEOUT, DEFAULT_CLOSE_GRACE,
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_LIFETIME_JITTER, DEFAULT_MAX_LIFETIME,
    DEFAULT_MAX_SIZE, DEFAULT_PING_AFTER, DEFAULT_PING_TIMEOUT, DEFAULT_ROW_LIMIT,
    DEFAULT_STATEMENT_CACHE, DEFAULT_TCP_USER_TIMEOUT,
};
use super::fleet_cap::FleetCap;
use super::isolation_level::IsolationLevel;
use super::reset::Reset;
use super::role::Role;
use super::size_policy::SizePolicy;
use super::tcp::Keepalive;
use super::text_value::TextValue;
use super::validation::Validation;
use crate::error::Error;
use crate::sys::one_line::one_line;
use std::fmt;
use std::time::Duration;

/// Generates, from one table, the struct and everything that lists all options by name.
///
/// Each line is an option's name, the type of its value, the type in which a pool has it where
/// that differs, its default, and the check of its range where all of its kind have the same.
macro_rules! options {
    ($($(#[$doc:meta])*
       $name:ident: $type:ty $(=> $config:ty)? = $default:expr $(, $check:ident)?;)*) => {
        /// The options of a pool that have a plain value; `None` leaves an option unset.
        ///
        /// Effect, range and default of each are documented at the method of the same
        /// name of [`Builder`](crate::Builder). They can be read from a URL
        /// (`pool_max_size=8`), from an environment or, with the feature `serde`, from
        /// a file, and are applied by [`Builder::options`](crate::Builder::options).
        ///
        /// ```
        /// use poolwarden::PoolOptions;
        /// use std::time::Duration;
        ///
        /// let mut options = PoolOptions::default();
        /// options.set("max_lifetime", "5m")?;
        /// options.max_size = Some(8);
        /// assert_eq!(options.max_lifetime, Some(Some(Duration::from_secs(300))));
        /// assert_eq!(format!("{options:?}"), "PoolOptions { max_size: 8, max_lifetime: 300s }");
        /// # Ok::<(), poolwarden::Error>(())
        /// ```
        #[derive(Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct PoolOptions {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        /// All options of one pool or manager.
        #[derive(Clone, Debug)]
        pub(crate) struct Config {
            $(pub(crate) $name: config_type!($type $(=> $config)?),)*
            pub(crate) max_size_is_chosen: bool,
        }

        impl Default for Config {
            fn default() -> Config {
                Config { $($name: $default,)* max_size_is_chosen: false }
            }
        }

        impl Config {
            /// Rejects values out of the ranges that the table names.
            pub(super) fn check_ranges(&self) -> Result<(), Error> {
                $($($check(stringify!($name), self.$name)?;)?)*
                Ok(())
            }

            #[cfg(test)]
            fn debug_texts(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($name), format!("{:?}", self.$name))),*]
            }
        }

        impl PoolOptions {
            /// The names of all options.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Sets an option by its name; returns `false` if there is no such option.
            ///
            /// # Errors
            ///
            /// The expected form of the value.
            pub(crate) fn parse_and_set(
                &mut self,
                name: &str,
                text: &str,
            ) -> Result<bool, &'static str> {
                match name {
                    $(stringify!($name) => {
                        let value = <$type as TextValue>::parse(text);
                        self.$name = Some(value.ok_or(<$type as TextValue>::EXPECTED)?);
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Returns the options that are set, as text.
            pub(crate) fn to_texts(&self) -> Vec<(&'static str, String)> {
                let all = [$((stringify!($name), self.$name.as_ref().map(TextValue::to_text))),*];
                all.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
            }

            /// Overrides the options that the other sets.
            pub(crate) fn overlay(&mut self, other: &PoolOptions) {
                $(if other.$name.is_some() {
                    self.$name.clone_from(&other.$name);
                })*
            }

            pub(crate) fn is_set(&self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => self.$name.is_some(),)*
                    _ => false,
                }
            }

            fn apply(&self, config: &mut Config) {
                $(if let Some(value) = &self.$name {
                    config.$name = value.clone().into();
                })*
                config.max_size_is_chosen |= self.max_size.is_some();
            }
        }
    };
}

/// The type in which a pool has an option: the option's own, unless the table names another.
macro_rules! config_type {
    ($type:ty) => {
        $type
    };
    ($type:ty => $config:ty) => {
        $config
    };
}

options! {
    /// Largest number of open connections.
    max_size: u32 = DEFAULT_MAX_SIZE;
    /// Connections kept idle without demand.
    min_idle: u32 = 0;
    /// How long a check-out waits at most.
    checkout_timeout: Duration = DEFAULT_CHECKOUT_TIMEOUT, check_time;
    /// How long opening one connection may take.
    connect_timeout: Duration = DEFAULT_CONNECT_TIMEOUT, check_time;
    /// How long a connection lives at most; `Some(None)` is no limit.
    max_lifetime: Option<Duration> = Some(DEFAULT_MAX_LIFETIME), check_time;
    /// Largest share by which a connection's lifetime is shortened.
    lifetime_jitter: f64 = DEFAULT_LIFETIME_JITTER;
    /// How long a connection may idle; `Some(None)` is no limit.
    idle_timeout: Option<Duration> = Some(DEFAULT_IDLE_TIMEOUT), check_time;
    /// Idle time after which a check-out pings; `Some(None)` is never.
    ping_after: Option<Duration> = Some(DEFAULT_PING_AFTER);
    /// How long one ping may take.
    ping_timeout: Duration = DEFAULT_PING_TIMEOUT, check_time;
    /// How often an idle connection is pinged in the background; `Some(None)` is never.
    keepalive_ping: Option<Duration> = None, check_time;
    /// How an idle connection is checked: `peek`, `always-ping`, `watch` or `off`.
    validation: Validation = Validation::Peek;
    /// How a session is reset: `auto`, `none` or `full`.
    reset: Reset = Reset::Auto;
    /// The isolation level of transactions: `read-uncommitted`, `read-committed`,
    /// `repeatable-read` or `serializable`.
    isolation: IsolationLevel => Option<IsolationLevel> = None;
    /// Whether transactions are read-only.
    read_only: bool => Option<bool> = None;
    /// The schema of every session; on MySQL and MariaDB the database.
    schema: String => Option<String> = None;
    /// The time zone of every session.
    time_zone: String => Option<String> = None;
    /// Which servers are used: `any`, `writable` or `standby`.
    role: Role = Role::Any;
    /// Rows that one of the pool's own queries returns at most; `Some(None)` is no
    /// limit.
    row_limit: Option<usize> = Some(DEFAULT_ROW_LIMIT);
    /// Bytes that one of the pool's own queries returns at most; `Some(None)` is no
    /// limit.
    byte_limit: Option<usize> = Some(DEFAULT_BYTE_LIMIT);
    /// Prepared statements that each PostgreSQL connection keeps for the pool's own
    /// queries; 0 is off.
    statement_cache: usize = DEFAULT_STATEMENT_CACHE;
    /// Callers that may wait at a time; `Some(None)` is no limit.
    max_waiting: Option<u32> = None;
    /// How long a closed connection keeps its permit until the server confirms.
    close_grace: Duration = DEFAULT_CLOSE_GRACE, check_time;
    /// How the effective max size is computed: `fixed:20`, `share:0.25` or `instances:4`.
    size_policy: SizePolicy => Option<SizePolicy> = None;
    /// The cap on the connections of several processes: `orders:30`.
    fleet_cap: FleetCap => Option<FleetCap> = None;
    /// Whether an option above the server's limits is an error.
    strict_limits: bool = false;
    /// Whether the server's limits are read.
    read_server_limits: bool = true;
    /// Idle time after which a proxy in between closes; `Some(None)` is no proxy.
    proxy_idle_timeout: Option<Duration> = None, check_time;
    /// Age at which a proxy in between closes; `Some(None)` is no proxy.
    proxy_max_lifetime: Option<Duration> = None, check_time;
    /// How long a statement may run; `Some(None)` is no limit.
    statement_timeout: Option<Duration> = None, check_time;
    /// How long a request to cancel a statement may take.
    cancel_timeout: Duration = DEFAULT_CANCEL_TIMEOUT, check_time;
    /// When the kernel probes an idle connection, `30s/10s/3`; `Some(None)` is the
    /// system's default.
    keepalive: Option<Keepalive> = Some(Keepalive::default());
    /// How long sent data may stay unacknowledged; `Some(None)` is the system's default.
    tcp_user_timeout: Option<Duration> = Some(DEFAULT_TCP_USER_TIMEOUT);
    /// Whether the pool may block threads that drive an async runtime.
    allow_async_threads: bool = false;
    /// How long a caller may hold a connection before that is logged; `Some(None)` is never.
    held_warning: Option<Duration> = None, check_time;
    /// One in how many check-outs of a connection records its calls for `held_warning`; 0 is
    /// none.
    held_backtrace: u32 = 0;
    /// How long a check-out may take before that is logged; `Some(None)` is never.
    slow_checkout: Option<Duration> = None, check_time;
    /// How long a statement may take before that is logged; `Some(None)` is never.
    slow_statement: Option<Duration> = None, check_time;
    /// The pool's name.
    name: String => Option<String> = None;
}

/// Rejects a time that is shorter than a millisecond or longer than a year.
fn check_time(option: &str, value: impl Into<Option<Duration>>) -> Result<(), Error> {
    let range = Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 3600);
    match value.into() {
        Some(value) if !range.contains(&value) => {
            Err(Error::config(format!("{option} {value:?} must be from 1ms to one year")))
        }
        _ => Ok(()),
    }
}

impl PoolOptions {
    /// Sets an option by its name from a text, in the format of a URL or a file.
    ///
    /// Times are `500ms`, `30s`, `5m`, `1h` or whole seconds; an option that
    /// can be off is switched off by `none` or `off`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): there is no such option, or the text is
    /// not a value of it. The text is not shown. Ranges are checked when the pool is
    /// built.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match self.parse_and_set(name, value) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::config("no option of that name")),
            Err(expected) => Err(Error::config(format!("{name}: expected {expected}"))),
        }
    }

    /// Checks that the values are in range and do not contradict each other or the
    /// defaults.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), naming the options and their values.
    pub fn check(&self) -> Result<(), Error> {
        Config::of(&[self]).check()
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("PoolOptions");
        for (name, value) in self.to_texts() {
            out.field(name, &format_args!("{}", one_line(&value)));
        }
        out.finish()
    }
}

impl Config {
    /// Returns the defaults, overridden by these options in their order.
    pub(crate) fn of(layers: &[&PoolOptions]) -> Config {
        let mut config = Config::default();
        layers.iter().for_each(|options| options.apply(&mut config));
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_can_be_set_by_its_name_and_its_text_parses_to_the_same_value() {
        let mut options = PoolOptions::default();
        for (name, value) in [
            ("max_size", "8"),
            ("min_idle", "2"),
            ("checkout_timeout", "3s"),
            ("connect_timeout", "4s"),
            ("max_lifetime", "none"),
            ("lifetime_jitter", "0.2"),
            ("idle_timeout", "300s"),
            ("ping_after", "none"),
            ("ping_timeout", "500ms"),
            ("keepalive_ping", "45s"),
            ("validation", "always-ping"),
            ("reset", "full"),
            ("isolation", "repeatable-read"),
            ("read_only", "false"),
            ("schema", "app"),
            ("time_zone", "Europe/Paris"),
            ("role", "writable"),
            ("row_limit", "none"),
            ("byte_limit", "1000000"),
            ("statement_cache", "50"),
            ("max_waiting", "9"),
            ("close_grace", "1s"),
            ("size_policy", "share:0.5"),
            ("fleet_cap", "orders:30"),
            ("strict_limits", "true"),
            ("read_server_limits", "true"),
            ("proxy_idle_timeout", "50s"),
            ("proxy_max_lifetime", "none"),
            ("statement_timeout", "20s"),
            ("cancel_timeout", "2s"),
            ("keepalive", "20s/5s/4"),
            ("tcp_user_timeout", "15s"),
            ("allow_async_threads", "true"),
            ("held_warning", "2m"),
            ("held_backtrace", "100"),
            ("slow_checkout", "100ms"),
            ("slow_statement", "2s"),
            ("name", "orders"),
        ] {
            options.set(name, value).expect(name);
        }
        let texts = options.to_texts();
        assert_eq!(texts.len(), PoolOptions::NAMES.len(), "an option is not tested here");
        let mut copy = PoolOptions::default();
        for (name, value) in &texts {
            copy.set(name, value).expect("the text parses");
        }
        assert_eq!(copy, options);
        options.check().expect("they agree");
    }

    /// Returns a default as the guide writes it, in Rust's debug format.
    fn read(cell: &str) -> String {
        let cell = cell.split(", or ").next().unwrap_or_default().replace('`', "");
        let words: Vec<&str> = cell.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        match *words {
            ["after", idle, "s", "every", interval, "s", probes, "times"] => {
                format!("Keepalive {{ idle: {idle}s, interval: {interval}s, probes: {probes} }}")
            }
            [number, "MiB", ..] => (number.parse::<usize>().expect(number) << 20).to_string(),
            [number, "s", ..] => format!("{number}s"),
            [number, "min", ..] => format!("{}s", number.parse::<u32>().expect(number) * 60),
            [thousands, rest, "rows"] => format!("{thousands}{rest}"),
            ["none"] | ["the", "server's"] | ["Fixed(max_size)"] => "None".into(),
            [word, ..] => word.into(),
            [] => String::new(),
        }
    }

    #[test]
    fn the_guide_has_every_option_with_its_default() {
        let defaults = Config::default().debug_texts();
        let mut told = Vec::new();
        for line in include_str!("../guide/options.md").lines() {
            let mut cells = line.split(" | ");
            let (first, second) = (cells.next().unwrap_or_default(), cells.next());
            let (Some(names), Some(cell)) = (first.strip_prefix("| `"), second) else { continue };
            for name in names.split(['`', ',', ' ']).filter(|name| !name.is_empty()) {
                let Some((_, default)) = defaults.iter().find(|(own, _)| *own == name) else {
                    continue;
                };
                let value = default.strip_prefix("Some(").and_then(|some| some.strip_suffix(')'));
                assert_eq!(read(cell), value.unwrap_or(default), "{name}");
                assert_eq!(cell.contains(", or `None`"), value.is_some(), "{name}");
                told.push(name);
            }
        }
        let all = PoolOptions::NAMES.iter();
        let untold: Vec<_> = all.filter(|name| !told.contains(*name)).collect();
        assert_eq!((untold, told.len()), (Vec::new(), PoolOptions::NAMES.len()));
    }

    #[test]
    fn errors_name_the_option_and_never_show_the_value() {
        let text = |name, value| {
            let error = PoolOptions::default().set(name, value).expect_err("refused");
            error.to_string()
        };
        assert_eq!(text("max_size", "hushhush"), "max_size: expected a whole number");
        assert!(
            text("max_lifetime", "hushhush").starts_with("max_lifetime: expected a time such as")
        );
        assert_eq!(text("hushhush", "1"), "no option of that name");
    }

    #[test]
    fn later_options_override_earlier_ones_one_by_one() {
        let mut first =
            PoolOptions { max_size: Some(1), min_idle: Some(1), ..PoolOptions::default() };
        first.overlay(&PoolOptions { max_size: Some(2), ..PoolOptions::default() });
        assert_eq!((first.max_size, first.min_idle), (Some(2), Some(1)));
        let config = Config::of(&[&first]);
        assert!(config.max_size_is_chosen);
        assert!(!Config::of(&[&PoolOptions::default()]).max_size_is_chosen);
    }
}
