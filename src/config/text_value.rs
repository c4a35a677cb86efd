//! Values as text, in a URL, an environment or a file.

use super::isolation_level::IsolationLevel;
use super::reset::Reset;
use super::role::Role;
use super::size_policy::SizePolicy;
use super::tcp::Keepalive;
use super::validation::Validation;
use std::time::Duration;

/// A value with a text form.
pub(crate) trait TextValue: Sized {
    /// The expected form, for errors, which never show the text: it may be a misplaced
    /// secret.
    const EXPECTED: &'static str;

    /// Parses a text; `None` if it does not have the expected form.
    fn parse(text: &str) -> Option<Self>;

    /// Returns a text that parses to the same value.
    fn to_text(&self) -> String;
}

macro_rules! plain_number {
    ($($type:ty),*) => {$(
        impl TextValue for $type {
            const EXPECTED: &'static str = "a whole number";

            fn parse(text: &str) -> Option<$type> {
                // `parse` takes a sign, too.
                text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
            }

            fn to_text(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

plain_number!(u16, u32, u64, usize);

macro_rules! plain_option {
    ($($type:ty: $form:literal,)*) => {$(
        impl TextValue for Option<$type> {
            const EXPECTED: &'static str = $form;

            fn parse(text: &str) -> Option<Option<$type>> {
                match text {
                    "none" | "off" => Some(None),
                    text => <$type>::parse(text).map(Some),
                }
            }

            fn to_text(&self) -> String {
                self.as_ref().map_or_else(|| "none".to_owned(), TextValue::to_text)
            }
        }
    )*};
}

plain_option! {
    u32: "a whole number, or none",
    usize: "a whole number, or none",
    Duration: "a time such as 500ms, 30s, 5m or 1h (a bare number is seconds), or none",
    Keepalive: "two times and a count such as 30s/10s/3, or none",
}

impl TextValue for f64 {
    const EXPECTED: &'static str = "a number such as 0.1";

    fn parse(text: &str) -> Option<f64> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl TextValue for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Option<bool> {
        match text {
            "true" | "on" | "yes" | "1" => Some(true),
            "false" | "off" | "no" | "0" => Some(false),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl TextValue for String {
    const EXPECTED: &'static str = "text";

    fn parse(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn to_text(&self) -> String {
        self.clone()
    }
}

/// The units of a time in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl TextValue for Duration {
    const EXPECTED: &'static str = "a time such as 500ms, 30s, 5m or 1h (a bare number is seconds)";

    /// Parses numbers with units, such as `1h30m`, or a bare number of seconds.
    fn parse(text: &str) -> Option<Duration> {
        if let Some(seconds) = u64::parse(text) {
            return Some(Duration::from_secs(seconds));
        }
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let (number, behind) = split_at_first(rest, |c| !c.is_ascii_digit());
            let (unit, behind) = split_at_first(behind, |c| c.is_ascii_digit());
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
            total = total.checked_add(u64::parse(number)?.checked_mul(*factor)?)?;
            rest = behind;
        }
        (!text.is_empty()).then_some(Duration::from_millis(total))
    }

    /// Returns whole milliseconds; fractions are dropped.
    fn to_text(&self) -> String {
        let millis = self.as_millis();
        if millis.is_multiple_of(1_000) {
            format!("{}s", millis / 1_000)
        } else {
            format!("{millis}ms")
        }
    }
}

fn split_at_first(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

impl TextValue for Keepalive {
    const EXPECTED: &'static str = "two times and a count such as 30s/10s/3";

    fn parse(text: &str) -> Option<Keepalive> {
        let (idle, rest) = text.split_once('/')?;
        let (interval, probes) = rest.split_once('/')?;
        let (idle, interval) = (Duration::parse(idle)?, Duration::parse(interval)?);
        Some(Keepalive { idle, interval, probes: u32::parse(probes)? })
    }

    fn to_text(&self) -> String {
        format!("{}/{}/{}", self.idle.to_text(), self.interval.to_text(), self.probes)
    }
}

impl TextValue for Validation {
    const EXPECTED: &'static str = "one of peek, always-ping, watch, off";

    fn parse(text: &str) -> Option<Validation> {
        match text {
            "peek" => Some(Validation::Peek),
            "always-ping" => Some(Validation::AlwaysPing),
            "watch" => Some(Validation::Watch),
            "off" => Some(Validation::Off),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Validation::Peek => "peek",
            Validation::AlwaysPing => "always-ping",
            Validation::Watch => "watch",
            Validation::Off => "off",
        }
        .to_owned()
    }
}

impl TextValue for Reset {
    const EXPECTED: &'static str = "one of auto, none, full";

    fn parse(text: &str) -> Option<Reset> {
        match text {
            "auto" => Some(Reset::Auto),
            "none" => Some(Reset::None),
            "full" => Some(Reset::Full),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Reset::Auto => "auto",
            Reset::None => "none",
            Reset::Full => "full",
        }
        .to_owned()
    }
}

impl TextValue for Role {
    const EXPECTED: &'static str = "one of any, writable, standby";

    fn parse(text: &str) -> Option<Role> {
        match text {
            "any" => Some(Role::Any),
            "writable" => Some(Role::Writable),
            "standby" => Some(Role::Standby),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Role::Any => "any",
            Role::Writable => "writable",
            Role::Standby => "standby",
        }
        .to_owned()
    }
}

impl TextValue for IsolationLevel {
    const EXPECTED: &'static str =
        "one of read-uncommitted, read-committed, repeatable-read, serializable";

    fn parse(text: &str) -> Option<IsolationLevel> {
        match text {
            "read-uncommitted" => Some(IsolationLevel::ReadUncommitted),
            "read-committed" => Some(IsolationLevel::ReadCommitted),
            "repeatable-read" => Some(IsolationLevel::RepeatableRead),
            "serializable" => Some(IsolationLevel::Serializable),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        self.to_string().replace(' ', "-")
    }
}

impl TextValue for SizePolicy {
    const EXPECTED: &'static str = "one of fixed:20, share:0.25, instances:4";

    fn parse(text: &str) -> Option<SizePolicy> {
        let (rule, number) = text.split_once(':')?;
        match rule {
            "fixed" => u32::parse(number).map(SizePolicy::Fixed),
            "share" => f64::parse(number).map(|of_server| SizePolicy::Share { of_server }),
            "instances" => {
                u32::parse(number).map(|instances| SizePolicy::PerInstance { instances })
            }
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            SizePolicy::Fixed(count) => format!("fixed:{count}"),
            SizePolicy::Share { of_server } => format!("share:{of_server}"),
            SizePolicy::PerInstance { instances } => format!("instances:{instances}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u128> {
        Duration::parse(text).map(|time| time.as_millis())
    }

    #[test]
    fn times_are_parsed_with_units_and_without() {
        for (text, expected) in [
            ("0", 0),
            ("30", 30_000),
            ("30s", 30_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("1h30m", 5_400_000),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_invalid_time_is_rejected() {
        for text in [
            "",
            " ",
            "s",
            "1x",
            "1.5s",
            "-1",
            "+1",
            "1 s",
            "1S",
            "none",
            "ms1",
            "1s2",
            "∞",
            "99999999999999999999",
            "99999999999999999h",
        ] {
            assert_eq!(millis(text), None, "{text:?}");
        }
        assert_eq!(Option::<Duration>::parse("none"), Some(None));
        assert_eq!(Option::<Duration>::parse("off"), Some(None));
        assert_eq!(Option::<Duration>::parse("None"), None);
    }

    #[test]
    fn the_text_of_a_value_parses_to_the_same_value() {
        fn round_trip<T: TextValue + PartialEq + std::fmt::Debug>(values: &[T]) {
            for value in values {
                assert_eq!(T::parse(&value.to_text()).as_ref(), Some(value));
            }
        }
        round_trip(&[Duration::ZERO, Duration::from_millis(1_001), Duration::from_secs(7_200)]);
        round_trip(&[None, Some(Duration::from_secs(1))]);
        round_trip(&[Some(3_u32), None]);
        round_trip(&[Some(Keepalive::default()), None]);
        round_trip(&[0.0, 0.1, 1e-7, 0.9]);
        round_trip(&[true, false]);
        round_trip(&[Validation::Peek, Validation::AlwaysPing, Validation::Watch, Validation::Off]);
        round_trip(&[Reset::Auto, Reset::None, Reset::Full]);
        round_trip(&[Role::Any, Role::Writable, Role::Standby]);
        round_trip(&[
            IsolationLevel::ReadUncommitted,
            IsolationLevel::ReadCommitted,
            IsolationLevel::RepeatableRead,
            IsolationLevel::Serializable,
        ]);
        round_trip(&[
            SizePolicy::Fixed(3),
            SizePolicy::Share { of_server: 0.25 },
            SizePolicy::PerInstance { instances: 4 },
        ]);
    }
}
