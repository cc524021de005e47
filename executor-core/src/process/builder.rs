//! What can be set on a process pool.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use super::{ProcessPoolExecutor, identity::FunctionId, job::Request, pool::Config, worker};
use crate::{
    error::{BuildError, TaskError},
    executor::available_cpus,
    task::{Payload, Task},
    thread::InitializerResult,
};

/// A function with its configuration and argument, in encoded form.
pub(super) type Call = (FunctionId, Vec<u8>, Vec<u8>);

/// Builds a [`ProcessPoolExecutor`].
#[must_use]
pub struct ProcessPoolBuilder {
    max_workers: Option<usize>,
    initializer: Option<Result<Call, TaskError>>,
    queue_capacity: usize,
    task_timeout: Option<Duration>,
    grace: Duration,
    startup_timeout: Duration,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl ProcessPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            initializer: None,
            queue_capacity: usize::MAX,
            task_timeout: None,
            grace: Duration::from_secs(1),
            startup_timeout: Duration::from_secs(30),
            environment: Vec::new(),
            directory: None,
        }
    }

    /// The largest number of worker processes. Default: one per CPU that this process may use.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// Runs in each new worker before its first task; a portable task like any other. When it panics or returns an error
    /// the pool is broken: every task, queued or submitted later, resolves with [`TaskError::InitializerFailed`].
    pub fn initializer<F, A, M>(mut self, task: F, args: A) -> Self
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: InitializerResult,
        M: 'static,
    {
        const { F::PORTABLE };
        let task = Initializer { task, marker: std::marker::PhantomData };
        let encoded = Request::encode::<Initializer<F, (A, M)>, A, InitializerMarker>(&task, vec![args]);
        self.initializer = Some(encoded.and_then(|(request, answers)| match answers.into_iter().next().flatten() {
            Some(Err(error)) => Err(error),
            _ => Ok(request.into_call()),
        }));
        self
    }

    /// The largest number of tasks that wait for a worker. `submit` then waits for space, `try_submit` refuses. Default: no
    /// limit.
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = tasks;
        self
    }

    /// The longest that any task may run, unless its own options say otherwise. Its worker is ended then (SIGTERM, the
    /// grace time, SIGKILL) and replaced, and the task resolves with [`TaskError::TimedOut`]. Default: no limit.
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.task_timeout = Some(limit);
        self
    }

    /// How long a worker has between SIGTERM and SIGKILL. Default: 1 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a new worker may take until it is ready. Default: 30 s.
    pub fn startup_timeout(mut self, limit: Duration) -> Self {
        self.startup_timeout = limit;
        self
    }

    /// Sets a variable in the environment of the workers.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The workers' working directory. Default: this process's.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Builds the pool. Workers start when tasks come; see [`ProcessPoolExecutor::warm_up`].
    ///
    /// # Errors
    ///
    /// [`BuildError::MissingInit`] when [`init`](crate::init) was not called, [`BuildError::InsideWorker`] in a worker
    /// process, and other [`BuildError`]s for numbers that are zero and for what the system refuses.
    pub fn build(self) -> Result<ProcessPoolExecutor, BuildError> {
        let max_workers = self.max_workers.unwrap_or_else(available_cpus);
        if max_workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        if self.queue_capacity == 0 {
            return Err(BuildError::NoCapacity);
        }
        if worker::in_worker() {
            return Err(BuildError::InsideWorker);
        }
        let launch_arguments = worker::launch_arguments().ok_or(BuildError::MissingInit)?;
        let config = Config {
            max_workers,
            initializer: self.initializer.transpose().map_err(BuildError::Encode)?,
            queue_capacity: self.queue_capacity,
            task_timeout: self.task_timeout,
            grace: self.grace,
            startup_timeout: self.startup_timeout,
            environment: self.environment,
            directory: self.directory,
            launch_arguments,
        };
        ProcessPoolExecutor::from_config(config)
    }
}

impl fmt::Debug for ProcessPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolBuilder")
            .field("max_workers", &self.max_workers)
            .field("task_timeout", &self.task_timeout)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// A task whose output is turned into something that can travel: nothing, or an error's text.
struct Initializer<F, M> {
    task: F,
    marker: std::marker::PhantomData<fn() -> M>,
}

struct InitializerMarker;

impl<F: Clone, M> Clone for Initializer<F, M> {
    fn clone(&self) -> Self {
        Self { task: self.task.clone(), marker: std::marker::PhantomData }
    }
}

impl<F, A, M> Task<A, InitializerMarker> for Initializer<F, (A, M)>
where
    F: Task<A, M>,
    A: 'static,
    M: 'static,
    F::Output: InitializerResult,
{
    type Output = Result<(), crate::error::Cause>;

    const PORTABLE: () = F::PORTABLE;

    fn call(&self, args: A) -> Self::Output {
        self.task.call(args).into_cause()
    }

    fn bound(&self) -> Option<Result<std::sync::Arc<crate::task::Bound>, TaskError>> {
        self.task.bound()
    }

    fn restore(bound: &[u8]) -> Result<Self, TaskError> {
        Ok(Self { task: F::restore(bound)?, marker: std::marker::PhantomData })
    }
}
