//! The point where a rising curve reaches a threshold, and its interval.

use reports::model::{Estimate, NoCrossing};

use super::order::{median, ordered};

/// What one block has measured of a quantity that should rise with `x`: pairs of `x` and its value, by rising `x`.
pub(crate) type Curve = [(f64, f64)];

/// The duration at which the curves of several blocks, over durations in nanoseconds, reach `threshold`.
///
/// Each block gives one value, since its points were measured under the same conditions, and the interval is that of the
/// median of the blocks' values, by order statistics. Within a block the values are made monotone by isotonic regression (pool
/// adjacent violators; Barlow et al., "Statistical Inference under Order Restrictions", 1972), and interpolated linearly in the
/// logarithm of `x`.
///
/// # Errors
///
/// An interval that reaches beyond the measured durations has no figure; the error says what is known instead.
pub(crate) fn crossing<B: AsRef<Curve>>(blocks: &[B], threshold: f64) -> Result<Estimate, NoCrossing> {
    let curves: Vec<&Curve> = blocks.iter().map(AsRef::as_ref).filter(|curve| !curve.is_empty()).collect();
    let ends = |pick: fn(&Curve) -> Option<&(f64, f64)>| {
        median(&curves.iter().filter_map(|curve| pick(curve)).map(|(x, _)| *x).collect::<Vec<_>>())
    };
    let roots: Vec<f64> = curves.iter().map(|curve| root(curve, threshold)).collect();
    over_blocks(&roots, ends(<[_]>::first), ends(<[_]>::last))
}

/// The median of the blocks' crossings, of which some may lie below all that was measured (minus infinity) or above
/// (infinity). `first` and `last` are the ends of what was measured.
pub(crate) fn over_blocks(roots: &[f64], first: f64, last: f64) -> Result<Estimate, NoCrossing> {
    let estimate = ordered(roots).ok_or(NoCrossing::NotMeasured)?;
    let Estimate { low, high, .. } = estimate;
    match (low.is_finite(), high.is_finite()) {
        (true, true) => Ok(estimate),
        (false, true) => Err(NoCrossing::AtMost(high)),
        (true, false) => Err(NoCrossing::AtLeast(low)),
        (false, false) if low < high => Err(NoCrossing::Unknown),
        (false, false) if low < 0.0 => Err(NoCrossing::Below(first)),
        (false, false) => Err(NoCrossing::Above(last)),
    }
}

/// Where one block's curve reaches the threshold: minus infinity where it is above it from its first point on, infinity where
/// it never reaches it.
pub(crate) fn root(curve: &Curve, threshold: f64) -> f64 {
    let xs: Vec<f64> = curve.iter().map(|(x, _)| x.ln()).collect();
    let ys = isotonic(&curve.iter().map(|(_, y)| *y).collect::<Vec<_>>());
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
    use workloads::Random;

    use super::*;

    /// Blocks of an efficiency with an overhead of `h` per task: d / (d + h) reaches one half at d = h.
    fn curves(h: f64, noise: f64) -> Vec<Vec<(f64, f64)>> {
        let mut random = Random::new(3);
        let mut draw = move || 1.0 + noise * ((random.next_u64() % 1000) as f64 / 1000.0 - 0.5);
        let xs = || (0..12).map(|step| 1000.0 * 3.0_f64.powi(step));
        (0..9).map(|_| xs().map(|x| (x, draw() * x / (x + h))).collect()).collect()
    }

    #[test]
    fn the_half_is_found_at_the_overhead() {
        let found = crossing(&curves(50_000.0, 0.02), 0.5).unwrap();
        assert!((found.median / 50_000.0 - 1.0).abs() < 0.1, "{found:?}");
        assert!(found.low <= found.median && found.median <= found.high);
        assert!(found.high / found.low < 1.5, "{found:?}");
    }

    #[test]
    fn what_reaches_beyond_the_measured_range_is_a_bound_or_nothing() {
        let last = 1000.0 * 3.0_f64.powi(11);
        assert_eq!(crossing(&curves(1e12, 0.02), 0.5), Err(NoCrossing::Above(last)));
        assert_eq!(crossing(&curves(1.0, 0.02), 0.5), Err(NoCrossing::Below(1000.0)));
        assert_eq!(crossing::<Vec<_>>(&[], 0.5), Err(NoCrossing::NotMeasured));
        // In four or five of the nine blocks the curve is above the threshold from the first point on.
        let split = |early: usize, then: f64| {
            let block = |block| {
                let (first, second) = if block < early { (1.0, 1.0) } else { (0.0, then) };
                vec![(1000.0, first), (4000.0, second)]
            };
            crossing(&(0..9).map(block).collect::<Vec<_>>(), 0.5)
        };
        let most = split(4, 1.0);
        assert!(matches!(most, Err(NoCrossing::AtMost(most)) if (most / 2000.0 - 1.0).abs() < 1e-9), "{most:?}");
        assert_eq!(split(5, 0.0), Err(NoCrossing::Unknown));
        assert_eq!(
            NoCrossing::AtMost(2000.0).to_string(),
            "at most 2.00 µs (95% CI; its lower end is shorter than all that was measured)"
        );
    }

    #[test]
    fn one_block_of_nine_that_never_crosses_leaves_the_figure() {
        let mut curves = curves(50_000.0, 0.02);
        curves[3].iter_mut().for_each(|(_, value)| *value = 0.1);
        assert!(crossing(&curves, 0.5).is_ok());
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
