//! How the measuring of one combination ended, or why it did not begin.

use serde::{Deserialize, Serialize};

/// Whether a cell's answers were right.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Verdict {
    /// All digests equal the serial executor's.
    Correct,
    /// At least one digest differs: the cell is wrong, however fast it was.
    Wrong {
        /// Digest of the serial executor.
        expected: String,
        /// The digest that differs.
        found: String,
    },
    /// The cell could not be measured.
    Failed {
        /// Why, in words.
        error: String,
    },
    /// The run was stopped before this cell had a sample.
    #[default]
    NotMeasured,
}

/// A combination that was not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// The combination.
    pub what: String,
    /// Why.
    pub reason: String,
}
