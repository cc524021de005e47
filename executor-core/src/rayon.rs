//! [`RayonExecutor`] (feature `rayon`): this crate's futures over a rayon thread pool of its own.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    error::{BuildError, SubmitError},
    executor::{Executor, Shutdown, ShutdownReport, Submit, available_cpus},
    future::{
        Cell, Host, InProcess, Owner, State as TaskState, TaskFuture, TaskRef, WaitingHere,
        callbacks::shut_down_and_wait, current_pool, end_if_elsewhere, enter_pool, is_elsewhere, new_pool_id,
    },
    span,
    stats::{PoolState, Stats},
    task::{Payload, Task, TaskOptions},
};

/// Runs tasks in a rayon thread pool of its own, where they may use rayon's own operations as well.
///
/// rayon starts all its threads at once, has no bound on its queue, and gives a worker that blocks no stand-in: a task
/// that waits for tasks of its own pool with a timeout, or for several at once, first runs those in place that nobody has
/// started, and so may overrun the timeout.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, RayonExecutor};
///
/// let executor = RayonExecutor::builder().max_workers(2).build()?;
/// assert_eq!(executor.submit(|x: u64| x * 2, 21)?.result()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RayonExecutor {
    core: RayonCore,
}

/// The part of a [`RayonExecutor`] that takes tasks.
#[derive(Clone)]
pub struct RayonCore {
    shared: Arc<Shared>,
    threads: Arc<ThreadPool>,
}

struct Shared {
    id: u64,
    max_workers: usize,
    state: Mutex<State>,
    at_rest: Condvar,
}

#[derive(Default)]
struct State {
    /// Tasks that were submitted and have not been picked up, to cancel them by.
    queue: HashMap<u64, TaskRef>,
    next: u64,
    queued: usize,
    running: usize,
    /// Jobs that rayon holds, tombstones included.
    jobs: usize,
    shut_down: bool,
    done: u64,
    failed: u64,
    cancelled: u64,
}

/// Builds a [`RayonExecutor`].
#[derive(Debug, Default)]
#[must_use]
pub struct RayonBuilder {
    max_workers: Option<usize>,
    stack_size: Option<usize>,
}

impl RayonBuilder {
    /// Number of threads. Default: one per CPU that this process may use.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// Stack size of each thread in bytes. Default: std's.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Builds the executor and starts its threads.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the number of workers is zero or a thread cannot be started.
    pub fn build(self) -> Result<RayonExecutor, BuildError> {
        let max_workers = self.max_workers.unwrap_or_else(available_cpus);
        if max_workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        let shared =
            Arc::new(Shared { id: new_pool_id(), max_workers, state: Mutex::default(), at_rest: Condvar::new() });
        let host = Arc::clone(&shared);
        let mut builder = ThreadPoolBuilder::new()
            .num_threads(max_workers)
            .thread_name(|number| format!("executor-rayon-{number}"))
            .start_handler(move |_| enter_pool(Arc::<Shared>::clone(&host)));
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        let threads = builder.build().map_err(|cause| BuildError::System {
            action: "start rayon's threads",
            cause: std::io::Error::other(cause),
        })?;
        Ok(RayonExecutor { core: RayonCore { shared, threads: Arc::new(threads) } })
    }
}

impl RayonExecutor {
    /// For what can be set.
    pub fn builder() -> RayonBuilder {
        RayonBuilder::default()
    }

    /// Runs any closure in the pool, also one that captures.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] when the executor takes no more tasks.
    pub fn spawn<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<TaskFuture<R>, SubmitError> {
        self.core.enqueue(work, TaskOptions::new())
    }
}

impl RayonCore {
    fn enqueue<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        options: TaskOptions,
    ) -> Result<TaskFuture<R>, SubmitError> {
        if is_elsewhere(self.shared.id) {
            return Err(SubmitError::ShutDown);
        }
        let shared = Arc::clone(&self.shared);
        let (task, future, number) = {
            let mut state = shared.lock();
            if state.shut_down {
                return Err(SubmitError::ShutDown);
            }
            // Not before: with a queue time the task may end by itself, and only one that was counted may.
            let (task, future) = InProcess::task(Arc::clone(&shared), &options, span::carry(work), |_| ());
            state.next += 1;
            let number = state.next;
            state.queue.insert(number, task.clone());
            state.queued += 1;
            state.jobs += 1;
            (task, future, number)
        };
        self.threads.spawn(move || {
            shared.lock().queue.remove(&number);
            task.run();
            end_if_elsewhere(shared.id);
            shared.change(|state| state.jobs -= 1);
        });
        Ok(future)
    }
}

impl State {
    /// No job is left, and no task is being ended by somebody else: by the one who has noticed that it waited for too long.
    fn is_at_rest(&self) -> bool {
        self.jobs == 0 && self.queued == 0 && self.running == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the numbers, and tells those who wait for the end when it has come.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let at_rest = state.is_at_rest();
        drop(state);
        if at_rest {
            self.at_rest.notify_all();
        }
    }

    fn shut_down(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        if is_elsewhere(self.id) {
            return ShutdownReport::default();
        }
        let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        let mut state = self.lock();
        state.shut_down = true;
        let mut report = ShutdownReport::default();
        if how != Shutdown::Drain {
            let queue = std::mem::take(&mut state.queue);
            drop(state);
            report.cancelled = queue.into_values().filter(TaskRef::cancel).count();
            state = self.lock();
        }
        drop(state);
        // A worker of another pool has a stand-in there, for whom tasks of this one may be waiting.
        let _here = (current_pool() != self.id).then(WaitingHere::begin);
        state = self.lock();
        // A worker that waits for its own end would wait for ever.
        while !state.is_at_rest() && current_pool() != self.id {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.at_rest.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.at_rest.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        report.running = state.running;
        report.queued = state.queued;
        report
    }
}

impl Owner for Shared {
    fn pool_id(&self) -> u64 {
        self.id
    }

    fn started(&self, _: &Cell) {
        self.change(|state| {
            state.queued -= 1;
            state.running += 1;
        });
    }

    fn ended(&self, _: &Cell, outcome: TaskState) {
        self.change(|state| {
            state.running -= 1;
            if outcome == TaskState::Failed { state.failed += 1 } else { state.done += 1 }
        });
    }

    fn cancelled(&self, _: &Cell) {
        self.change(|state| {
            state.queued -= 1;
            state.cancelled += 1;
        });
    }
}

impl Host for Shared {
    fn pool_id(&self) -> u64 {
        self.id
    }

    fn begin_wait(self: Arc<Self>) -> bool {
        false
    }

    fn end_wait(&self) {}
}

impl Submit for RayonCore {
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
        self.shared.max_workers
    }
}

impl Executor for RayonExecutor {
    type Core = RayonCore;

    fn core(&self) -> &RayonCore {
        &self.core
    }

    fn stats(&self) -> Stats {
        if is_elsewhere(self.core.shared.id) {
            return Stats::default();
        }
        let state = self.core.shared.lock();
        Stats {
            workers: self.core.shared.max_workers,
            idle: self.core.shared.max_workers.saturating_sub(state.running),
            queued: state.queued,
            running: state.running,
            done: state.done,
            failed: state.failed,
            cancelled: state.cancelled,
            ..Stats::default()
        }
    }

    fn state(&self) -> PoolState {
        if is_elsewhere(self.core.shared.id) {
            return PoolState::Ended;
        }
        let state = self.core.shared.lock();
        PoolState::new(None, state.shut_down, state.queued + state.running == 0)
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        shut_down_and_wait(self.core.shared.id, deadline, || self.core.shared.shut_down(how, deadline))
    }
}

impl Drop for RayonExecutor {
    fn drop(&mut self) {
        if is_elsewhere(self.core.shared.id) {
            // rayon would call threads that are not here.
            std::mem::forget(Arc::clone(&self.core.threads));
            return;
        }
        let how = if std::thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain };
        self.shutdown(how, None);
    }
}

impl fmt::Debug for RayonExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RayonExecutor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RayonCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RayonCore").finish_non_exhaustive()
    }
}
