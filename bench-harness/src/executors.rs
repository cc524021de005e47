//! The one registry of executors under test.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use clap::ValueEnum;
use executor_core::{
    Executor, Payload, PoolState, ProcessPoolExecutor, Promise, RayonExecutor, SerialExecutor, Shutdown,
    ShutdownReport, Stats, Submit, SubmitError, Task, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor,
};
use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// An executor by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Every task at once, where it is submitted.
    Serial,
    /// `ThreadPoolExecutor`.
    Thread,
    /// `ProcessPoolExecutor`.
    Process,
    /// `RayonExecutor`.
    Rayon,
    /// A new thread for each task.
    ThreadPerTask,
    /// A new worker process for each task.
    ProcessPerTask,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Serial, Self::Thread, Self::Process, Self::Rayon, Self::ThreadPerTask, Self::ProcessPerTask];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Thread => "thread",
            Self::Process => "process",
            Self::Rayon => "rayon",
            Self::ThreadPerTask => "thread-per-task",
            Self::ProcessPerTask => "process-per-task",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something to do with an executor of any type.
pub(crate) trait Visit {
    type Output;
    fn visit<E: Executor + Sync>(self, executor: &E, pids: &dyn Fn() -> Vec<u32>) -> Self::Output;
}

/// Builds an executor with its workers ready, and shows it to `visit`. `pids` are its worker processes.
pub(crate) fn with_executor<V: Visit>(kind: Kind, workers: usize, visit: V) -> Result<V::Output, LabError> {
    let none: &dyn Fn() -> Vec<u32> = &Vec::new;
    Ok(match kind {
        Kind::Serial => visit.visit(&SerialExecutor::new(), none),
        Kind::Thread => visit.visit(&ThreadPoolExecutor::new(workers)?, none),
        Kind::Rayon => visit.visit(&RayonExecutor::builder().max_workers(workers).build()?, none),
        Kind::Process => {
            let pool = ProcessPoolExecutor::new(workers)?;
            pool.warm_up().map_err(|error| LabError::Sample(crate::error::chain(&error)))?;
            visit.visit(&pool, &|| pool.worker_pids())
        }
        Kind::ThreadPerTask => visit.visit(&PerTask::new(workers, false), none),
        Kind::ProcessPerTask => visit.visit(&PerTask::new(workers, true), none),
    })
}

/// Starts something new for each task, with at most so many at the same time: what people write without a pool.
pub(crate) struct PerTask {
    core: PerTaskCore,
}

#[derive(Clone)]
pub(crate) struct PerTaskCore {
    slots: Arc<Slots>,
    processes: bool,
}

struct Slots {
    workers: usize,
    used: Mutex<usize>,
    changed: Condvar,
}

impl Slots {
    /// Waits until no more than `limit` are in use; takes one if `take`.
    fn wait(&self, limit: usize, take: bool) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > limit {
            used = self.changed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += usize::from(take);
    }

    fn release(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.changed.notify_all();
    }
}

impl PerTask {
    fn new(workers: usize, processes: bool) -> Self {
        let slots = Slots { workers, used: Mutex::new(0), changed: Condvar::new() };
        Self { core: PerTaskCore { slots: Arc::new(slots), processes } }
    }
}

impl Submit for PerTaskCore {
    fn submit_task<F, A, M>(&self, task: F, args: A, _: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.slots.wait(self.slots.workers - 1, true);
        let (promise, future) = Promise::new();
        let (slots, processes) = (Arc::clone(&self.slots), self.processes);
        let work = move || {
            let outcome = if processes { in_new_process(task, args) } else { Ok(task.call(args)) };
            slots.release();
            let _ = match outcome {
                Ok(result) => promise.set_result(result).map_err(drop),
                Err(error) => promise.set_error(error).map_err(drop),
            };
        };
        // A thread that cannot be started drops the promise, and the future says so.
        if thread::Builder::new().spawn(work).is_err() {
            self.slots.release();
        }
        Ok(future)
    }

    fn max_workers(&self) -> usize {
        self.slots.workers
    }
}

fn in_new_process<F, A, M>(task: F, args: A) -> Result<F::Output, TaskError>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
    M: 'static,
{
    let pool = ProcessPoolExecutor::new(1).map_err(|_| TaskError::ShutDown)?;
    pool.submit(task, args).map_err(|_| TaskError::ShutDown)?.result()
}

impl Executor for PerTask {
    type Core = PerTaskCore;

    fn core(&self) -> &PerTaskCore {
        &self.core
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn state(&self) -> PoolState {
        PoolState::Active
    }

    fn shutdown(&self, _: Shutdown, _: Option<Duration>) -> ShutdownReport {
        self.core.slots.wait(0, false);
        ShutdownReport::default()
    }
}

impl Drop for PerTask {
    fn drop(&mut self) {
        self.core.slots.wait(0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_per_task_runs_every_task_and_no_more_at_once_than_it_may() {
        struct Count;
        impl Visit for Count {
            type Output = u64;
            fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> u64 {
                executor.map(|x: u64| x, 0..100).map(|result| result.unwrap()).sum()
            }
        }
        assert_eq!(with_executor(Kind::ThreadPerTask, 3, Count).unwrap(), 4950);
        assert_eq!(with_executor(Kind::Serial, 1, Count).unwrap(), 4950);
    }
}
