//! What one run of the lab is asked for.

use std::{path::PathBuf, time::Duration};

use crate::{executors::Kind, own_input::OwnInput};

/// What the user may choose.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    /// For `sweep`: only this workload.
    pub(crate) workload: Option<String>,
    pub(crate) executors: Vec<Kind>,
    pub(crate) workers: Vec<u32>,
    pub(crate) repetitions: Option<u32>,
    pub(crate) own: OwnInput,
    /// Name of the run, and when it began.
    pub(crate) id: String,
    pub(crate) started: Duration,
    /// The command that repeats the run.
    pub(crate) command: String,
    pub(crate) data: PathBuf,
}
