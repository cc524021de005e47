//! Axes: which range, which ticks, which labels.
//!
//! The plotting library has a logarithmic axis, but chooses and rounds its labels by itself. So the logarithm is
//! taken here, the library gets a linear axis, and every tick is chosen on purpose.

use crate::format;

/// One axis of a chart.
#[derive(Debug)]
pub(crate) struct Axis {
    /// What it shows, with the unit where the labels have none.
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
        let rough = highest / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let high = highest * 1.06;
        let count = (high / step).floor() as u32;
        let ticks = (0..=count).map(|index| step * f64::from(index)).map(|tick| (tick, label(tick))).collect();
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

    /// Where a value lies on the library's linear axis; `None` where it has no place.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let place = if self.log { value.log10() } else { value };
        (place.is_finite()).then_some(place)
    }

    /// Lowest and highest value of the axis.
    pub(crate) fn range(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Both ends on the library's linear axis.
    pub(crate) fn places(&self) -> (f64, f64) {
        if self.log { (self.low.log10(), self.high.log10()) } else { (self.low, self.high) }
    }

    /// Whether the axis is logarithmic.
    pub(crate) fn is_log(&self) -> bool {
        self.log
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
        assert_eq!(axis.place(0.0), None);
        assert_eq!(axis.place(-1.0), None);
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
}
