//! Durations in the texts of errors and logs.

use std::fmt;
use std::time::Duration;

/// Displays a duration with three significant digits, or from two minutes on with its two
/// largest units: `132 µs`, `1.5 s`, `60.1 s`, `29 min 57 s`, `3 h`.
pub(crate) struct HumanDuration(pub(crate) Duration);

/// Each unit in nanoseconds, the largest first.
const UNITS: [(&str, u128); 4] =
    [("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000), ("ns", 1)];

type LongUnit = (&'static str, u64);

/// Pairs of neighbouring units in seconds, the largest first.
const LONG_UNITS: [(LongUnit, LongUnit); 3] =
    [(("d", 86_400), ("h", 3_600)), (("h", 3_600), ("min", 60)), (("min", 60), ("s", 1))];

fn two_units(
    f: &mut fmt::Formatter<'_>,
    seconds: u64,
    large: LongUnit,
    small: LongUnit,
) -> fmt::Result {
    write!(f, "{} {}", seconds / large.1, large.0)?;
    match seconds % large.1 / small.1 {
        0 => Ok(()),
        rest => write!(f, " {rest} {}", small.0),
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let seconds = self.0.as_secs();
        if let Some((large, small)) =
            LONG_UNITS.into_iter().find(|(large, _)| seconds >= 2 * large.1)
        {
            return two_units(f, seconds, large, small);
        }
        // 999.9996 ms is 1 s, and not 1000 ms.
        let fits = |unit: u128| nanos + unit / 2_000 >= unit;
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| fits(*unit)).unwrap_or(("s", 1));
        let tenths = (nanos * 10 + unit / 2) / unit;
        if tenths >= 1_000 || tenths.is_multiple_of(10) {
            write!(f, "{} {name}", (nanos + unit / 2) / unit)
        } else {
            write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_three_significant_digits_and_a_unit() {
        for (nanos, text) in [
            (0, "0 s"),
            (7, "7 ns"),
            (132_000, "132 µs"),
            (132_456, "132 µs"),
            (1_549_000, "1.5 ms"),
            (999_999_999, "1 s"),
            (999_400_000, "999 ms"),
            (1_000_000_000, "1 s"),
            (1_040_000_000, "1 s"),
            (1_050_000_000, "1.1 s"),
            (60_100_000_000, "60.1 s"),
            (119_940_000_000, "120 s"),
            (125_000_000_000, "2 min 5 s"),
            (1_800_000_000_000, "30 min"),
            (7_199_000_000_000, "119 min 59 s"),
            (7_260_000_000_000, "2 h 1 min"),
            (180_000_000_000_000, "2 d 2 h"),
        ] {
            assert_eq!(HumanDuration(Duration::from_nanos(nanos)).to_string(), text);
        }
    }
}
