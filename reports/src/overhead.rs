//! The document of `lab overhead`: every figure with the values of its blocks, and the performance targets.
//!
//! Like [`Run`](crate::model::Run), this is a document by itself: the harness fills it, and this crate only shows it.

mod show;

use serde::{Deserialize, Serialize};

use crate::model::{Estimate, Host, OverheadGroup, Reason};

/// The version of this document's schema.
pub const SCHEMA_VERSION: u32 = 1;

/// Below this coverage, an interval is too uncertain for a sure status: two blocks give 50%, five 94%.
const SURE: f64 = 0.9;

/// One run of `lab overhead`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// The command that repeats this run, seed included.
    pub command: String,
    /// Revision of the source tree.
    pub revision: Option<String>,
    /// Seed of the order of measuring.
    pub seed: u64,
    /// Number of workers of each executor.
    pub workers: u32,
    /// Number of blocks that were asked for.
    pub blocks: u32,
    /// Whether this was the short form.
    pub quick: bool,
    /// Whether the user stopped it before the end.
    pub interrupted: bool,
    /// How long it took.
    pub elapsed_ns: u64,
    /// The machine.
    pub host: Host,
    /// Every figure, by measurement.
    pub figures: Vec<Figure>,
    /// The targets, and whether they are met.
    pub claims: Vec<Claim>,
}

/// One figure of one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Name of the measurement, as `--only` takes it.
    pub measurement: String,
    /// Executor, peer or baseline; empty names do not occur.
    pub subject: String,
    /// The group of the subject.
    pub group: OverheadGroup,
    /// The quantity that was measured: `p50`, `tasks`, `PSS per worker`, ...
    pub quantity: String,
    /// Unit of all values.
    pub unit: Unit,
    /// Median of the blocks' medians, with its interval; `None` where nothing could be measured.
    pub estimate: Option<Estimate>,
    /// The values.
    pub blocks: Vec<Block>,
    /// Whether it is left out of tables, because another figure is computed from it.
    pub detail: bool,
    /// Why there is no figure, or a note on it.
    pub note: String,
    /// Why there is no figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Reason>,
}

/// The values of one figure in one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Number of the block; equal numbers were measured next to each other.
    pub block: u32,
    /// Position in the whole schedule.
    pub order: u32,
    /// One value per round, in the order of measuring. Rounds of one block share a process.
    pub values: Vec<f64>,
}

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Time.
    Nanoseconds,
    /// Things per second.
    PerSecond,
    /// Bytes per second.
    BytesPerSecond,
    /// Memory.
    Bytes,
    /// A number of things.
    Count,
    /// One figure divided by another.
    Ratio,
}

/// A performance target: a figure that should be reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Name of the measurement.
    pub measurement: String,
    /// The subject whose figure it is.
    pub subject: String,
    /// The quantity of the figure.
    pub quantity: String,
    /// The subject by whose figure it is divided; empty for a figure that stands for itself.
    pub against: String,
    /// Unit of the values: [`Unit::Ratio`] unless the figure stands for itself.
    pub unit: Unit,
    /// Median of the blocks' ratios, with its interval.
    pub estimate: Option<Estimate>,
    /// One ratio per block, each of values of the same block.
    pub blocks: Vec<f64>,
    /// The bound to reach.
    pub reach: Judged,
    /// A bound that would be excellent.
    pub stretch: Option<Judged>,
    /// Why there is no figure, or a note on it.
    pub note: String,
}

/// A bound, and whether it holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The bound.
    pub bound: Bound,
    /// Whether it holds.
    pub verdict: TargetStatus,
}

/// On which side of a number a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// Whether a bound holds, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetStatus {
    /// It holds for the whole interval.
    Holds,
    /// It holds for the median; the interval crosses the bound, or there are too few blocks for an interval.
    SeemsToHold,
    /// It does not hold for the median; the interval crosses the bound, or there are too few blocks for an interval.
    SeemsToFail,
    /// It holds for no part of the interval.
    Fails,
    /// There is no figure.
    Unknown,
}

impl Bound {
    /// Whether the bound holds for an estimate.
    #[must_use]
    pub fn judge(self, estimate: Option<&Estimate>) -> Judged {
        let holds = |value: f64| match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        };
        let verdict = estimate.map_or(TargetStatus::Unknown, |estimate| {
            let sure = estimate.confidence >= SURE && holds(estimate.low) == holds(estimate.high);
            match (holds(estimate.median), sure) {
                (true, true) => TargetStatus::Holds,
                (true, false) => TargetStatus::SeemsToHold,
                (false, false) => TargetStatus::SeemsToFail,
                (false, true) => TargetStatus::Fails,
            }
        });
        Judged { bound: self, verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_sure_only_when_the_whole_interval_agrees() {
        let of = |low, median, high, confidence| Estimate { median, low, high, confidence, n: 7 };
        let judge = |bound: Bound, estimate: Estimate| bound.judge(Some(&estimate)).verdict;
        assert_eq!(judge(Bound::AtMost(6.0), of(4.0, 5.0, 6.0, 0.98)), TargetStatus::Holds);
        assert_eq!(judge(Bound::AtMost(6.0), of(4.0, 5.0, 7.0, 0.98)), TargetStatus::SeemsToHold);
        assert_eq!(judge(Bound::AtMost(6.0), of(4.0, 5.0, 5.5, 0.75)), TargetStatus::SeemsToHold);
        assert_eq!(judge(Bound::AtLeast(6.0), of(4.0, 5.0, 7.0, 0.98)), TargetStatus::SeemsToFail);
        assert_eq!(judge(Bound::AtLeast(6.0), of(4.0, 5.0, 5.5, 0.98)), TargetStatus::Fails);
        assert_eq!(Bound::AtLeast(6.0).judge(None).verdict, TargetStatus::Unknown);
    }
}
