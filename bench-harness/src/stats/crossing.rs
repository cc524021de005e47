//! The point where a rising curve reaches a threshold, and its interval.

use reports::model::{Estimate, NoCrossing};
use workloads::Random;

use super::order::median;

/// Measurements of a quantity that should rise with `x`: for each `x`, one value per block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curve {
    pub(crate) points: Vec<(f64, Vec<f64>)>,
}

const RESAMPLES: usize = 1000;

/// The duration at which the curve, over durations in nanoseconds, reaches `threshold`.
///
/// The medians are made monotone by isotonic regression (pool adjacent violators; Barlow et al., "Statistical Inference under
/// Order Restrictions", 1972), and interpolated linearly in the logarithm of `x`. The interval is that of a bootstrap over
/// blocks: whole blocks are drawn, because values of one block were measured under the same conditions.
///
/// # Errors
///
/// An interval that reaches beyond the measured durations has no figure; the error says what is known instead.
pub(crate) fn crossing(curve: &Curve, threshold: f64, seed: u64) -> Result<Estimate, NoCrossing> {
    let blocks = curve.points.iter().map(|(_, values)| values.len()).min().unwrap_or(0);
    let ([(first, _), ..], [.., (last, _)], true) = (&curve.points[..], &curve.points[..], blocks > 0) else {
        return Err(NoCrossing::NotMeasured);
    };
    let all: Vec<usize> = (0..blocks).collect();
    let middle = root(curve, &all, threshold);
    let mut random = Random::new(seed);
    let mut roots: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<usize> = all.iter().map(|_| (random.next_u64() % blocks as u64) as usize).collect();
            root(curve, &drawn, threshold)
        })
        .collect();
    roots.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| roots[(share * (roots.len() - 1) as f64).round() as usize];
    let (low, high) = (at(0.025).min(middle), at(0.975).max(middle));
    match (low.is_finite(), high.is_finite()) {
        (true, true) => Ok(Estimate { median: middle, low, high, confidence: 0.95, n: blocks as u32 }),
        (false, true) => Err(NoCrossing::AtMost(high)),
        (true, false) => Err(NoCrossing::AtLeast(low)),
        (false, false) if low < high => Err(NoCrossing::Unknown),
        (false, false) if low < 0.0 => Err(NoCrossing::Below(*first)),
        (false, false) => Err(NoCrossing::Above(*last)),
    }
}

/// Minus infinity where the curve is above the threshold from its first point on, infinity where it never reaches it.
fn root(curve: &Curve, blocks: &[usize], threshold: f64) -> f64 {
    let xs: Vec<f64> = curve.points.iter().map(|(x, _)| x.ln()).collect();
    let medians: Vec<f64> = curve
        .points
        .iter()
        .map(|(_, values)| median(&blocks.iter().map(|block| values[*block]).collect::<Vec<_>>()))
        .collect();
    let ys = isotonic(&medians);
    match ys.iter().position(|y| *y >= threshold) {
        None => f64::INFINITY,
        Some(0) => f64::NEG_INFINITY,
        Some(right) => {
            let left = right - 1;
            let share = (threshold - ys[left]) / (ys[right] - ys[left]);
            (xs[left] + share * (xs[right] - xs[left])).exp()
        }
    }
}

/// The non-decreasing sequence that is nearest to `values` in squares.
fn isotonic(values: &[f64]) -> Vec<f64> {
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for &value in values {
        pools.push((value, 1));
        while let [.., (before, n), (after, m)] = pools[..]
            && before > after
        {
            pools.truncate(pools.len() - 2);
            pools.push(((before * n as f64 + after * m as f64) / (n + m) as f64, n + m));
        }
    }
    pools.into_iter().flat_map(|(value, count)| std::iter::repeat_n(value, count)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Efficiency with an overhead of `h` per task: d / (d + h) reaches one half at d = h.
    fn curve(h: f64, noise: f64) -> Curve {
        let mut random = Random::new(3);
        let mut draw = move || 1.0 + noise * ((random.next_u64() % 1000) as f64 / 1000.0 - 0.5);
        let xs = (0..12).map(|step| 1000.0 * 3.0_f64.powi(step));
        Curve { points: xs.map(|x| (x, (0..9).map(|_| draw() * x / (x + h)).collect())).collect() }
    }

    #[test]
    fn the_half_is_found_at_the_overhead() {
        let found = crossing(&curve(50_000.0, 0.02), 0.5, 1).unwrap();
        assert!((found.median / 50_000.0 - 1.0).abs() < 0.1, "{found:?}");
        assert!(found.low <= found.median && found.median <= found.high);
        assert!(found.high / found.low < 1.5, "{found:?}");
    }

    #[test]
    fn what_reaches_beyond_the_measured_range_is_a_bound_or_nothing() {
        let last = 1000.0 * 3.0_f64.powi(11);
        assert_eq!(crossing(&curve(1e12, 0.02), 0.5, 1), Err(NoCrossing::Above(last)));
        assert_eq!(crossing(&curve(1.0, 0.02), 0.5, 1), Err(NoCrossing::Below(1000.0)));
        assert_eq!(crossing(&Curve::default(), 0.5, 1), Err(NoCrossing::NotMeasured));
        // In four or five of the nine blocks the curve is above the threshold from the first point on.
        let split = |early: usize, then: f64| {
            let blocks = |late: f64| (0..9).map(|block| if block < early { 1.0 } else { late }).collect();
            Curve { points: vec![(1000.0, blocks(0.0)), (4000.0, blocks(then))] }
        };
        let most = crossing(&split(4, 1.0), 0.5, 1);
        assert!(matches!(most, Err(NoCrossing::AtMost(most)) if (most / 2000.0 - 1.0).abs() < 1e-9), "{most:?}");
        assert_eq!(crossing(&split(5, 0.0), 0.5, 1), Err(NoCrossing::Unknown));
        assert_eq!(
            NoCrossing::AtMost(2000.0).to_string(),
            "at most 2.00 µs (95% CI; its lower end is shorter than all that was measured)"
        );
    }

    proptest! {
        #[test]
        fn isotonic_rises_and_keeps_the_sum(values in prop::collection::vec(-1e6..1e6_f64, 1..50)) {
            let fitted = isotonic(&values);
            prop_assert_eq!(fitted.len(), values.len());
            prop_assert!(fitted.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9));
            prop_assert!((fitted.iter().sum::<f64>() - values.iter().sum::<f64>()).abs() < 1e-3);
        }
    }
}
