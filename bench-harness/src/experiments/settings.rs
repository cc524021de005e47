//! The settings of one run of the lab.

use std::{path::PathBuf, time::Duration};

use clap::ArgMatches;

use crate::{executors::Kind, registry::Registry};

/// The choices of the user.
pub(crate) struct Settings<'a> {
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    /// All workloads that this lab knows.
    pub(crate) registry: &'a Registry,
    /// Only this workload, by name.
    pub(crate) workload: Option<&'static str>,
    pub(crate) executors: Vec<Kind>,
    pub(crate) workers: Vec<u32>,
    pub(crate) repetitions: Option<u32>,
    /// Shares of the closed loop's throughput at which latencies are measured; of workloads that wait also without any.
    pub(crate) loads: Vec<f64>,
    /// Say what was measured even if the machine is not fit to measure it.
    pub(crate) accept_unfit: bool,
    /// The user's own input: paths, and the options of the command.
    pub(crate) own: Option<(Vec<PathBuf>, ArgMatches)>,
    /// Name of the run, and the time of its start.
    pub(crate) id: String,
    pub(crate) started: Duration,
    /// The command that repeats the run.
    pub(crate) command: String,
    pub(crate) data: PathBuf,
}
