//! What a program without a pool does: a new thread or process for each task.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use executor_core::{
    Executor, Payload, PoolState, ProcessPoolExecutor, Promise, Shutdown, ShutdownReport, Stats, Submit, SubmitError,
    Task, TaskError, TaskFuture, TaskOptions,
};

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
    pub(super) fn new(workers: usize, processes: bool) -> Self {
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
