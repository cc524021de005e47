//! The process pool as its users see it, and the state that it shares with its supervisor.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fmt,
    io::Write,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    ProcessPoolBuilder,
    builder::Call,
    flags,
    identity::Identity,
    job::{Job, ProcessJob, Request},
    supervisor::{self, Worker},
    worker::LaunchArguments,
};
use crate::{
    cancel::CancelToken,
    error::{BuildError, SubmitError, TaskError},
    executor::{Executor, Shutdown, ShutdownReport, Submit},
    future::{Promise, TaskFuture, TaskId},
    stats::Stats,
    task::{ChunkOutput, Payload, Task, TaskOptions},
};

pub(super) struct Config {
    pub(super) max_workers: usize,
    pub(super) initializer: Option<Call>,
    pub(super) queue_capacity: usize,
    pub(super) task_timeout: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) startup_timeout: Duration,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) directory: Option<PathBuf>,
    pub(super) launch_arguments: LaunchArguments,
}

/// Runs tasks in worker processes: they can be killed, and when one crashes it takes nothing with it but the task that it
/// was running.
///
/// Workers are this program, started again ([`init`](crate::init) must be the first line of `main`), on demand and up to
/// `max_workers`. Each has one channel to the pool and nothing in common with the others. The pool keeps the queue; a worker
/// gets its next task when it has answered the last one, so a queued task can be cancelled until the moment it starts, and
/// [`running`](TaskFuture::running) is true only for tasks that run. When the program ends, however it ends, its workers
/// end too.
///
/// A task in a worker process may use thread pools. It may not build a process pool: that is
/// [`BuildError::InsideWorker`]. Futures, promises and executors cannot be sent to a worker.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ProcessPoolExecutor, TaskError};
///
/// fn crash(_: ()) { std::process::abort() }
/// fn square(x: u64) -> u64 { x * x }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     executor_core::init();
///     let pool = ProcessPoolExecutor::builder().max_workers(2).build()?;
///     let crashed = pool.submit(crash, ())?;
///     let future = pool.submit(square, 12)?;
///     assert!(matches!(crashed.result(), Err(TaskError::WorkerDied { .. })));
///     assert_eq!(future.result()?, 144);
///     Ok(())
/// }
/// ```
pub struct ProcessPoolExecutor {
    core: ProcessPoolCore,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// The part of a [`ProcessPoolExecutor`] that takes tasks.
#[derive(Clone)]
pub struct ProcessPoolCore {
    core: Arc<Core>,
}

pub(super) struct Core {
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) token: CancelToken,
    state: Mutex<State>,
    /// Wakes the supervisor; a byte already there is enough.
    alarm: UnixStream,
    /// Submitters wait here for space in a bounded queue.
    pub(super) space: Condvar,
    /// Waits here: `shutdown` for the end, `warm_up` for workers.
    pub(super) changed: Condvar,
}

/// A task in the queue.
pub(super) struct Queued {
    pub(super) job: Arc<dyn Job>,
    /// Whether it is the rest of one that has been running: then it cannot be cancelled.
    pub(super) claimed: bool,
}

#[derive(Default)]
pub(super) struct State {
    /// In the order of submission. Those that were cancelled meanwhile stay as tombstones.
    pub(super) queue: VecDeque<Queued>,
    /// Tasks in the queue that are no tombstones.
    pub(super) queued: usize,
    pub(super) workers: BTreeMap<u64, Worker>,
    pub(super) next_worker: u64,
    /// Idle workers; the one used last, whose caches are warm, comes first.
    pub(super) idle: Vec<u64>,
    /// How many workers there should be; rises with demand.
    pub(super) wanted: usize,
    pub(super) shut_down: bool,
    /// No worker is left and none will come.
    pub(super) ended: bool,
    pub(super) broken: Option<TaskError>,
    /// Workers that ended before they were ready, one after the other.
    pub(super) failed_starts: u32,
    /// Workers that died and whose successor has not been started.
    pub(super) to_replace: usize,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) died: u64,
    pub(super) respawned: u64,
}

impl ProcessPoolExecutor {
    /// A pool of at most `max_workers` processes, with defaults for the rest.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; see [`ProcessPoolBuilder::build`].
    pub fn new(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// For everything that can be set.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::new()
    }

    pub(super) fn from_config(config: Config) -> Result<Self, BuildError> {
        let system = |action| move |cause| BuildError::System { action, cause };
        let identity = Identity::of_this_program().map_err(system("identify the program's own file"))?;
        flags::table_file().map_err(system("make shared memory"))?;
        let (alarm, heard) = UnixStream::pair().map_err(system("make a socket pair"))?;
        for end in [&alarm, &heard] {
            end.set_nonblocking(true).map_err(system("make a socket pair"))?;
        }
        let core = Arc::new(Core {
            config,
            identity,
            token: CancelToken::new(),
            state: Mutex::default(),
            alarm,
            space: Condvar::new(),
            changed: Condvar::new(),
        });
        let supervised = Arc::clone(&core);
        let supervisor = thread::Builder::new()
            .name("executor-supervisor".to_owned())
            .spawn(move || supervisor::run(&supervised, &heard))
            .map_err(system("start the supervisor thread"))?;
        Ok(Self { core: ProcessPoolCore { core }, supervisor: Mutex::new(Some(supervisor)) })
    }

    /// Starts all workers now, and waits until they are ready.
    ///
    /// # Errors
    ///
    /// [`TaskError::InitializerFailed`] or [`TaskError::NoWorker`] when they cannot be had, [`TaskError::ShutDown`] after
    /// a shutdown.
    pub fn warm_up(&self) -> Result<(), TaskError> {
        let core = &self.core.core;
        let mut state = core.lock();
        state.wanted = core.config.max_workers;
        core.wake_supervisor();
        loop {
            if let Some(error) = &state.broken {
                return Err(error.clone());
            }
            if state.shut_down {
                return Err(TaskError::ShutDown);
            }
            if state.workers.values().filter(|worker| worker.is_ready()).count() >= core.config.max_workers {
                return Ok(());
            }
            state = core.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Process ids of the workers.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        self.core.core.lock().workers.values().map(Worker::pid).collect()
    }

    /// Ends all workers by SIGTERM, and by SIGKILL those that are there after the grace time; cancels what is queued. Same
    /// as `shutdown(Shutdown::Kill, None)`.
    pub fn terminate_workers(&self) -> ShutdownReport {
        self.end(Shutdown::Kill, None, self.core.core.config.grace)
    }

    /// Ends all workers by SIGKILL at once; cancels what is queued.
    pub fn kill_workers(&self) -> ShutdownReport {
        self.end(Shutdown::Kill, None, Duration::ZERO)
    }

    /// A token that [`Shutdown::Kill`] cancels, for tasks that watch one.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.core.core.token.clone()
    }

    fn end(&self, how: Shutdown, deadline: Option<Duration>, grace: Duration) -> ShutdownReport {
        let core = &self.core.core;
        let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        let mut report = ShutdownReport::default();
        let mut state = core.lock();
        state.shut_down = true;
        if how != Shutdown::Drain {
            let (rests, queue): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.queue).into_iter().partition(|queued| queued.claimed);
            let mut killed = Vec::new();
            if how == Shutdown::Kill {
                report.killed = supervisor::stop_all(&mut state, &TaskError::ShutDown, grace) + rests.len();
                state.failed += rests.len() as u64;
                state.queued -= rests.len();
                killed = rests;
            } else {
                state.queue.extend(rests);
            }
            drop(state);
            for queued in queue {
                if queued.job.cancel_queued() {
                    report.cancelled += 1;
                    core.job_cancelled();
                }
            }
            for queued in killed {
                queued.job.fail(TaskError::ShutDown);
            }
            if how == Shutdown::Kill {
                core.token.cancel();
            }
            state = core.lock();
        }
        core.space.notify_all();
        core.changed.notify_all();
        core.wake_supervisor();
        while !state.ended {
            state = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => core.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => core.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        report.queued = state.queued;
        report.running = state.workers.values().filter(|worker| worker.is_busy()).count();
        let ended = state.ended;
        drop(state);
        if ended && let Some(supervisor) = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It has nothing left to do. It catches panics of nobody, so one in there would be ours: do not hide it.
            if supervisor.join().is_err() && !thread::panicking() {
                panic!("the supervisor of a process pool panicked");
            }
        }
        report
    }
}

impl Core {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake_supervisor(&self) {
        // When the buffer is full the supervisor will wake up anyway.
        let _ = (&self.alarm).write(&[1]);
    }

    /// A queued task was cancelled.
    pub(super) fn job_cancelled(&self) {
        let mut state = self.lock();
        state.queued -= 1;
        state.cancelled += 1;
        drop(state);
        self.space.notify_one();
        // The supervisor may have been waiting for just this one.
        self.wake_supervisor();
    }

    /// Stops a running task; `false` when it does not run.
    pub(super) fn kill_job(&self, id: TaskId) -> bool {
        let mut state = self.lock();
        let stopped = supervisor::stop_job(&mut state, id, &TaskError::Cancelled, self.config.grace);
        drop(state);
        self.wake_supervisor();
        stopped
    }
}

impl ProcessPoolCore {
    fn enqueue<T: Send + 'static>(
        &self,
        encoded: Result<ProcessJob<T>, TaskError>,
        options: TaskOptions,
    ) -> Result<TaskFuture<T>, SubmitError> {
        let core = &self.core;
        let mut state = core.lock();
        loop {
            if state.shut_down {
                return Err(SubmitError::ShutDown);
            }
            let error = match (&state.broken, &encoded) {
                (Some(error), _) | (None, Err(error)) => Some(error),
                (None, Ok(_)) => None,
            };
            if let Some(error) = error {
                let (promise, future) = Promise::new();
                let _ = promise.set_error(error.clone());
                return Ok(future);
            }
            if state.queued < core.config.queue_capacity {
                break;
            }
            if options.refuse_when_full {
                return Err(SubmitError::Full);
            }
            state = core.space.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (job, future) = encoded.map_err(|_| SubmitError::ShutDown)?.into_task();
        if job.is_answered() {
            // No item could be encoded, so there is nothing to run.
            drop(state);
            job.finish(Duration::ZERO);
            return Ok(future);
        }
        state.queue.push_back(Queued { job, claimed: false });
        state.queued += 1;
        if supervisor::dispatch(core, &mut state) {
            core.wake_supervisor();
        }
        Ok(future)
    }

    fn limit(&self, options: TaskOptions) -> Option<Duration> {
        options.timeout.or(self.core.config.task_timeout)
    }
}

impl Submit for ProcessPoolCore {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        let encoded = Request::encode::<F, A, M>(&task, vec![args]).map(|(request, answers)| {
            ProcessJob::single(Arc::clone(&self.core), self.limit(options), request, answers)
        });
        self.enqueue(encoded, options)
    }

    fn submit_chunk<F, A, M>(
        &self,
        task: F,
        items: Vec<A>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<F::Output>>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        let encoded = Request::encode::<F, A, M>(&task, items)
            .map(|(request, answers)| ProcessJob::chunk(Arc::clone(&self.core), self.limit(options), request, answers));
        self.enqueue(encoded, options)
    }

    fn max_workers(&self) -> usize {
        self.core.config.max_workers
    }
}

impl Executor for ProcessPoolExecutor {
    type Core = ProcessPoolCore;

    fn core(&self) -> &ProcessPoolCore {
        &self.core
    }

    fn stats(&self) -> Stats {
        let state = self.core.core.lock();
        Stats {
            workers: state.workers.len(),
            idle: state.idle.len(),
            queued: state.queued,
            running: state.workers.values().filter(|worker| worker.is_busy()).count(),
            done: state.done,
            failed: state.failed,
            cancelled: state.cancelled,
            died: state.died,
            respawned: state.respawned,
        }
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        self.end(how, deadline, self.core.core.config.grace)
    }
}

impl Drop for ProcessPoolExecutor {
    fn drop(&mut self) {
        let how = if thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain };
        self.shutdown(how, None);
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ProcessPoolCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolCore").finish_non_exhaustive()
    }
}
