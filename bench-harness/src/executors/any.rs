//! An executor whose kind is known only when the program runs.

use std::time::Duration;

use executor_core::{
    ChunkInput, ChunkOutput, Executor, Payload, PoolState, ProcessPoolExecutor, RayonExecutor, SerialExecutor,
    Shutdown, ShutdownReport, Stats, Submit, SubmitError, Task, TaskFuture, TaskOptions, ThreadPoolExecutor,
};

use super::{
    kind::Kind,
    per_task::{PerTask, PerTaskHandle},
};
use crate::error::{LabError, chain};

/// An executor of any kind: what uses it is compiled once, and not for each kind. It costs a task one more branch.
pub(crate) struct AnyExecutor {
    pool: Pool,
    handle: AnyHandle,
}

/// The executor itself, by its type.
pub(super) enum Pool {
    Serial(SerialExecutor),
    Thread(ThreadPoolExecutor),
    Process(ProcessPoolExecutor),
    Rayon(RayonExecutor),
    PerTask(PerTask),
}

#[derive(Clone)]
pub(crate) enum AnyHandle {
    Serial(<SerialExecutor as Executor>::Handle),
    Thread(<ThreadPoolExecutor as Executor>::Handle),
    Process(<ProcessPoolExecutor as Executor>::Handle),
    Rayon(<RayonExecutor as Executor>::Handle),
    PerTask(PerTaskHandle),
}

/// The expression for the value in whatever variant it is.
macro_rules! each {
    ($of:ident, $it:expr, $value:ident => $what:expr) => {
        match $it {
            $of::Serial($value) => $what,
            $of::Thread($value) => $what,
            $of::Process($value) => $what,
            $of::Rayon($value) => $what,
            $of::PerTask($value) => $what,
        }
    };
}

impl AnyExecutor {
    /// Builds an executor with its workers ready.
    pub(crate) fn start(kind: Kind, workers: usize) -> Result<Self, LabError> {
        let pool = Self::cold(kind, workers)?;
        if let Pool::Process(pool) = &pool.pool {
            pool.warm_up().map_err(|error| LabError::Sample(chain(&error)))?;
        }
        Ok(pool)
    }

    /// Builds an executor as a program does that gives it tasks at once.
    pub(crate) fn cold(kind: Kind, workers: usize) -> Result<Self, LabError> {
        let pool = match kind {
            Kind::Serial => Pool::Serial(SerialExecutor::new()),
            Kind::Thread => Pool::Thread(ThreadPoolExecutor::new(workers)?),
            Kind::Process => Pool::Process(ProcessPoolExecutor::new(workers)?),
            Kind::Rayon => Pool::Rayon(RayonExecutor::builder().max_workers(workers).build()?),
            Kind::ThreadPerTask => Pool::PerTask(PerTask::new(workers, false)),
            Kind::ProcessPerTask => Pool::PerTask(PerTask::new(workers, true)),
        };
        let handle = match &pool {
            Pool::Serial(pool) => AnyHandle::Serial(pool.handle().clone()),
            Pool::Thread(pool) => AnyHandle::Thread(pool.handle().clone()),
            Pool::Process(pool) => AnyHandle::Process(pool.handle().clone()),
            Pool::Rayon(pool) => AnyHandle::Rayon(pool.handle().clone()),
            Pool::PerTask(pool) => AnyHandle::PerTask(pool.handle().clone()),
        };
        Ok(Self { pool, handle })
    }

    pub(super) fn into_pool(self) -> Pool {
        self.pool
    }

    /// The worker processes that the pool keeps.
    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        match &self.pool {
            Pool::Process(pool) => pool.worker_pids(),
            _ => Vec::new(),
        }
    }
}

impl Executor for AnyExecutor {
    type Handle = AnyHandle;

    fn handle(&self) -> &AnyHandle {
        &self.handle
    }

    fn stats(&self) -> Stats {
        each!(Pool, &self.pool, pool => pool.stats())
    }

    fn state(&self) -> PoolState {
        each!(Pool, &self.pool, pool => pool.state())
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        each!(Pool, &self.pool, pool => pool.shutdown(how, deadline))
    }
}

impl Submit for AnyHandle {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        each!(Self, self, handle => handle.submit_task(task, args, options))
    }

    fn submit_tasks<F, A, M>(
        &self,
        task: F,
        args: impl IntoIterator<Item = A>,
        options: TaskOptions,
    ) -> Result<Vec<TaskFuture<F::Output>>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        each!(Self, self, handle => handle.submit_tasks(task, args, options))
    }

    fn submit_chunk<F, A, M>(
        &self,
        task: F,
        input: ChunkInput<A, F::Output>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<F::Output>>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        each!(Self, self, handle => handle.submit_chunk(task, input, options))
    }

    fn max_workers(&self) -> usize {
        each!(Self, self, handle => handle.max_workers())
    }
}
