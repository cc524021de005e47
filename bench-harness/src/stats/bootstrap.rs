//! Intervals from a bootstrap over few blocks.
//!
//! The percentile interval of few blocks is too narrow, and is widened as Hesterberg says ("What Teachers Should Know About the
//! Bootstrap", 2015, section 5.3).

use reports::model::Estimate;

/// Student's t at 97.5% for 1 to 30 degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// By how much the percentile interval of so few blocks is too narrow.
pub(crate) fn widening(blocks: usize) -> f64 {
    if blocks < 2 {
        return 1.0;
    }
    let student = STUDENT.get(blocks - 2).copied().unwrap_or(1.96);
    student / 1.96 * (blocks as f64 / (blocks - 1) as f64).sqrt()
}

/// The interval of a coefficient that cannot be negative, from its draws, which are too narrow by `factor`.
pub(crate) fn bootstrap_interval(middle: f64, draws: &[f64], factor: f64, blocks: usize) -> Estimate {
    let end = |share| (middle + factor * (quantile(draws, share) - middle)).max(0.0);
    Estimate {
        median: middle,
        low: end(0.025).min(middle),
        high: end(0.975).max(middle),
        // One block says nothing of others.
        confidence: if blocks < 2 { 0.0 } else { 0.95 },
        n: blocks as u32,
    }
}

/// The value that this share of the others does not exceed; 0 where there are none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}
