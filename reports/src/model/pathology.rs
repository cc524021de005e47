//! What threads share and processes do not: the same tasks with a cause and without it, on threads and on processes.

use serde::{Deserialize, Serialize};

use super::Estimate;

/// One cause with its switch, or a control without one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pathology {
    /// Unique in the run, and stable between runs: `sqlite-writer`.
    pub id: String,
    /// What the tasks do.
    pub title: String,
    /// How the cause is turned off; empty for a control.
    pub switch: String,
    /// Number of workers.
    pub workers: u32,
    /// Tasks in one sample.
    pub tasks: u64,
    /// Every sample, in the order of measuring.
    pub samples: Vec<PathologySample>,
    /// Time on processes divided by time on threads, by block, with the cause.
    pub with: Option<Estimate>,
    /// The same without the cause.
    pub without: Option<Estimate>,
    /// On threads: time with the cause divided by time without it, by block.
    pub threads: Option<Estimate>,
    /// The same on processes.
    pub processes: Option<Estimate>,
    /// What the figures say.
    pub verdict: PathologyVerdict,
}

impl Pathology {
    /// Whether it has no cause to turn off: threads must tie or win.
    pub fn is_control(&self) -> bool {
        self.switch.is_empty()
    }
}

/// One timed execution of the tasks, in a process of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathologySample {
    /// Block of the schedule; samples of one block were measured next to each other.
    pub block: u32,
    /// Position in the whole schedule.
    pub order: u32,
    /// Name of the executor.
    pub executor: String,
    /// Whether the cause was there.
    pub with: bool,
    /// From the first submit until the last result.
    pub makespan_ns: u64,
    /// CPU time in the kernel.
    pub system_cpu_ns: u64,
    /// Context switches by waiting.
    pub voluntary_switches: u64,
    /// Page faults served without the disk.
    pub minor_faults: u64,
}

/// What the figures of a [`Pathology`] say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PathologyVerdict {
    /// Processes are faster with the cause.
    ProcessesWin {
        /// Whether they are not any more without it.
        gone: bool,
    },
    /// Threads are faster.
    ThreadsWin,
    /// The interval includes 1: of a control that is an answer. Of a cause it says that these cores do not show it.
    Tie,
    /// The machine has fewer cores than it takes.
    NeedsCores {
        /// The least number.
        cores: u32,
    },
    /// It needs another build of the lab.
    NotBuilt,
    /// An executor gave other answers than another one.
    Wrong,
    /// It could not be measured.
    Failed {
        /// Why, in words.
        error: String,
    },
    /// The run was stopped before, or has too few blocks for an interval.
    #[default]
    NotMeasured,
}
