//! The knobs that have a plain value, each set or left alone.

use super::plain::Plain;
use super::{Config, Validation};
use crate::cap::Cap;
use crate::error::Error;
use crate::reset::Reset;
use crate::role::Role;
use crate::tcp::Keepalive;
use std::fmt;
use std::time::Duration;

/// Makes the knobs from one table: the struct, and everything that must know all
/// of them by name.
macro_rules! knobs {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// The knobs of a pool that have a plain value; `None` leaves one as it is.
        ///
        /// What each does, and its range and default, says the method of the same
        /// name of [`Builder`](crate::Builder). They come out of a URL
        /// (`pool_max_size=8`), of an environment or, with the feature `serde`, out
        /// of a file, and go into a pool by [`Builder::knobs`](crate::Builder::knobs).
        ///
        /// ```
        /// use poolwarden::Knobs;
        /// use std::time::Duration;
        ///
        /// let mut knobs = Knobs::default();
        /// knobs.set("max_lifetime", "5m")?;
        /// knobs.max_size = Some(8);
        /// assert_eq!(knobs.max_lifetime, Some(Some(Duration::from_secs(300))));
        /// assert_eq!(format!("{knobs:?}"), "Knobs { max_size: 8, max_lifetime: 300s }");
        /// # Ok::<(), poolwarden::Error>(())
        /// ```
        #[derive(Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct Knobs {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl Knobs {
            /// The names of all knobs.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Sets a knob by its name; false if there is none of that name.
            pub(crate) fn read(
                &mut self,
                name: &str, text: &str) -> Result<bool, &'static str> {
                match name {
                    $(stringify!($name) => {
                        let value = <$type as Plain>::read(text);
                        self.$name = Some(value.ok_or(<$type as Plain>::FORM)?);
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// The knobs that are set, as they would be written.
            pub(crate) fn written(&self) -> Vec<(&'static str, String)> {
                let all = [$((stringify!($name), self.$name.as_ref().map(Plain::write))),*];
                all.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
            }

            /// Takes over what the other has set.
            pub(crate) fn overlay(&mut self, other: &Knobs) {
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

            pub(super) fn apply(&self, config: &mut Config) {
                $(if let Some(value) = &self.$name {
                    config.$name = value.clone().into();
                })*
                config.max_size_is_chosen |= self.max_size.is_some();
            }
        }
    };
}

knobs! {
    /// Most connections at a time.
    max_size: u32,
    /// Connections kept idle although nobody asks for them.
    min_idle: u32,
    /// How long a check-out waits at most.
    checkout_timeout: Duration,
    /// How long opening one connection may take.
    connect_timeout: Duration,
    /// How long a connection lives at most; `Some(None)` is no limit.
    max_lifetime: Option<Duration>,
    /// By what share of its lifetime a connection's life is shortened at most.
    lifetime_jitter: f64,
    /// How long a connection may idle; `Some(None)` is no limit.
    idle_timeout: Option<Duration>,
    /// After how much idling a check-out pings; `Some(None)` is never.
    ping_after: Option<Duration>,
    /// How long one ping may take.
    ping_timeout: Duration,
    /// How an idle connection is checked: `peek`, `always-ping` or `off`.
    validation: Validation,
    /// How a connection is cleaned: `auto`, `none` or `full`.
    reset: Reset,
    /// What a server must be: `any` or `writable`.
    role: Role,
    /// Rows that one of the pool's own queries returns at most; `Some(None)` is no
    /// limit.
    row_limit: Option<usize>,
    /// Prepared statements that each PostgreSQL connection keeps for the pool's own
    /// queries; 0 is off.
    statement_cache: usize,
    /// Callers that may wait at a time; `Some(None)` is no limit.
    max_waiting: Option<u32>,
    /// How long a closed connection keeps its place until the server confirms.
    close_grace: Duration,
    /// How the cap is found: `fixed:20`, `share:0.25` or `instances:4`.
    cap: Cap,
    /// Whether a knob above the server's limits is an error.
    strict_limits: bool,
    /// After how much idling a proxy in between closes; `Some(None)` is no proxy.
    proxy_idle_timeout: Option<Duration>,
    /// After how long a proxy in between closes; `Some(None)` is no proxy.
    proxy_max_lifetime: Option<Duration>,
    /// How long a statement may run; `Some(None)` is no limit.
    statement_timeout: Option<Duration>,
    /// How long a request to cancel a statement may take.
    cancel_timeout: Duration,
    /// When the kernel probes a silent connection, `30s/10s/3`; `Some(None)` leaves
    /// it to the system.
    keepalive: Option<Keepalive>,
    /// How long sent data may stay unacknowledged; `Some(None)` leaves it to the
    /// system.
    tcp_user_timeout: Option<Duration>,
    /// The pool's name.
    name: String,
}

impl Knobs {
    /// Sets a knob by its name from a text, as a URL or a file has it.
    ///
    /// Times are `500ms`, `30s`, `5m`, `1h` or whole seconds; what may be off is
    /// switched off by `none` or `off`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): there is no such knob, or the text is
    /// not such a value. The text is not shown. What is out of range is told when
    /// the pool is built.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match self.read(name, value) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::config("there is no knob of that name")),
            Err(form) => Err(Error::config(format!("{name}: not {form}"))),
        }
    }

    /// Tells whether the values are in range and do not contradict one another or
    /// the defaults.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), naming the knobs and their values.
    pub fn check(&self) -> Result<(), Error> {
        Config::of(&[self]).check()
    }
}

impl fmt::Debug for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Knobs");
        for (name, value) in self.written() {
            out.field(name, &format_args!("{value}"));
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knob_can_be_set_by_its_name_and_reads_back() {
        let mut knobs = Knobs::default();
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
            ("validation", "always-ping"),
            ("reset", "full"),
            ("role", "writable"),
            ("row_limit", "none"),
            ("statement_cache", "50"),
            ("max_waiting", "9"),
            ("close_grace", "1s"),
            ("cap", "share:0.5"),
            ("strict_limits", "true"),
            ("proxy_idle_timeout", "50s"),
            ("proxy_max_lifetime", "none"),
            ("statement_timeout", "20s"),
            ("cancel_timeout", "2s"),
            ("keepalive", "20s/5s/4"),
            ("tcp_user_timeout", "15s"),
            ("name", "orders"),
        ] {
            knobs.set(name, value).expect(name);
        }
        let written = knobs.written();
        assert_eq!(written.len(), Knobs::NAMES.len(), "a knob is not tested here");
        let mut again = Knobs::default();
        for (name, value) in &written {
            again.set(name, value).expect("what was written is read");
        }
        assert_eq!(again, knobs);
        knobs.check().expect("they agree");
    }

    #[test]
    fn errors_name_the_knob_and_never_show_the_value() {
        let text = |name, value| {
            let error = Knobs::default().set(name, value).expect_err("refused");
            error.to_string()
        };
        assert_eq!(text("max_size", "hushhush"), "max_size: not a whole number");
        assert!(text("max_lifetime", "hushhush").starts_with("max_lifetime: not a time such as"));
        assert_eq!(text("hushhush", "1"), "there is no knob of that name");
    }

    #[test]
    fn the_later_overlays_the_earlier_knob_by_knob() {
        let mut first = Knobs { max_size: Some(1), min_idle: Some(1), ..Knobs::default() };
        first.overlay(&Knobs { max_size: Some(2), ..Knobs::default() });
        assert_eq!((first.max_size, first.min_idle), (Some(2), Some(1)));
        let config = Config::of(&[&first]);
        assert!(config.max_size_is_chosen);
        assert!(!Config::of(&[&Knobs::default()]).max_size_is_chosen);
    }
}
