//! The thread pool: one queue under one lock, workers that start on demand. See README.md for who wakes whom.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::ThreadPoolBuilder;
use crate::{
    cancel::CancelToken,
    error::{BuildError, Cause, SubmitError, TaskError},
    executor::{Executor, Shutdown, ShutdownReport, Submit},
    future::{
        Host, InProcess, Owner, Promise, State as TaskState, TaskFuture, TaskRef, current_pool, enter_pool, new_pool_id,
    },
    panic,
    stats::Stats,
    task::{Payload, Task, TaskOptions},
};

type Initializer = Arc<dyn Fn() -> Result<(), Cause> + Send + Sync>;
type Hook = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Config {
    pub(super) max_workers: usize,
    pub(super) name_prefix: String,
    pub(super) initializer: Option<Initializer>,
    pub(super) exit_hook: Option<Hook>,
    pub(super) queue_capacity: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) stack_size: Option<usize>,
}

/// Runs tasks in threads of this process.
///
/// Threads start when tasks come, up to `max_workers`, and leave when they had nothing to do for `idle_timeout`. A task may
/// submit to its own pool and wait: what nobody has started runs in place, and while a worker blocks another one stands in
/// for it. Dropping the pool waits for all its tasks.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ThreadPoolExecutor};
///
/// fn length(text: String) -> usize { text.len() }
///
/// let pool = ThreadPoolExecutor::builder().max_workers(4).thread_name_prefix("measure").build()?;
/// let future = pool.submit(length, "hello".to_owned())?;
/// assert_eq!(future.result()?, 5);
///
/// let factor = 3;                                     // closures that capture: threads only
/// assert_eq!(pool.spawn(move || 14 * factor)?.result()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPoolExecutor {
    core: ThreadPoolCore,
}

/// The part of a [`ThreadPoolExecutor`] that takes tasks.
#[derive(Clone)]
pub struct ThreadPoolCore {
    pool: Arc<Pool>,
}

struct Pool {
    id: u64,
    config: Config,
    token: CancelToken,
    state: Mutex<State>,
    /// Idle workers wait here for a task or for the end.
    work: Condvar,
    /// Submitters wait here for space in a bounded queue.
    space: Condvar,
    /// `shutdown` waits here for workers to end.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// Tasks in the order of submission. Those that were cancelled or run in place meanwhile stay as tombstones.
    queue: VecDeque<TaskRef>,
    /// Tasks in the queue that are no tombstones.
    queued: usize,
    running: usize,
    /// Threads that exist.
    workers: usize,
    /// Threads that wait for work, those included that were notified and have not woken up yet.
    idle: usize,
    /// Threads whose task waits for another task; as many may stand in for them.
    blocked: usize,
    shut_down: bool,
    broken: Option<Cause>,
    threads: HashMap<u64, JoinHandle<()>>,
    next_thread: u64,
    done: u64,
    failed: u64,
    cancelled: u64,
}

impl ThreadPoolExecutor {
    /// A pool of at most `max_workers` threads, with defaults for the rest.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoWorkers`] when `max_workers` is zero.
    pub fn new(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// For everything that can be set.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    pub(super) fn from_config(config: Config) -> Self {
        let pool = Pool {
            id: new_pool_id(),
            config,
            token: CancelToken::new(),
            state: Mutex::default(),
            work: Condvar::new(),
            space: Condvar::new(),
            ended: Condvar::new(),
        };
        Self { core: ThreadPoolCore { pool: Arc::new(pool) } }
    }

    /// Runs any closure in the pool, also one that captures. Waits for space where the queue is bounded.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] when the pool takes no more tasks.
    pub fn spawn<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<TaskFuture<R>, SubmitError> {
        self.core.enqueue(work, TaskOptions::new())
    }

    /// A token that [`Shutdown::Kill`] cancels, for tasks that watch one. Give each task its own
    /// [`child`](CancelToken::child) to cancel them one by one as well.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.core.pool.token.clone()
    }
}

impl ThreadPoolCore {
    fn enqueue<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        options: TaskOptions,
    ) -> Result<TaskFuture<R>, SubmitError> {
        let pool = &self.pool;
        let mut state = pool.lock();
        loop {
            if state.shut_down {
                return Err(SubmitError::ShutDown);
            }
            if let Some(cause) = &state.broken {
                let (promise, future) = Promise::new();
                let _ = promise.set_error(TaskError::InitializerFailed { cause: cause.clone() });
                return Ok(future);
            }
            if state.queued < pool.config.queue_capacity {
                break;
            }
            if options.refuse_when_full {
                return Err(SubmitError::Full);
            }
            state = wait(&pool.space, state);
        }
        let (task, future) = InProcess::task(Arc::clone(pool), options.timeout, work);
        state.queue.push_back(task);
        state.queued += 1;
        pool.call_worker(state);
        Ok(future)
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that somebody comes for what is queued: wakes an idle worker, and starts one where the idle ones cannot
    /// take all that is queued.
    fn call_worker(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.idle > 0 {
            self.work.notify_one();
        }
        if state.idle >= state.queue.len() || state.workers >= self.config.max_workers + state.blocked {
            return;
        }
        let number = state.next_thread;
        state.next_thread += 1;
        state.threads.retain(|_, thread| !thread.is_finished());
        let mut builder = thread::Builder::new().name(format!("{}-{number}", self.config.name_prefix));
        if let Some(bytes) = self.config.stack_size {
            builder = builder.stack_size(bytes);
        }
        let pool = Arc::clone(self);
        match builder.spawn(move || pool.serve()) {
            Ok(thread) => {
                state.workers += 1;
                state.threads.insert(number, thread);
            }
            // The task waits for a worker that exists; with none at all, nobody would ever run it.
            Err(error) if state.workers == 0 => {
                let cause = Cause::new(format!("failed to start a thread: {error}"));
                drop(self.break_with(state, cause));
            }
            Err(_) => {}
        }
    }

    /// The life of a worker.
    fn serve(self: Arc<Self>) {
        enter_pool(Arc::<Self>::clone(&self));
        if let Some(initializer) = &self.config.initializer {
            let outcome = panic::catch(|| initializer()).unwrap_or_else(|error| Err(Cause::new(error)));
            if let Err(cause) = outcome {
                drop(self.break_with(self.lock(), cause));
            }
        }
        let mut state = self.lock();
        loop {
            if let Some(task) = state.queue.pop_front() {
                drop(state);
                task.run();
                state = self.lock();
                if state.workers <= self.config.max_workers + state.blocked {
                    continue;
                }
                // This worker stood in for one that has gone on.
                break;
            }
            if state.shut_down || state.workers > self.config.max_workers + state.blocked {
                break;
            }
            state.idle += 1;
            let (after, timed_out) = wait_for_work(&self.work, state, self.config.idle_timeout);
            state = after;
            state.idle -= 1;
            if timed_out && state.queue.is_empty() {
                break;
            }
        }
        drop(state);
        if let Some(hook) = &self.config.exit_hook {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hook()));
        }
        let mut state = self.lock();
        state.workers -= 1;
        drop(state);
        self.ended.notify_all();
    }

    /// The initializer failed, or no thread could be started: nothing will run here any more.
    fn break_with<'a>(&'a self, mut state: MutexGuard<'a, State>, cause: Cause) -> MutexGuard<'a, State> {
        state.broken.get_or_insert(cause);
        let queue = std::mem::take(&mut state.queue);
        let error =
            TaskError::InitializerFailed { cause: state.broken.clone().unwrap_or_else(|| Cause::new("unknown")) };
        drop(state);
        for task in queue {
            task.fail(error.clone());
        }
        self.space.notify_all();
        self.lock()
    }

    fn shut_down(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        let mut state = self.lock();
        state.shut_down = true;
        let mut report = ShutdownReport::default();
        if how != Shutdown::Drain {
            let queue = std::mem::take(&mut state.queue);
            drop(state);
            report.cancelled = queue.iter().filter(|task| task.cancel()).count();
            drop(queue);
            if how == Shutdown::Kill {
                self.token.cancel();
            }
            state = self.lock();
        }
        self.work.notify_all();
        self.space.notify_all();
        // A worker that waits for its own end would wait for ever.
        if current_pool() != self.id {
            while state.workers > 0 {
                match end {
                    None => state = wait(&self.ended, state),
                    Some(end) => {
                        let left = end.saturating_duration_since(Instant::now());
                        if left == Duration::ZERO {
                            break;
                        }
                        state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                    }
                }
            }
            if state.workers == 0 {
                let threads = std::mem::take(&mut state.threads);
                drop(state);
                // They have left the pool; joining waits for the destructors of their thread-locals.
                for (_, thread) in threads {
                    let _ = thread.join();
                }
                state = self.lock();
            }
        }
        report.running = state.running;
        report.queued = state.queued;
        report
    }
}

impl Owner for Pool {
    fn pool_id(&self) -> u64 {
        self.id
    }

    fn started(&self) {
        let mut state = self.lock();
        state.queued -= 1;
        state.running += 1;
        drop(state);
        self.space.notify_one();
    }

    fn ended(&self, outcome: TaskState) {
        let mut state = self.lock();
        state.running -= 1;
        if outcome == TaskState::Failed { state.failed += 1 } else { state.done += 1 }
    }

    fn cancelled(&self) {
        let mut state = self.lock();
        state.queued -= 1;
        state.cancelled += 1;
        drop(state);
        self.space.notify_one();
    }
}

/// A worker's view of its pool.
impl Host for Pool {
    fn pool_id(&self) -> u64 {
        self.id
    }

    fn begin_wait(self: Arc<Self>) -> bool {
        let mut state = self.lock();
        state.blocked += 1;
        if state.queued > 0 {
            self.call_worker(state);
        }
        true
    }

    fn end_wait(&self) {
        self.lock().blocked -= 1;
    }
}

fn wait<'a>(condvar: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condvar.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a notification; `true` when the time ran out first.
fn wait_for_work<'a>(
    condvar: &Condvar,
    state: MutexGuard<'a, State>,
    timeout: Option<Duration>,
) -> (MutexGuard<'a, State>, bool) {
    match timeout {
        None => (wait(condvar, state), false),
        Some(timeout) => {
            let (state, result) = condvar.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
            (state, result.timed_out())
        }
    }
}

impl Submit for ThreadPoolCore {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.enqueue(move || task.call(args), options)
    }

    fn max_workers(&self) -> usize {
        self.pool.config.max_workers
    }
}

impl Executor for ThreadPoolExecutor {
    type Core = ThreadPoolCore;

    fn core(&self) -> &ThreadPoolCore {
        &self.core
    }

    fn stats(&self) -> Stats {
        let state = self.core.pool.lock();
        Stats {
            workers: state.workers,
            idle: state.idle,
            queued: state.queued,
            running: state.running,
            done: state.done,
            failed: state.failed,
            cancelled: state.cancelled,
            ..Stats::default()
        }
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        self.core.pool.shut_down(how, deadline)
    }
}

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        let how = if thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain };
        self.core.pool.shut_down(how, None);
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ThreadPoolCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolCore").finish_non_exhaustive()
    }
}
