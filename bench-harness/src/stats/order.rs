//! Medians with intervals that need no assumption about the distribution.

use reports::model::Estimate;
use workloads::Random;

/// The median of `samples` with the narrowest symmetric interval of order statistics that covers the true median with 95%
/// probability, or with the most that so few samples can reach (Conover, "Practical Nonparametric Statistics", 3.2).
pub(crate) fn estimate(samples: &[f64]) -> Option<Estimate> {
    ordered(&samples.iter().copied().filter(|sample| sample.is_finite()).collect::<Vec<_>>())
}

/// The same for samples of which some may be infinite: what lies beyond the measured range has its place in the order.
pub(crate) fn ordered(samples: &[f64]) -> Option<Estimate> {
    Estimate::of_samples(samples)
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n % 2 == 1 { sorted[n / 2] } else { f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]) }
}

/// The sample median; NaN where there are no samples.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    if sorted.is_empty() { f64::NAN } else { median_of_sorted(&sorted) }
}

/// The ratio of the medians of two independent sets of samples, new to base, with a 95% interval by bootstrap (percentiles
/// of 2000 resamples of each set; Efron and Tibshirani, "An Introduction to the Bootstrap", 13).
pub(crate) fn ratio_of_medians(base: &[f64], new: &[f64], seed: u64) -> Option<(f64, f64, f64)> {
    if base.is_empty() || new.is_empty() {
        return None;
    }
    let mut random = Random::new(seed);
    let mut ratios: Vec<f64> = (0..2000).map(|_| resample(new, &mut random) / resample(base, &mut random)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    Some((median(new) / median(base), ratios[50], ratios[1949]))
}

fn resample(samples: &[f64], random: &mut Random) -> f64 {
    let drawn: Vec<f64> =
        samples.iter().map(|_| samples[(random.next_u64() % samples.len() as u64) as usize]).collect();
    median(&drawn)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_as_in_the_tables() {
        let of = |n: u32| estimate(&(1..=n).map(f64::from).collect::<Vec<_>>()).unwrap();
        let three = of(3);
        assert_eq!((three.median, three.low, three.high, three.confidence), (2.0, 1.0, 3.0, 0.75));
        assert_eq!(of(5).confidence, 0.9375);
        assert_eq!((of(6).low, of(6).high, of(6).confidence), (1.0, 6.0, 0.96875));
        // For 20 samples the 6th and the 15th.
        assert_eq!((of(20).low, of(20).high), (6.0, 15.0));
        assert!((of(20).confidence - 0.9586).abs() < 1e-4);
        assert_eq!((of(1).median, of(1).confidence), (1.0, 0.0));
        assert!(estimate(&[]).is_none());
    }

    #[test]
    fn equal_samples_have_ratio_one_and_a_doubled_one_two() {
        let base: Vec<f64> = (100..110).map(f64::from).collect();
        let double: Vec<f64> = base.iter().map(|x| 2.0 * x).collect();
        let (ratio, low, high) = ratio_of_medians(&base, &base, 1).unwrap();
        assert!(ratio == 1.0 && low <= 1.0 && high >= 1.0);
        let (ratio, low, high) = ratio_of_medians(&base, &double, 1).unwrap();
        assert!(ratio == 2.0 && low > 1.8 && high < 2.2);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_median_and_lies_in_the_range(samples in prop::collection::vec(-1e9..1e9_f64, 1..60)) {
            let estimate = estimate(&samples).unwrap();
            prop_assert!(estimate.low <= estimate.median && estimate.median <= estimate.high);
            let (min, max) = samples.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
            prop_assert!(min <= estimate.low && estimate.high <= max);
            prop_assert!(samples.len() < 6 || estimate.confidence >= 0.95);
        }

        #[test]
        fn order_does_not_matter(mut samples in prop::collection::vec(0.0..1e6_f64, 1..40)) {
            let before = estimate(&samples).unwrap();
            samples.reverse();
            prop_assert_eq!(before, estimate(&samples).unwrap());
        }
    }
}
