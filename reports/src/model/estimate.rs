//! A figure with its interval.

use serde::{Deserialize, Serialize};

/// A median with the interval that order statistics give it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The sample median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// The coverage that the interval reaches; with few samples this is below 0.95.
    pub confidence: f64,
    /// Number of samples.
    pub n: u32,
}

impl Estimate {
    /// The median of `samples` with the narrowest symmetric interval of order statistics that covers the true median with 95%
    /// probability, or with the most that so few samples can reach (Conover, "Practical Nonparametric Statistics", 3.2). Samples
    /// may be infinite: what lies beyond the measured range has its place in the order. `None` without samples.
    #[must_use]
    pub fn of_samples(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let n = sorted.len();
        if n == 0 {
            return None;
        }
        let (mut low, mut confidence) = (0, coverage(n, 0));
        while low + 1 < n - (low + 1) && coverage(n, low + 1) >= 0.95 {
            low += 1;
            confidence = coverage(n, low);
        }
        let median = if n % 2 == 1 { sorted[n / 2] } else { f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]) };
        Some(Self { median, low: sorted[low], high: sorted[n - 1 - low], confidence, n: n as u32 })
    }
}

/// Probability that the median lies between the order statistics `low` and `n - 1 - low` (counted from 0): all but the two
/// tails of `low` or fewer successes of a fair coin.
fn coverage(n: usize, low: usize) -> f64 {
    let mut term = 0.5_f64.powi(n as i32);
    let mut tail = term;
    for k in 0..low {
        term *= (n - k) as f64 / (k + 1) as f64;
        tail += term;
    }
    1.0 - 2.0 * tail
}
