//! The lab as a library: it plans, measures, analyzes, and hands the run to `reports`.
//!
//! The `lab` binary is [`Lab::new`] and its [`run`](Lab::run), and nothing else. A program with a function of its own to measure
//! calls [`task`](Lab::task) in between, and one with a workload that takes options [`with`](Lab::with).
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod cell;
mod cli;
mod compare;
mod contender;
mod date;
mod error;
mod executors;
mod experiments;
mod fitness;
mod late_start;
mod machine;
mod noise;
mod open_loop;
mod own_input;
mod own_task;
mod peers;
mod place;
mod plan;
mod registry;
mod run_command;
mod runner;
mod stats;
mod tell;
mod work;

use std::{fmt, process::ExitCode};

use executor_core::{Payload, Task};
use workloads::{VisitWorkload as _, Workload};

pub use own_task::Inputs;
use own_task::OwnTask;
use registry::Registry;

/// The lab, with the workloads that it knows.
///
/// Its samples are taken in processes of their own, which are the same program started again: `main` must call
/// [`run`](Lab::run) and do nothing before it.
///
/// ```no_run
/// use bench_harness::Lab;
/// use serde::{Deserialize, Serialize};
/// use workloads::{JobSize, Place, PrepareError, Prepared, Workload};
///
/// /// Sums of `numbers` numbers each.
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct Sums {
///     numbers: u64,
/// }
///
/// impl Workload for Sums {
///     const NAME: &'static str = "sums";
///     type Input = u64;
///     type Output = u64;
///
///     fn of_job(job: &JobSize) -> Self {
///         Self { numbers: if job.quick { 1_000_000 } else { 10_000_000 } }
///     }
///
///     fn prepare(&self, _: &Place<'_>) -> Result<Prepared<u64>, PrepareError> {
///         Ok(Prepared::described(vec![self.numbers; 50], format!("50 sums of {} numbers", self.numbers)))
///     }
///
///     fn run(numbers: u64) -> u64 {
///         (0..numbers).sum()
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     // Now `sweep sums`, `run sums` and `bench` know it.
///     Lab::new().with::<Sums>().run()
/// }
/// ```
pub struct Lab {
    registry: Registry,
}

impl Lab {
    /// A lab with the built-in workloads.
    #[must_use]
    pub fn new() -> Self {
        Self { registry: Registry::built_in() }
    }

    /// Adds a workload, which all commands know from now on. It replaces a workload of the same name.
    #[must_use]
    pub fn with<W: Workload>(mut self) -> Self {
        self.registry.visit::<W>();
        self
    }

    /// A lab without workloads, for a program that measures its own work only.
    #[must_use]
    pub fn empty() -> Self {
        Self { registry: Registry::default() }
    }

    /// Adds a function with its inputs, which all commands know from now on by this name. It replaces a workload of the same name.
    ///
    /// `task` is what can be sent to any executor: a function, or a closure that captures nothing, whose argument and result serde
    /// can write and read. `load` returns a `Vec` of arguments, or a `Result` with one. It is called in each process that takes a
    /// sample, and must load the same inputs in the same order each time, which is checked by a digest. The answers of each
    /// executor are compared with those of the serial run. A function that returns a `Result` goes to [`try_task`](Self::try_task).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use bench_harness::Lab;
    ///
    /// fn digits(number: u64) -> usize {
    ///     number.to_string().len()
    /// }
    ///
    /// fn main() -> std::process::ExitCode {
    ///     Lab::empty().task("digits", digits, || (0..1000).collect::<Vec<u64>>()).run()
    /// }
    /// ```
    #[must_use]
    pub fn task<I, F, M, N>(self, name: &'static str, task: F, load: impl Fn() -> N + Send + Sync + 'static) -> Self
    where
        I: Payload,
        F: Task<I, M>,
        F::Output: Payload,
        M: 'static,
        N: Inputs<I>,
    {
        self.add(OwnTask::new(name, task, load, |_| None))
    }

    /// Like [`task`](Self::task), for a function that may fail: an error is the failure of its item, and fails the cell.
    #[must_use]
    pub fn try_task<I, F, M, N, T, E>(
        self,
        name: &'static str,
        task: F,
        load: impl Fn() -> N + Send + Sync + 'static,
    ) -> Self
    where
        I: Payload,
        F: Task<I, M, Output = Result<T, E>>,
        Result<T, E>: Payload,
        E: fmt::Display,
        M: 'static,
        N: Inputs<I>,
    {
        self.add(OwnTask::new(name, task, load, |output| output.as_ref().err().map(ToString::to_string)))
    }

    fn add<I, F, M>(mut self, task: OwnTask<I, F, M>) -> Self
    where
        I: Payload,
        F: Task<I, M>,
        F::Output: Payload,
        M: 'static,
    {
        self.registry.add(Box::new(task));
        self
    }

    /// Runs the command of the command line, and reports errors on standard error. In a worker process it does not return.
    #[must_use]
    pub fn run(self) -> ExitCode {
        executor_core::init();
        peers::init();
        match cli::run(&self.registry) {
            Ok(code) => code,
            Err(error) => {
                tell::tell!("error: {}", error::chain(&error));
                error.exit_code()
            }
        }
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.registry.iter().map(|workload| workload.name())).finish()
    }
}
