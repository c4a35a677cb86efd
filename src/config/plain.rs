//! Values as people write them in a URL, an environment or a file, and back.

use super::Validation;
use crate::cap::Cap;
use crate::reset::Reset;
use crate::role::Role;
use crate::tcp::Keepalive;
use std::time::Duration;

/// A value that can be written as one word.
pub(crate) trait Plain: Sized {
    /// What such a word looks like, for errors: never the word itself, which may
    /// be a secret in the wrong place.
    const FORM: &'static str;

    fn read(text: &str) -> Option<Self>;

    /// Writes it so that it reads back as the same value.
    fn write(&self) -> String;
}

macro_rules! plain_number {
    ($($type:ty),*) => {$(
        impl Plain for $type {
            const FORM: &'static str = "a whole number";

            fn read(text: &str) -> Option<$type> {
                // `parse` takes a sign, too.
                text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

plain_number!(u16, u32, u64, usize);

macro_rules! plain_option {
    ($($type:ty: $form:literal,)*) => {$(
        impl Plain for Option<$type> {
            const FORM: &'static str = $form;

            fn read(text: &str) -> Option<Option<$type>> {
                match text {
                    "none" | "off" => Some(None),
                    text => <$type>::read(text).map(Some),
                }
            }

            fn write(&self) -> String {
                self.as_ref().map_or_else(|| "none".to_owned(), Plain::write)
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

impl Plain for f64 {
    const FORM: &'static str = "a number such as 0.1";

    fn read(text: &str) -> Option<f64> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Plain for bool {
    const FORM: &'static str = "true or false";

    fn read(text: &str) -> Option<bool> {
        match text {
            "true" | "on" | "yes" | "1" => Some(true),
            "false" | "off" | "no" | "0" => Some(false),
            _ => None,
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Plain for String {
    const FORM: &'static str = "a text";

    fn read(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }
}

/// The units of a time, the longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Plain for Duration {
    const FORM: &'static str = "a time such as 500ms, 30s, 5m or 1h (a bare number is seconds)";

    /// Reads numbers with units, such as `1h30m`, or a bare number of seconds.
    fn read(text: &str) -> Option<Duration> {
        if let Some(seconds) = u64::read(text) {
            return Some(Duration::from_secs(seconds));
        }
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let (number, behind) = split_where(rest, |c| !c.is_ascii_digit());
            let (unit, behind) = split_where(behind, |c| c.is_ascii_digit());
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
            total = total.checked_add(u64::read(number)?.checked_mul(*factor)?)?;
            rest = behind;
        }
        (!text.is_empty()).then_some(Duration::from_millis(total))
    }

    /// Writes whole milliseconds; parts of them are left out.
    fn write(&self) -> String {
        let millis = self.as_millis();
        if millis.is_multiple_of(1_000) {
            format!("{}s", millis / 1_000)
        } else {
            format!("{millis}ms")
        }
    }
}

fn split_where(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

impl Plain for Keepalive {
    const FORM: &'static str = "two times and a count such as 30s/10s/3";

    fn read(text: &str) -> Option<Keepalive> {
        let (idle, rest) = text.split_once('/')?;
        let (interval, probes) = rest.split_once('/')?;
        let (idle, interval) = (Duration::read(idle)?, Duration::read(interval)?);
        Some(Keepalive { idle, interval, probes: u32::read(probes)? })
    }

    fn write(&self) -> String {
        format!("{}/{}/{}", self.idle.write(), self.interval.write(), self.probes)
    }
}

impl Plain for Validation {
    const FORM: &'static str = "one of peek, always-ping, off";

    fn read(text: &str) -> Option<Validation> {
        match text {
            "peek" => Some(Validation::Peek),
            "always-ping" => Some(Validation::AlwaysPing),
            "off" => Some(Validation::Off),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Validation::Peek => "peek",
            Validation::AlwaysPing => "always-ping",
            Validation::Off => "off",
        }
        .to_owned()
    }
}

impl Plain for Reset {
    const FORM: &'static str = "one of auto, none, full";

    fn read(text: &str) -> Option<Reset> {
        match text {
            "auto" => Some(Reset::Auto),
            "none" => Some(Reset::None),
            "full" => Some(Reset::Full),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Reset::Auto => "auto",
            Reset::None => "none",
            Reset::Full => "full",
        }
        .to_owned()
    }
}

impl Plain for Role {
    const FORM: &'static str = "one of any, writable";

    fn read(text: &str) -> Option<Role> {
        match text {
            "any" => Some(Role::Any),
            "writable" => Some(Role::Writable),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Role::Any => "any",
            Role::Writable => "writable",
        }
        .to_owned()
    }
}

impl Plain for Cap {
    const FORM: &'static str = "one of fixed:20, share:0.25, instances:4";

    fn read(text: &str) -> Option<Cap> {
        let (rule, number) = text.split_once(':')?;
        match rule {
            "fixed" => u32::read(number).map(Cap::Fixed),
            "share" => f64::read(number).map(|of_server| Cap::Share { of_server }),
            "instances" => u32::read(number).map(|instances| Cap::PerInstance { instances }),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Cap::Fixed(count) => format!("fixed:{count}"),
            Cap::Share { of_server } => format!("share:{of_server}"),
            Cap::PerInstance { instances } => format!("instances:{instances}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<u128> {
        Duration::read(text).map(|time| time.as_millis())
    }

    #[test]
    fn times_are_read_with_units_and_without() {
        for (text, millis) in [
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
            assert_eq!(time(text), Some(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_guessed_at() {
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
            assert_eq!(time(text), None, "{text:?}");
        }
        assert_eq!(Option::<Duration>::read("none"), Some(None));
        assert_eq!(Option::<Duration>::read("off"), Some(None));
        assert_eq!(Option::<Duration>::read("None"), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        fn both<T: Plain + PartialEq + std::fmt::Debug>(values: &[T]) {
            for value in values {
                assert_eq!(T::read(&value.write()).as_ref(), Some(value));
            }
        }
        both(&[Duration::ZERO, Duration::from_millis(1_001), Duration::from_secs(7_200)]);
        both(&[None, Some(Duration::from_secs(1))]);
        both(&[Some(3_u32), None]);
        both(&[Some(Keepalive::default()), None]);
        both(&[0.0, 0.1, 1e-7, 0.9]);
        both(&[true, false]);
        both(&[Validation::Peek, Validation::AlwaysPing, Validation::Off]);
        both(&[Reset::Auto, Reset::None, Reset::Full]);
        both(&[Role::Any, Role::Writable]);
        both(&[Cap::Fixed(3), Cap::Share { of_server: 0.25 }, Cap::PerInstance { instances: 4 }]);
    }
}
