//! `spin`: computes. It uses the cores, and no resource that threads share.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use clap::{ArgMatches, Args, Command};
use serde::{Deserialize, Serialize};

use crate::{
    PrepareError, Prepared,
    workload::{JobSize, Place, Workload, parsed},
};

/// The amount of computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spin {
    /// Steps of the computation; see [`calibrate`].
    pub iterations: u64,
    /// The starting value, on which the answer depends.
    pub seed: u64,
}

/// A chain of multiplications, each of which needs the one before, so that it cannot be shortened or spread out.
#[must_use]
pub fn spin(task: Spin) -> u64 {
    let mut value = task.seed | 1;
    for _ in 0..task.iterations {
        // Knuth's MMIX generator; opaque to the optimizer, which could otherwise compute many steps at once.
        value = black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    }
    value
}

/// Iterations of [`spin`] in a microsecond on this machine, right now: the fastest of several runs of about a millisecond.
#[must_use]
pub fn calibrate() -> f64 {
    let mut iterations = 1000;
    let mut best = 0.0_f64;
    let mut runs = 0;
    while runs < 20 {
        let start = Instant::now();
        black_box(spin(Spin { iterations, seed: 1 }));
        let elapsed = start.elapsed();
        if elapsed < Duration::from_millis(1) {
            iterations *= 2;
            continue;
        }
        best = best.max(iterations as f64 / (elapsed.as_nanos() as f64 / 1000.0));
        runs += 1;
    }
    best
}

/// The workload: a number of such tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct SpinTasks {
    /// Number of tasks.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: u32,
    /// Steps of the computation in each.
    #[arg(long, default_value_t = 500_000)]
    pub iterations: u64,
}

impl Workload for SpinTasks {
    const NAME: &'static str = "spin";
    const ABOUT: &'static str = "Compute";

    type Input = Spin;
    type Output = u64;

    fn of_job(job: &JobSize) -> Self {
        Self { tasks: 200, iterations: (500.0 * job.iterations_per_us) as u64 }
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Prepared<Spin>, PrepareError> {
        let items = (0..self.tasks).map(|seed| Spin { iterations: self.iterations, seed: seed.into() });
        // Calibrated on each machine anew: the input is the time, which the iterations reach.
        let description = format!("{} tasks of about 500 µs each, by calibrated iterations", self.tasks);
        Ok(Prepared::described(items.collect(), description))
    }

    fn run(input: Spin) -> u64 {
        spin(input)
    }

    fn run_options(command: Command) -> Command {
        Self::augment_args(command)
    }

    fn from_run(matches: &ArgMatches) -> Result<Self, PrepareError> {
        parsed(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spin_depends_on_every_iteration_and_on_the_seed() {
        let at = |iterations, seed| spin(Spin { iterations, seed });
        assert_eq!(at(0, 5), 5);
        assert_ne!(at(1, 5), at(2, 5));
        assert_ne!(at(1000, 5), at(1000, 7));
        assert_eq!(at(1000, 5), at(1000, 5));
    }

    #[test]
    fn calibration_finds_some_speed() {
        assert!(calibrate() > 1.0);
    }
}
