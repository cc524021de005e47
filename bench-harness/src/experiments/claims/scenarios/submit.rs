//! How long `submit` takes while tasks pile up: claim 6.

use std::time::Instant;

use executor_core::{Executor, TaskFuture};

use super::tasks::{on, square};
use crate::{
    executors::{AnyExecutor, Kind},
    stats::nanos,
};

/// Tasks that are submitted one after the other.
const TASKS: usize = 20_000;

/// The 99th percentile, in nanoseconds.
pub(super) fn slow_submit(kind: Kind, workers: u32) -> Result<f64, String> {
    let mut times = on(kind, workers as usize, submits_on)?;
    if times.len() != TASKS {
        return Err(format!("{kind} took {} of {TASKS} tasks", times.len()));
    }
    times.sort_unstable();
    Ok(times[TASKS * 99 / 100] as f64)
}

fn submits_on(executor: &AnyExecutor) -> Vec<u64> {
    let (mut times, mut futures) = (Vec::with_capacity(TASKS), Vec::<TaskFuture<u64>>::with_capacity(TASKS));
    for number in 0..TASKS as u64 {
        let start = Instant::now();
        let submitted = executor.submit(square, number);
        let time = nanos(start.elapsed());
        if let Ok(future) = submitted {
            times.push(time);
            futures.push(future);
        }
    }
    let right = (0..).zip(futures).filter_map(|(number, future)| (future.result() == Ok(square(number))).then_some(()));
    // A submit whose task has no answer is none.
    times.truncate(right.count());
    times
}
