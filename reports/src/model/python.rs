//! Python's pools on the same work, measured beside the lab's executors.

use serde::{Deserialize, Serialize};

use super::{
    Estimate,
    outcome::{Skipped, Verdict},
};

/// What was measured of Python, or why it was not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PythonBeside {
    /// Number of workers of each pool, of Python and of the lab.
    pub workers: u32,
    /// Each Python that was measured.
    pub interpreters: Vec<Interpreter>,
    /// Every workload on every executor, of the lab and of Python.
    pub cells: Vec<PythonCell>,
    /// The executors of Python against those of the lab.
    pub comparisons: Vec<PythonComparison>,
    /// What was not there to be measured, with the cure.
    pub missing: Vec<Skipped>,
}

/// One Python, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Its name: `CPython 3.14.0`.
    pub name: String,
    /// Path of the program.
    pub executable: String,
    /// Whether the global interpreter lock is on.
    pub gil: bool,
    /// How worker processes of its process pool are started: `fork`, `forkserver`, `spawn`.
    pub start_method: String,
    /// Version of its SQLite; empty where it has none.
    pub sqlite: String,
    /// Version of loky; empty where it has none.
    pub loky: String,
}

/// One workload on one executor of the lab or of Python.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PythonCell {
    /// Name of the workload.
    pub workload: String,
    /// Name of the executor: `thread`, or `CPython 3.14.0: ThreadPoolExecutor`.
    pub executor: String,
    /// Tasks in one sample.
    pub tasks: u64,
    /// Every sample, in the order of measuring.
    pub samples: Vec<PythonSample>,
    /// Median of the samples' makespans with its interval.
    pub makespan_ns: Option<Estimate>,
    /// Whether its answers equal those of the serial executor of the lab.
    pub verdict: Verdict,
}

impl PythonCell {
    /// Whether its executor is one of the lab, and not of a Python.
    pub fn is_of_lab(&self) -> bool {
        !self.executor.contains(": ")
    }
}

/// One timed execution of all tasks of a cell, in a process of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PythonSample {
    /// Block of the schedule; samples of one block were measured next to each other.
    pub block: u32,
    /// Position in the whole schedule.
    pub order: u32,
    /// From the first submit until the last result, on a pool that was already warm, by the executor's own clock.
    pub makespan_ns: u64,
    /// Digest of the answers.
    pub digest: String,
}

/// An executor of Python against the one of the lab that does the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PythonComparison {
    /// Name of the workload.
    pub workload: String,
    /// The executor of Python.
    pub executor: String,
    /// The executor of the lab.
    pub against: String,
    /// Time of the first divided by time of the second, by block.
    pub ratio: Option<Estimate>,
    /// What the ratio says.
    pub verdict: PythonVerdict,
}

/// What a [`PythonComparison`] says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PythonVerdict {
    /// Python takes longer.
    Slower,
    /// Python takes less time.
    Faster,
    /// Both take the same time, within 5%.
    Even,
    /// The interval is too wide to say which.
    CannotTell,
    /// The samples are too few for an interval.
    TooFew,
    /// One of both has no valid sample.
    #[default]
    NotMeasured,
}
