//! Why a cell takes longer than another one that should be as fast.

use serde::{Deserialize, Serialize};

use super::Estimate;

/// A cell that takes longer than another one, with the cause as far as the counters tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Id of the slow cell.
    pub cell: String,
    /// Id of the cell that it is compared with.
    pub against: String,
    /// Time of the one divided by that of the other, by block. Where they have another number of cores to run on, time is that of
    /// all of these cores together.
    pub ratio: Estimate,
    /// The causes, that with the largest share first; empty where nothing that is counted stands out.
    pub kinds: Vec<CauseKind>,
    /// The counters that show it, in words.
    pub evidence: String,
    /// The same ratio with the cause turned off; `None` where no switch is known, or it was not measured again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Switched>,
    /// The comparison in words: `one worker process needs 2.04x the time of the serial run`.
    pub what: String,
}

/// What takes the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// Pages that are given back to the system, and asked for again.
    PageFaults,
    /// Threads that sleep until another one wakes them: locks, queues, pipes.
    Waiting,
    /// Threads that were ready to run and had no core, though there is one for each worker: another program had it, or one of the
    /// threads that submit, collect and supervise.
    Queued,
    /// The host of a virtual machine took the cores.
    Stolen,
    /// The task itself takes more time in user mode: copies, caches, memory bandwidth, spinning.
    UserTime,
    /// Cores that were idle without a thread that sleeps more often: too few tasks to share.
    Idle,
}

/// A cause that was turned off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Switched {
    /// How, in words.
    pub switch: String,
    /// The ratio, with the cause turned off in both cells.
    pub ratio: Estimate,
}
