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
