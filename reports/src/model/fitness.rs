//! Whether the machine was fit to measure executors.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::format::percent;

/// What was seen of the machine before, during and after the measurements.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fitness {
    /// The time of one spinning thread on each core while all cores spin, in multiples of the time of one alone, on the slowest
    /// core: 1 where all cores are there. `None` where threads cannot be pinned to cores.
    pub cores_before: Option<Estimate>,
    /// The same after the last sample.
    pub cores_after: Option<Estimate>,
    /// The smallest change that as many samples as a figure of this run has can tell, by pairs of the same sample; a share.
    pub smallest_effect: Option<f64>,
    /// Cores that were used by other programs while samples were taken: their CPU time over the time of all samples.
    pub others: Option<f64>,
    /// Samples that were taken again, because of what other programs did during the first attempt.
    pub repeated: u32,
    /// Why nothing can be said; empty on a fit machine.
    pub unfit: Vec<Unfit>,
}

/// Why a machine is not fit to measure executors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    /// On the slowest core, one spinning thread takes so many times as long while all cores spin.
    Cores(f64),
    /// No smaller change can be told than this share.
    Noise(f64),
    /// Other programs used so many cores while samples were taken.
    Others(f64),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores(times) => write!(
                f,
                "its cores are not all there: where each has one spinning thread, the slowest takes {times:.2} times as long as \
                 one alone"
            ),
            Self::Noise(share) => write!(
                f,
                "its noise is too large: two samples of the same differ so much that no change below {} can be told",
                percent(*share)
            ),
            Self::Others(cores) => {
                write!(f, "other programs used {cores:.1} cores while samples were taken")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_can_follow_a_colon() {
        assert_eq!(Unfit::Others(0.97).to_string(), "other programs used 1.0 cores while samples were taken");
        assert!(Unfit::Noise(0.25).to_string().ends_with("no change below 25% can be told"));
        assert!(Unfit::Cores(1.93).to_string().contains("takes 1.93 times as long"));
    }
}
