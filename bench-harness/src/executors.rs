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
use reports::model::SERIAL;
use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// An executor by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `SerialExecutor`: each task runs at once, in `submit`.
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

/// The properties of an executor in the lab.
struct Row {
    kind: Kind,
    name: &'static str,
    /// A note on its figures for the reader of a table.
    note: &'static str,
    /// Whether it keeps its workers from task to task, so that its overhead is measured in detail.
    is_pool: bool,
    has_processes: bool,
}

/// The one table of executors under test, in the order of reports; every list of executors derives from it.
static TABLE: [Row; 6] = [
    Row {
        kind: Kind::Serial,
        name: SERIAL,
        note: "runs the task in submit; arguments are moved, not copied",
        is_pool: false,
        has_processes: false,
    },
    Row { kind: Kind::Thread, name: "thread", note: MOVED, is_pool: true, has_processes: false },
    Row { kind: Kind::Process, name: "process", note: "", is_pool: true, has_processes: true },
    Row { kind: Kind::Rayon, name: "rayon", note: MOVED, is_pool: true, has_processes: false },
    Row { kind: Kind::ThreadPerTask, name: "thread-per-task", note: MOVED, is_pool: false, has_processes: false },
    Row { kind: Kind::ProcessPerTask, name: "process-per-task", note: "", is_pool: false, has_processes: true },
];

const MOVED: &str = "arguments are moved, not copied";

impl Kind {
    pub(crate) const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Serial; TABLE.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = TABLE[index].kind;
            index += 1;
        }
        all
    };

    /// The executors that keep their workers.
    pub(crate) fn pools() -> impl Iterator<Item = Self> {
        TABLE.iter().filter(|row| row.is_pool).map(|row| row.kind)
    }

    fn row(self) -> &'static Row {
        // INVARIANT: the table is in the order of the enum; a test checks it.
        &TABLE[self as usize]
    }

    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    pub(crate) fn note(self) -> &'static str {
        self.row().note
    }

    pub(crate) fn has_processes(self) -> bool {
        self.row().has_processes
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An action on an executor of any type.
pub(crate) trait Visit {
    type Output;
    fn visit<E: Executor + Sync>(self, executor: &E, pids: &dyn Fn() -> Vec<u32>) -> Self::Output;
}

/// Builds an executor with its workers ready, and passes it to `visit`. `pids` returns its worker processes.
pub(crate) fn with_executor<V: Visit>(kind: Kind, workers: usize, visit: V) -> Result<V::Output, LabError> {
    let none: &dyn Fn() -> Vec<u32> = &Vec::new;
    Ok(match kind {
        Kind::Serial => visit.visit(&SerialExecutor::new(), none),
        Kind::ThreadPerTask => visit.visit(&PerTask::new(workers, false), none),
        Kind::ProcessPerTask => visit.visit(&PerTask::new(workers, true), none),
        Kind::Thread | Kind::Rayon | Kind::Process => return with_pool(kind, workers, visit),
    })
}

/// The same for an executor that keeps its workers: what only these can do is not compiled for the others.
pub(crate) fn with_pool<V: Visit>(kind: Kind, workers: usize, visit: V) -> Result<V::Output, LabError> {
    let none: &dyn Fn() -> Vec<u32> = &Vec::new;
    Ok(match kind {
        Kind::Thread => visit.visit(&ThreadPoolExecutor::new(workers)?, none),
        Kind::Rayon => visit.visit(&RayonExecutor::builder().max_workers(workers).build()?, none),
        Kind::Process => {
            let pool = ProcessPoolExecutor::new(workers)?;
            pool.warm_up().map_err(|error| LabError::Sample(crate::error::chain(&error)))?;
            visit.visit(&pool, &|| pool.worker_pids())
        }
        other => return Err(LabError::Sample(format!("{other} keeps no workers"))),
    })
}

/// Starts a new thread or process for each task, with at most `workers` at the same time: what a program without a pool does.
pub(crate) struct PerTask {
    core: PerTaskHandle,
}

#[derive(Clone)]
pub(crate) struct PerTaskHandle {
    slots: Arc<Slots>,
    processes: bool,
}

struct Slots {
    workers: usize,
    used: Mutex<usize>,
    changed: Condvar,
}

impl Slots {
    /// Waits until at most `limit` places are in use; takes one more if `take`.
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
        Self { core: PerTaskHandle { slots: Arc::new(slots), processes } }
    }
}

impl Submit for PerTaskHandle {
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
    type Handle = PerTaskHandle;

    fn handle(&self) -> &PerTaskHandle {
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
    fn the_table_is_in_the_order_of_the_kinds_and_has_the_names_that_clap_and_serde_have() {
        assert_eq!(Kind::ALL, Kind::value_variants());
        for kind in Kind::ALL {
            assert_eq!(kind.row().kind, kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.name());
        }
    }

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
