//! Axes: their ranges, ticks and labels.
//!
//! The library's scales place the values. Its ticks are used on linear axes from zero. Its logarithmic ticks are powers of ten
//! with all nine steps between them or with none, so this file chooses the ticks of other axes. Labels have the page's format
//! everywhere, since the library rounds them by rules of its own.

use std::ops::Range;

use plotters::coord::combinators::WithKeyPoints;
use plotters::coord::ranged1d::{BoldPoints, DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{BindKeyPoints, IntoLogRange, LogCoord};

use crate::format;

/// The most ticks of a linear axis from zero.
const TICKS: usize = 7;

/// A place this many axes away stands for all that are farther.
const FAR: f64 = 1000.0;

/// Distance of two series that would hide each other, as a share of the axis.
const BESIDE: f64 = 0.0157;

/// All shifts together are at most this share, for which the axes have room beside their first and last values.
const BESIDE_ALL: f64 = 0.1;

/// One axis of a chart.
#[derive(Debug)]
pub(crate) struct Axis {
    /// Its title, with the unit where the labels have none.
    pub(crate) title: String,
    /// Ticks with their labels, from low to high.
    pub(crate) ticks: Vec<(f64, String)>,
    log: bool,
    low: f64,
    high: f64,
}

impl Axis {
    /// A logarithmic axis over the values, from and to a round value.
    pub(crate) fn log(title: &str, values: impl IntoIterator<Item = f64>, label: fn(f64) -> String) -> Self {
        let (low, high) = bounds(values.into_iter().filter(|value| *value > 0.0)).unwrap_or((1.0, 10.0));
        let steps = round_steps(low * 0.97, high * 1.03);
        let (low, high) = (steps[0], steps[steps.len() - 1]);
        let decades = (high / low).log10();
        let ticks = steps
            .into_iter()
            .filter(|step| {
                let power = step.log10();
                let is_power = (power - power.round()).abs() < 1e-9;
                decades <= 2.0 || (is_power && (decades <= 9.0 || power.round() as i64 % 3 == 0))
            })
            .map(|step| (step, label(step)))
            .collect();
        Axis { title: title.to_owned(), ticks, log: true, low, high }
    }

    /// A linear axis from zero to a little above the highest value.
    pub(crate) fn from_zero(title: &str, highest: f64, label: fn(f64) -> String) -> Self {
        let highest = if highest.is_finite() && highest > 0.0 { highest } else { 1.0 };
        let high = highest * 1.06;
        let ticks = RangedCoordf64::from(0.0..high).key_points(BoldPoints(TICKS));
        let ticks = ticks.into_iter().map(|tick| (tick, label(tick))).collect();
        Axis { title: title.to_owned(), ticks, log: false, low: 0.0, high }
    }

    /// A linear axis with ticks of the caller's choice.
    pub(crate) fn fixed(title: &str, low: f64, high: f64, ticks: Vec<(f64, String)>) -> Self {
        Axis { title: title.to_owned(), ticks, log: false, low, high }
    }

    /// A logarithmic axis with a tick at each of some whole numbers, as far as there is room for their labels.
    pub(crate) fn counts(title: &str, counts: impl IntoIterator<Item = u32>) -> Self {
        let mut counts: Vec<u32> = counts.into_iter().map(|count| count.max(1)).collect();
        counts.sort_unstable();
        counts.dedup();
        let low = f64::from(*counts.first().unwrap_or(&1));
        let high = f64::from(*counts.last().unwrap_or(&1));
        let margin = (high / low).powf(0.07).max(1.25);
        let (low, high) = (low / margin, high * margin);
        let gap = (high / low).ln() * 0.055;
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for count in counts {
            let place = f64::from(count);
            if ticks.last().is_none_or(|(last, _)| (place / last).ln() >= gap) {
                ticks.push((place, format::count(u64::from(count))));
            }
        }
        Axis { title: title.to_owned(), ticks, log: true, low, high }
    }

    /// The axis for the library, with the ticks of this one and no others.
    pub(super) fn scale(&self) -> Scale {
        let (range, ticks) = (self.low..self.high, self.ticks.iter().map(|(tick, _)| *tick).collect());
        if self.log {
            Scale::Log(range.log_scale().with_key_points(ticks))
        } else {
            Scale::Linear(range.with_key_points(ticks))
        }
    }

    /// The label of a tick.
    pub(super) fn label(&self, value: f64) -> String {
        self.ticks.iter().find(|(tick, _)| *tick == value).map(|(_, label)| label.clone()).unwrap_or_default()
    }

    /// Whether a value has a place on the axis, even beyond its ends.
    pub(crate) fn holds(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }

    /// Whether a value lies between the ends.
    pub(super) fn spans(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The part of an interval that lies between the ends.
    pub(super) fn part(&self, low: f64, high: f64) -> Option<(f64, f64)> {
        let apart = high < self.low || low > self.high;
        let keep = |value: f64| value.clamp(self.low, self.high);
        (self.holds(low) && self.holds(high) && !apart).then(|| (keep(low), keep(high)))
    }

    /// The value that lies a share of the axis further on.
    pub(crate) fn further(&self, value: f64, share: f64) -> f64 {
        if self.log { value * (self.high / self.low).powf(share) } else { value + (self.high - self.low) * share }
    }

    /// A value moved a little: series with equal figures would hide each other.
    pub(crate) fn beside(&self, value: f64, index: usize, count: usize) -> f64 {
        let step = BESIDE.min(BESIDE_ALL / count as f64);
        self.further(value, (index as f64 - (count as f64 - 1.0) / 2.0) * step)
    }

    /// The share of the axis that lies between two values.
    pub(crate) fn share(&self, from: f64, to: f64) -> f64 {
        if self.log { (to / from).ln() / (self.high / self.low).ln() } else { (to - from) / (self.high - self.low) }
    }

    /// Lowest and highest value of the axis.
    pub(crate) fn range(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Whether the axis is logarithmic.
    pub(crate) fn is_log(&self) -> bool {
        self.log
    }
}

/// The library's scale of an axis.
pub(super) enum Scale {
    Linear(WithKeyPoints<RangedCoordf64>),
    Log(WithKeyPoints<LogCoord<f64>>),
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        match self {
            Scale::Linear(scale) => {
                // The library's places are 32 bits wide, and it does not check for overflow.
                let Range { start, end } = scale.range();
                let far = (end - start) * FAR;
                scale.map(&value.clamp(start - far, end + far), limit)
            }
            Scale::Log(scale) => scale.map(value, limit),
        }
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match self {
            Scale::Linear(scale) => scale.key_points(hint),
            Scale::Log(scale) => scale.key_points(hint),
        }
    }

    fn range(&self) -> Range<f64> {
        match self {
            Scale::Linear(scale) => scale.range(),
            Scale::Log(scale) => scale.range(),
        }
    }
}

/// Lowest and highest finite value.
pub(crate) fn bounds(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|value| value.is_finite()).fold(None, |bounds, value| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((f64::min(low, value), f64::max(high, value)))
    })
}

/// The values 1, 2 and 5 times a power of ten that enclose the range, ends included.
fn round_steps(low: f64, high: f64) -> Vec<f64> {
    let first = low.log10().floor() as i32;
    let last = high.log10().ceil() as i32;
    let all: Vec<f64> =
        (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power))).collect();
    let start = all.iter().rposition(|step| *step <= low).unwrap_or(0);
    let end = all.iter().position(|step| *step >= high).unwrap_or(all.len() - 1);
    all[start..=end.max(start)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn a_wide_log_axis_has_a_tick_per_decade() {
        let axis = Axis::log("t", [120.0, 9e7], format::duration_tick);
        assert_eq!(labels(&axis), ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms"]);
        assert_eq!(axis.range(), (100.0, 1e8));
    }

    #[test]
    fn a_narrow_log_axis_still_has_ticks() {
        for values in [[6.0, 7.0], [100.0, 100.0], [1e3, 2e4], [0.03, 0.04]] {
            let axis = Axis::log("t", values, format::duration_tick);
            assert!(axis.ticks.len() >= 2, "{values:?}: {axis:?}");
            assert!(axis.range().0 < values[0] && axis.range().1 > values[1], "{values:?}: {axis:?}");
        }
    }

    #[test]
    fn values_without_a_place_do_not_spoil_the_axis() {
        let axis = Axis::log("t", [f64::NAN, 0.0, -5.0, f64::INFINITY], format::duration_tick);
        assert_eq!(axis.range().0, 0.5);
        assert!(!axis.holds(0.0) && !axis.holds(-1.0) && !axis.holds(f64::INFINITY));
        assert!(Axis::from_zero("t", 1.0, format::rate_tick).holds(-1.0));
    }

    #[test]
    fn a_linear_axis_starts_at_zero_and_has_round_ticks() {
        let axis = Axis::from_zero("r", 930.0, format::rate_tick);
        assert_eq!(labels(&axis), ["0 /s", "200 /s", "400 /s", "600 /s", "800 /s"]);
        assert!(Axis::from_zero("r", f64::NAN, format::rate_tick).ticks.len() > 2);
    }

    #[test]
    fn counts_get_ticks_while_there_is_room() {
        assert_eq!(labels(&Axis::counts("w", [8, 1, 2, 4, 4])), ["1", "2", "4", "8"]);
        assert!(Axis::counts("w", 1..=64).ticks.len() < 20);
        assert_eq!(labels(&Axis::counts("w", [3])), ["3"]);
    }

    #[test]
    fn series_beside_each_other_lie_around_their_value() {
        let log = Axis::counts("w", [1, 16]);
        let (before, at, after) = (log.beside(4.0, 0, 3), log.beside(4.0, 1, 3), log.beside(4.0, 2, 3));
        assert!(before < at && at < after && at == 4.0, "{before} {at} {after}");
        assert!((log.share(before, at) - log.share(at, after)).abs() < 1e-12);
        for most in [1, 2, 64, 4096] {
            let axis = Axis::counts("w", [1, most]);
            assert!((0..99).all(|index| axis.spans(axis.beside(1.0, index, 99))), "{axis:?} has room for all");
        }
        let linear = Axis::fixed("p", -1.0, 1.0, Vec::new());
        assert_eq!(linear.further(0.0, 0.25), 0.5);
        assert_eq!(linear.share(0.0, 0.5), 0.25);
    }

    #[test]
    fn only_the_part_of_an_interval_that_lies_on_the_axis_is_kept() {
        let axis = Axis::fixed("p", 0.0, 1.0, Vec::new());
        assert_eq!(axis.part(-1.0, 0.5), Some((0.0, 0.5)));
        assert_eq!(axis.part(0.25, 9.0), Some((0.25, 1.0)));
        for (low, high) in [(-2.0, -1.0), (1.5, 2.0), (f64::NAN, 0.5), (0.5, f64::INFINITY)] {
            assert_eq!(axis.part(low, high), None, "{low} {high}");
        }
    }

    #[test]
    fn no_value_is_too_large_to_have_a_place() {
        for axis in [Axis::fixed("p", 0.0, 1e-3, Vec::new()), Axis::log("p", [1.0, 2.0], format::duration_tick)] {
            let scale = axis.scale();
            let places = [f64::MIN_POSITIVE, 0.5e-3, f64::MAX].map(|value| scale.map(&value, (1000, 0)));
            assert!(places[0] > places[2] && places[1] >= places[2], "{places:?}");
        }
    }
}
