//! Where a rising curve reaches a threshold, and how sure that is.

use reports::model::Estimate;
use workloads::Random;

use super::order::median;

/// Measurements of a quantity that should rise with `x`: for each `x`, one value per block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curve {
    pub(crate) points: Vec<(f64, Vec<f64>)>,
}

const RESAMPLES: usize = 1000;

/// Where the curve reaches `threshold`.
///
/// The medians are made monotone by isotonic regression (pool adjacent violators; Barlow et al., "Statistical Inference under
/// Order Restrictions", 1972), and interpolated linearly in the logarithm of `x`. The interval is that of a bootstrap over
/// blocks: whole blocks are drawn, because values of one block share the machine's mood.
///
/// # Errors
///
/// Why there is no answer, in words: the curve reaches the threshold outside of the measured range, or it does so in too many
/// of the resamples.
pub(crate) fn crossing(curve: &Curve, threshold: f64, seed: u64) -> Result<Estimate, &'static str> {
    let blocks = curve.points.iter().map(|(_, values)| values.len()).min().unwrap_or(0);
    if blocks == 0 {
        return Err("nothing was measured");
    }
    let all: Vec<usize> = (0..blocks).collect();
    let Some(middle) = root(curve, &all, threshold) else {
        let first = curve.points.first().map_or(f64::NAN, |(_, values)| median(values));
        return Err(if first >= threshold { "below the measured range" } else { "above the measured range" });
    };
    let mut random = Random::new(seed);
    let mut roots: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn: Vec<usize> = all.iter().map(|_| (random.next_u64() % blocks as u64) as usize).collect();
            root(curve, &drawn, threshold)
        })
        .collect();
    if roots.len() < RESAMPLES * 95 / 100 {
        return Err("too uncertain: in more than 5 % of the resamples it is outside of the measured range");
    }
    roots.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| roots[(share * (roots.len() - 1) as f64).round() as usize];
    Ok(Estimate {
        median: middle,
        low: at(0.025).min(middle),
        high: at(0.975).max(middle),
        confidence: 0.95,
        n: blocks as u32,
    })
}

fn root(curve: &Curve, blocks: &[usize], threshold: f64) -> Option<f64> {
    let xs: Vec<f64> = curve.points.iter().map(|(x, _)| x.ln()).collect();
    let medians: Vec<f64> = curve
        .points
        .iter()
        .map(|(_, values)| median(&blocks.iter().map(|block| values[*block]).collect::<Vec<_>>()))
        .collect();
    let ys = isotonic(&medians);
    let right = ys.iter().position(|y| *y >= threshold)?;
    // Already there at the first point: where it crossed has not been measured.
    let left = right.checked_sub(1)?;
    let share = (threshold - ys[left]) / (ys[right] - ys[left]);
    Some((xs[left] + share * (xs[right] - xs[left])).exp())
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
    fn no_crossing_in_the_range_is_none() {
        assert_eq!(crossing(&curve(1e12, 0.02), 0.5, 1), Err("above the measured range"));
        assert_eq!(crossing(&curve(1.0, 0.02), 0.5, 1), Err("below the measured range"));
        assert!(crossing(&Curve::default(), 0.5, 1).is_err());
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
