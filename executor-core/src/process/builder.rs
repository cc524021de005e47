//! The settings of a process pool.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use super::{
    OnWorkerDeath, ProcessPoolExecutor, StartMethod, Transport,
    config::{Config, MOST_WORKERS},
    setup,
};
use crate::{
    error::{BuildError, TaskError},
    initializer::InitializerResult,
    portable::call::Call,
    role,
    stats::Observer,
    sys,
    task::{Payload, Task},
};

/// Builds a [`ProcessPoolExecutor`].
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ProcessPoolExecutor};
/// use std::{sync::OnceLock, time::Duration};
///
/// static GREETING: OnceLock<String> = OnceLock::new();
///
/// fn prepare(greeting: String) { GREETING.set(greeting).expect("once for each worker") }
/// fn greet(name: String) -> String { format!("{}, {name}", GREETING.get().expect("it was prepared")) }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     executor_core::init();
///     let pool = ProcessPoolExecutor::builder()
///         .max_workers(2)
///         .initializer(prepare, "hello".to_owned())
///         .task_timeout(Duration::from_secs(60))
///         .max_tasks_per_child(1000)
///         .build()?;
///     assert_eq!(pool.submit(greet, "you".to_owned())?.result()?, "hello, you");
///     Ok(())
/// }
/// ```
#[must_use]
pub struct ProcessPoolBuilder {
    max_workers: Option<usize>,
    start_method: StartMethod,
    preload: Option<Result<Call, TaskError>>,
    initializer: Option<Result<Call, TaskError>>,
    memory_limit: Option<u64>,
    recycle_above: Option<u64>,
    transport: Transport,
    on_worker_death: OnWorkerDeath,
    max_tasks_per_child: Option<u32>,
    retries: u32,
    idle_timeout: Option<Duration>,
    queue_capacity: usize,
    task_timeout: Option<Duration>,
    grace: Duration,
    startup_timeout: Duration,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    kill_process_group: bool,
    observer: Option<Box<dyn Observer>>,
}

impl ProcessPoolExecutor {
    /// A builder, on which everything about the pool can be set.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::new()
    }
}

impl ProcessPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            start_method: StartMethod::default(),
            preload: None,
            initializer: None,
            memory_limit: None,
            recycle_above: None,
            transport: Transport::default(),
            on_worker_death: OnWorkerDeath::default(),
            max_tasks_per_child: None,
            retries: 0,
            idle_timeout: None,
            queue_capacity: usize::MAX,
            task_timeout: None,
            grace: Duration::from_secs(1),
            startup_timeout: Duration::from_secs(30),
            environment: Vec::new(),
            directory: None,
            kill_process_group: true,
            observer: None,
        }
    }

    /// The largest number of worker processes that have tasks or may get some. Default: one per CPU that this process may use.
    /// For a moment there may be twice as many processes: those that leave, and those that are to take the place of workers that
    /// are in the middle of their last task. More than 2^20 are cut to that.
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
        self.initializer = Some(setup::initializer(task, args));
        self
    }

    /// How worker processes are started. Default: [`StartMethod::Spawn`].
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// Runs once in the fork server, before any worker is forked from it; a portable task like any other. What it puts into statics
    /// is there in every worker, and its memory is shared until a process writes to it. It runs again when the fork server had to
    /// be started again. With [`StartMethod::Spawn`] there is no process to share with, and it runs in each worker, before the
    /// initializer.
    ///
    /// When it panics or returns an error the pool is broken, as with the [`initializer`](Self::initializer).
    pub fn preload<F, A, M>(mut self, task: F, args: A) -> Self
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: InitializerResult,
        M: 'static,
    {
        self.preload = Some(setup::initializer(task, args));
        self
    }

    /// How much memory each worker may have, in bytes, beyond what it has before its initializer runs. Default: no limit.
    ///
    /// What counts is private memory that can be written to, touched or not, with the stacks of threads (`RLIMIT_DATA`). An
    /// allocation beyond it is refused. In Rust that ends the process: the task that was running resolves with
    /// [`TaskError::MemoryLimit`], and the worker is replaced. A task that asks with `try_reserve` is told, and may go on; where a
    /// thread cannot be started, the code that starts it panics. In an initializer it breaks the pool. Where the program has a lower
    /// limit itself, that one holds.
    ///
    /// A worker knows this by its handler for SIGABRT. Where the program replaces that, the task resolves with
    /// [`TaskError::WorkerDied`].
    ///
    /// Linux only: elsewhere [`build`](Self::build) says [`BuildError::Unsupported`].
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// How tasks and results travel. Default: shared memory on Linux, sockets elsewhere.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Sets what fails when a worker dies. Default: [`OnWorkerDeath::FailTask`].
    pub fn on_worker_death(mut self, policy: OnWorkerDeath) -> Self {
        self.on_worker_death = policy;
        self
    }

    /// After so many tasks (a chunk of a map counts as one) a worker is replaced by a fresh one. Default: never.
    pub fn max_tasks_per_child(mut self, tasks: u32) -> Self {
        self.max_tasks_per_child = Some(tasks);
        self
    }

    /// A worker that has grown beyond so many bytes is replaced when it has finished the tasks that are in flight at it. What
    /// counts is its proportional set size: memory that it shares with others counts in part. It is measured now and then between
    /// two tasks. Default: never.
    ///
    /// Linux only: elsewhere [`build`](Self::build) says [`BuildError::Unsupported`].
    pub fn recycle_above(mut self, bytes: u64) -> Self {
        self.recycle_above = Some(bytes);
        self
    }

    /// How often a task whose worker has died is run again; of a chunk of a map, the items that have no answer yet. Only for tasks
    /// that may be run more than once. Tasks that were stopped, by a time limit or by [`kill`](crate::TaskFuture::kill), are not
    /// run again. Default: 0.
    ///
    /// A task that waits to be run again has begun: [`running`](crate::TaskFuture::running) says so, it can be killed and not
    /// cancelled, and its queue time does not end it.
    pub fn retry(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// How long a worker without work stays. Default: for ever.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// The largest number of tasks that wait for a worker. `submit` then waits for space, `try_submit` refuses. Default: no
    /// limit.
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = tasks;
        self
    }

    /// The longest that any task, and any item of a map, may run, unless its own options say otherwise. Its worker is then ended
    /// (SIGTERM, the grace time, SIGKILL) and replaced, and the task or item resolves with [`TaskError::TimedOut`]; the other items
    /// of its chunk go on. Default: no limit.
    ///
    /// A task that takes SIGTERM and ends within the grace time has its result. If that was an item of a chunk, the worker goes on with
    /// the next ones, and what runs when SIGKILL comes resolves with [`TaskError::WorkerDied`].
    ///
    /// The time includes that in which a worker wakes up. Where a worker has not begun the task when the time is over, because it
    /// was stopped by a signal for example, the task goes to another worker, once.
    ///
    /// An item that is not the first of its chunk may run for an eighth longer, because that is how often the pool looks which item
    /// runs.
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.task_timeout = Some(limit);
        self
    }

    /// How long a worker has between SIGTERM and SIGKILL. A worker that runs nothing and is told to exit, or does not claim the
    /// requests that it is sent, has as long, but at most a minute. Default: 1 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a new worker may take until it is ready, with its [`initializer`](Self::initializer) and its
    /// [`preload`](Self::preload); and how long a fork server may take, with its preload. When one takes longer the pool is
    /// broken: every task, queued or submitted later, resolves with [`TaskError::NoWorker`]. Default: 30 s.
    ///
    /// A worker or a fork server that a signal has stopped (SIGSTOP) until then is killed and replaced, and breaks the pool no more
    /// than one that was killed. Where the program itself was stopped, or frozen with its workers, the time begins again.
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

    /// Whether the processes that tasks have started end with their worker. Default: yes.
    ///
    /// Each worker leads a process group, and what its tasks start is in it unless it leaves (`setpgid`, `setsid`, as daemons and
    /// interactive shells do). SIGTERM, where a task is stopped, goes to the whole group; and when the worker has ended, whatever
    /// the reason was (a time limit, [`kill`](crate::TaskFuture::kill), a crash, [`Shutdown`](crate::Shutdown), the end of its use,
    /// the death of the program), what is left of the group gets SIGKILL. With `false` all that is for the worker alone, and what
    /// its tasks have started lives on. What a preload has started in a fork server ends with that in either case.
    pub fn kill_process_group(mut self, kill: bool) -> Self {
        self.kill_process_group = kill;
        self
    }

    /// Sets the observer, which is told of every task and every worker; see [`Observer`] for when. Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Builds the pool. Workers start when tasks come; see [`ProcessPoolExecutor::warm_up`].
    ///
    /// # Errors
    ///
    /// [`BuildError::MissingInit`] when [`init`](crate::init) was not called, [`BuildError::InsideWorker`] in a worker
    /// process, and other [`BuildError`]s for numbers that are zero and for what the system refuses.
    pub fn build(self) -> Result<ProcessPoolExecutor, BuildError> {
        let max_workers = self.max_workers.unwrap_or_else(sys::available_cpus);
        if max_workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        if self.queue_capacity == 0 {
            return Err(BuildError::NoCapacity);
        }
        if self.max_tasks_per_child == Some(0) {
            return Err(BuildError::NoTasks);
        }
        if role::in_worker() {
            return Err(BuildError::InsideWorker);
        }
        if self.start_method == StartMethod::ForkServer && !cfg!(target_os = "linux") {
            return Err(BuildError::Unsupported("StartMethod::ForkServer"));
        }
        if self.memory_limit.is_some() && !cfg!(target_os = "linux") {
            return Err(BuildError::Unsupported("memory_limit"));
        }
        if self.recycle_above.is_some() && !cfg!(target_os = "linux") {
            return Err(BuildError::Unsupported("recycle_above"));
        }
        let max_workers = max_workers.min(MOST_WORKERS);
        let launch_arguments = role::launch_arguments().ok_or(BuildError::MissingInit)?;
        let config = Config {
            max_workers,
            start_method: self.start_method,
            preload: self.preload.transpose().map_err(BuildError::Encode)?,
            initializer: self.initializer.transpose().map_err(BuildError::Encode)?,
            memory_limit: self.memory_limit,
            recycle_above: self.recycle_above,
            transport: self.transport,
            on_worker_death: self.on_worker_death,
            max_tasks_per_child: self.max_tasks_per_child,
            retries: self.retries,
            idle_timeout: self.idle_timeout,
            queue_capacity: self.queue_capacity,
            task_timeout: self.task_timeout,
            grace: self.grace,
            startup_timeout: self.startup_timeout,
            environment: self.environment,
            directory: self.directory,
            kill_process_group: self.kill_process_group,
            observer: self.observer,
            launch_arguments,
        };
        ProcessPoolExecutor::from_config(config)
    }
}

impl fmt::Debug for ProcessPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolBuilder")
            .field("max_workers", &self.max_workers)
            .field("start_method", &self.start_method)
            .field("task_timeout", &self.task_timeout)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}
