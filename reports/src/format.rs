//! Figures as text: three significant digits and a unit that suits the size.
//!
//! The harness words its findings with these functions too, so that a sentence and the table behind it never show
//! one figure in two ways.

use crate::model::estimate::Estimate;

/// The text in place of a figure that is missing or not finite.
pub const NONE: &str = "–";

/// A plain number with three significant digits: `1.23`, `45.6`, `789`.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let size = value.abs();
    // The bounds lie where rounding would add a digit: 9.996 is `10.0`, not `10.00`.
    if size == 0.0 {
        "0".to_owned()
    } else if size < 0.9995 {
        format!("{value:.3}")
    } else if size < 9.995 {
        format!("{value:.2}")
    } else if size < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A duration in nanoseconds: `812 ns`, `1.23 µs`, `45.6 ms`, `7.89 s`, `2 min 5 s`, `3 h 20 min`.
pub fn duration(ns: f64) -> String {
    if !ns.is_finite() {
        return NONE.to_owned();
    }
    let size = ns.abs();
    if size >= 119.5e9 {
        return long_duration(ns);
    }
    let (scale, unit) = if size < 999.5 {
        (1.0, "ns")
    } else if size < 999.5e3 {
        (1e3, "µs")
    } else if size < 999.5e6 {
        (1e6, "ms")
    } else {
        (1e9, "s")
    };
    format!("{} {unit}", number(ns / scale))
}

/// Minutes and hours, for durations that are hard to read in seconds.
fn long_duration(ns: f64) -> String {
    let sign = if ns < 0.0 { "-" } else { "" };
    // The cast saturates, and a run of more than 2^64 seconds is not a concern.
    let seconds = (ns.abs() / 1e9).round() as u64;
    if seconds < 2 * 3600 {
        format!("{sign}{} min {} s", seconds / 60, seconds % 60)
    } else {
        let minutes = (seconds + 30) / 60;
        format!("{sign}{} h {} min", minutes / 60, minutes % 60)
    }
}

/// A rate per second: `812 /s`, `4.50 k/s`, `1.23 M/s`.
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() {
        return NONE.to_owned();
    }
    let (scale, prefix) = prefixed(per_second);
    format!("{} {prefix}/s", number(per_second / scale))
}

/// The decimal step that suits a number, and its prefix.
fn prefixed(value: f64) -> (f64, &'static str) {
    let size = value.abs();
    if size < 999.5 {
        (1.0, "")
    } else if size < 999.5e3 {
        (1e3, "k")
    } else if size < 999.5e6 {
        (1e6, "M")
    } else {
        (1e9, "G")
    }
}

/// A size: `812 B`, `4.00 KiB`, `1.50 GiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", number(value), UNITS[unit])
}

/// A whole number with its thousands set apart: `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage with at most one decimal: `95%`, `93.8%`.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return NONE.to_owned();
    }
    let text = format!("{:.1}", share * 100.0);
    format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
}

/// A ratio: `1.234x`; its third decimal is where a 0.1% change shows.
pub fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}x") } else { NONE.to_owned() }
}

/// How many times: `1.93x`, `13.4x`, with three digits at most.
pub fn times(value: f64) -> String {
    if value.is_finite() {
        format!("{}x", if value.abs() < 9.995 { format!("{value:.2}") } else { number(value) })
    } else {
        NONE.to_owned()
    }
}

/// Two ends in one unit where they share it: `1.20 to 1.31 µs`, `950 ns to 1.10 µs`.
pub fn interval(low: f64, high: f64, format: fn(f64) -> String) -> String {
    let (low, high) = (format(low), format(high));
    match (low.rsplit_once(' '), high.rsplit_once(' ')) {
        (Some((figure, unit)), Some((_, other))) if unit == other => format!("{figure} to {high}"),
        _ => format!("{low} to {high}"),
    }
}

/// The interval of an estimate, its coverage and the number of samples: `1.20 to 1.31 µs, 95%, n 12`.
pub fn spread(estimate: &Estimate, format: fn(f64) -> String) -> String {
    if estimate.confidence > 0.0 {
        format!("{}, {}, n {}", interval(estimate.low, estimate.high, format), percent(estimate.confidence), estimate.n)
    } else {
        format!("no interval, n {}", estimate.n)
    }
}

/// An estimate in one line: `1.23 µs (1.20 to 1.31 µs, 95%, n 12)`.
pub fn estimate(estimate: &Estimate, format: fn(f64) -> String) -> String {
    format!("{} ({})", format(estimate.median), spread(estimate, format))
}

/// A round duration on an axis: `10 µs`, without zeros behind the decimal point.
pub(crate) fn duration_tick(ns: f64) -> String {
    plain(&duration(ns))
}

/// A round rate on an axis: `10 k/s`.
pub(crate) fn rate_tick(per_second: f64) -> String {
    plain(&rate(per_second))
}

/// Drops the zeros behind a decimal point.
fn plain(text: &str) -> String {
    match text.split_once(' ') {
        Some((figure, unit)) if figure.contains('.') => {
            format!("{} {unit}", figure.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits_over_every_unit_border() {
        let cases = [
            (0.0, "0 ns"),
            (0.35, "0.350 ns"),
            (1.234, "1.23 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 µs"),
            (9_996.0, "10.0 µs"),
            (412_345.0, "412 µs"),
            (1.5e6, "1.50 ms"),
            (7.891e9, "7.89 s"),
            (125e9, "2 min 5 s"),
            (12_000e9, "3 h 20 min"),
            (f64::NAN, NONE),
            (f64::INFINITY, NONE),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text, "{ns}");
        }
    }

    #[test]
    fn rates_sizes_counts_and_shares_read_well() {
        assert_eq!(rate(950.0), "950 /s");
        assert_eq!(rate(4_500_000.0), "4.50 M/s");
        assert_eq!(rate(999_600.0), "1.00 M/s");
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(4096), "4.00 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.00 MiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(percent(0.95), "95%");
        assert_eq!(percent(0.9375), "93.8%");
        assert_eq!(ratio(1.0234), "1.023x");
    }

    #[test]
    fn an_interval_names_a_shared_unit_once() {
        assert_eq!(interval(1_200.0, 1_310.0, duration), "1.20 to 1.31 µs");
        assert_eq!(interval(950.0, 1_100.0, duration), "950 ns to 1.10 µs");
    }

    #[test]
    fn an_estimate_says_what_its_interval_covers() {
        let reached = Estimate { median: 1_230.0, low: 1_200.0, high: 1_310.0, confidence: 0.9375, n: 5 };
        assert_eq!(estimate(&reached, duration), "1.23 µs (1.20 to 1.31 µs, 93.8%, n 5)");
        let alone = Estimate { median: 1_230.0, low: 1_230.0, high: 1_230.0, confidence: 0.0, n: 1 };
        assert_eq!(estimate(&alone, duration), "1.23 µs (no interval, n 1)");
    }

    #[test]
    fn ticks_carry_no_empty_decimals() {
        assert_eq!(duration_tick(10_000.0), "10 µs");
        assert_eq!(duration_tick(500.0), "500 ns");
        assert_eq!(rate_tick(2_500.0), "2.5 k/s");
    }
}
