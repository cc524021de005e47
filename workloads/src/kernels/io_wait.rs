//! `io_wait`: waits without using the CPU. It uses no resource, so all time beyond the wait is overhead.

use std::time::Duration;

use clap::{ArgMatches, Args, Command};
use serde::{Deserialize, Serialize};

use crate::{
    PrepareError, Prepared,
    workload::{AN_HOUR_MS, JobSize, Place, Workload, parsed},
};

/// The duration of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoWait {
    /// Microseconds.
    pub micros: u64,
    /// A number that is returned as the answer.
    pub index: u64,
}

/// Waits without using the CPU.
#[must_use]
pub fn io_wait(task: IoWait) -> u64 {
    std::thread::sleep(Duration::from_micros(task.micros));
    task.index
}

/// The workload: a number of such tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct IoWaitTasks {
    /// Number of tasks.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: u32,
    /// Microseconds to wait in each.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(0..=1000 * AN_HOUR_MS))]
    pub micros: u64,
}

impl Workload for IoWaitTasks {
    const NAME: &'static str = "io_wait";
    const ALIAS: Option<&'static str> = Some("io-wait");
    const ABOUT: &'static str = "Wait without using the CPU";
    const WAITS: bool = true;

    type Input = IoWait;
    type Output = u64;

    fn of_job(job: &JobSize) -> Self {
        Self { tasks: if job.quick { 50 } else { 100 }, micros: 5000 }
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Prepared<IoWait>, PrepareError> {
        let items = (0..self.tasks).map(|index| IoWait { micros: self.micros, index: index.into() });
        Ok(Prepared::described(items.collect(), format!("{} tasks that wait {} µs each", self.tasks, self.micros)))
    }

    fn run(input: IoWait) -> u64 {
        io_wait(input)
    }

    fn run_options(command: Command) -> Command {
        Self::augment_args(command)
    }

    fn from_run(matches: &ArgMatches) -> Result<Self, PrepareError> {
        parsed(matches)
    }
}
