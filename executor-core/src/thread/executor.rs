//! The handles of a thread pool: [`ThreadPoolExecutor`], which owns it, and [`ThreadPoolHandle`], which takes tasks.

use std::{fmt, sync::Arc, thread, time::Duration};

use super::{
    membership::PoolOf,
    pool::{Config, Pool},
    sleep::MOST_WORKERS,
};
use crate::{
    cancel::CancelToken,
    error::{BuildError, SubmitError, TaskError},
    executor::Executor,
    future::{InProcess, State as TaskState, TaskFuture},
    map::{ChunkInput, ChunkOutput, Collect, Map, MapBackend},
    shutdown::{Shutdown, ShutdownReport, shut_down_and_wait},
    span,
    stats::{PoolState, Stats},
    submit::Submit,
    task::{Payload, Task, TaskOptions},
};

/// Runs tasks on threads of this process.
///
/// Threads start when tasks are submitted, until `max_workers` run tasks at once, and leave when they have been idle for
/// `idle_timeout`. A task may submit to its own pool and wait: a task that has not started runs in place, and while a worker blocks
/// another one stands in for it. Dropping the pool waits for all its tasks.
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
///
/// A task that submits to its own pool and waits, which works in a pool with one thread too:
///
/// ```
/// use executor_core::{Executor, Submit, TaskOptions, ThreadPoolExecutor};
///
/// fn square(x: u64) -> u64 { x * x }
///
/// let pool = ThreadPoolExecutor::new(1)?;
/// let handle = pool.handle().clone();                     // what a task can take with it
/// let outer = pool.spawn(move || {
///     let inner = handle.submit_task(square, 5, TaskOptions::new()).expect("the pool is not shut down");
///     inner.result().map(|square| square + 1)
/// })?;
/// assert_eq!(outer.result()??, 26);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPoolExecutor {
    handle: ThreadPoolHandle,
}

/// A cloneable handle that submits tasks ([`Submit`]) to a [`ThreadPoolExecutor`] without owning the pool: for its tasks,
/// running maps, other threads. It is cheap to clone, and does not keep the pool from shutting down; a pool that is shut down
/// refuses its tasks.
#[derive(Clone)]
pub struct ThreadPoolHandle {
    pool: Arc<Pool>,
}

impl ThreadPoolExecutor {
    /// Creates a pool in which at most `max_workers` threads run tasks at once, with defaults for the rest.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoWorkers`] if `max_workers` is zero.
    pub fn new(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    pub(super) fn from_config(config: Config) -> Self {
        Self { handle: ThreadPoolHandle { pool: Pool::new(config) } }
    }

    /// Runs any closure in the pool, including one that captures. Waits for space if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] when the pool takes no more tasks.
    pub fn spawn<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<TaskFuture<R>, SubmitError> {
        self.handle.enqueue(work, TaskOptions::new())
    }

    /// Like [`spawn`](Self::spawn), with options for this task.
    ///
    /// # Errors
    ///
    /// As the options say: [`SubmitError::Full`] when the queue is full, [`SubmitError::ShutDown`] when the pool takes no more
    /// tasks.
    pub fn spawn_with<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        options: TaskOptions,
    ) -> Result<TaskFuture<R>, SubmitError> {
        self.handle.enqueue(work, options)
    }

    pub(super) fn scope_core(&self) -> ThreadPoolHandle {
        self.handle.clone()
    }

    /// Calls `work`, any closure, with each item, and yields the results in the order of the items. This is [`Executor::map`] for
    /// closures that capture, and for items and results that serde cannot write. See [`Map`] for what can be set.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// let names = ["one", "two", "three"];
    /// let lengths = pool.spawn_map(move |place: usize| names[place].len(), 0..3).into_vec()?;
    /// assert_eq!(lengths, [3, 3, 5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn_map<F, A, R, I>(&self, work: F, items: I) -> Map<ClosureHandle, Arc<F>, (), I::IntoIter>
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        Map::new(ClosureHandle(self.handle.clone()), Arc::new(work), items.into_iter())
    }

    /// Changes the largest number of threads that run tasks at once, for tasks that start from now on. Surplus threads finish their
    /// task and then fall asleep. Like all sleeping threads, they leave when they have been idle for the builder's `idle_timeout`,
    /// or earlier if very many sleep.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoWorkers`] if `max_workers` is zero.
    pub fn resize(&self, max_workers: usize) -> Result<(), BuildError> {
        if max_workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        self.handle.pool.resize(max_workers.min(MOST_WORKERS));
        Ok(())
    }

    /// Returns a token that [`Shutdown::Kill`] cancels, for tasks that watch one. Give each task its own
    /// [`child`](CancelToken::child) to cancel them one by one as well.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.handle.pool.token.clone()
    }
}

impl ThreadPoolHandle {
    pub(super) fn enqueue<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        options: TaskOptions,
    ) -> Result<TaskFuture<R>, SubmitError> {
        let pool = &self.pool;
        // This calls a subscriber, which is the user's code and may panic: no place in the queue is taken yet that would be lost.
        let work = span::carry(work);
        pool.admit(&options)?;
        let mut is_here = true;
        let (task, future) = InProcess::task(PoolOf(pool.id), &options, work, |cell| {
            is_here = pool.observe(|observer| observer.task_queued(cell.id()));
        });
        if !is_here {
            return Err(SubmitError::ShutDown);
        }
        // If a worker already has the task, the task runs; that is fine as well.
        if pool.push(task, options.priority, future.cell()) || !future.cancel() {
            Ok(future)
        } else {
            Err(SubmitError::ShutDown)
        }
    }
}

impl ThreadPoolHandle {
    pub(super) fn id(&self) -> u64 {
        self.pool.id
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(super) fn workers(&self) -> usize {
        self.pool.idle.limit()
    }

    /// Submits many tasks. When all are queued, wakes as many workers at once as they can use.
    pub(super) fn enqueue_many<R: Send + 'static, W: FnOnce() -> R + Send + 'static>(
        &self,
        tasks: impl IntoIterator<Item = W>,
        options: TaskOptions,
    ) -> Result<Vec<TaskFuture<R>>, SubmitError> {
        let pool = &self.pool;
        let tasks = tasks.into_iter();
        let mut futures = Vec::new();
        // A size hint of more than there is memory for is ignored.
        let _ = futures.try_reserve(tasks.size_hint().0);
        for work in tasks {
            // Before a place in the queue is taken, since a subscriber may panic.
            let work = span::carry(work);
            if let Err(error) = pool.admit(&options) {
                // All or none, except for tasks that may have run already.
                futures.iter().for_each(|future: &TaskFuture<R>| _ = future.cancel());
                return Err(error);
            }
            let mut is_here = true;
            let (task, future) = InProcess::task(PoolOf(pool.id), &options, work, |cell| {
                is_here = pool.observe(|observer| observer.task_queued(cell.id()));
            });
            if !is_here {
                return Err(SubmitError::ShutDown);
            }
            // The next task may have to wait: for space in a bounded queue, or because the iterator waits for this one. And the
            // iterator may panic. Tasks that are announced before a shutdown belong to the pool, and run.
            if !pool.push(task, options.priority, future.cell()) && future.cancel() {
                futures.iter().for_each(|future| _ = future.cancel());
                return Err(SubmitError::ShutDown);
            }
            futures.push(future);
        }
        // The iterator may have forked at its end, and this may be the copy.
        if futures.len() > 1 && !pool.is_elsewhere() {
            // Calls the workers that are needed in addition, and none for tasks that have begun, as where the iterator has waited for
            // them. The last ones are those that wait. A shutdown meanwhile does not matter: each task was announced.
            let waiting = futures.iter().rev().filter(|future| future.cell().state() == TaskState::Pending);
            let waiting = waiting.take(pool.idle.limit()).count();
            if waiting > 1 {
                pool.announce(waiting, || pool.queues.has_any_work());
            }
        }
        Ok(futures)
    }
}

/// The handle of a [`ThreadPoolExecutor`] that takes the closures of [`spawn_map`](ThreadPoolExecutor::spawn_map).
#[derive(Debug, Clone)]
pub struct ClosureHandle(ThreadPoolHandle);

impl<F, A, R> MapBackend<Arc<F>, A, ()> for ClosureHandle
where
    F: Fn(A) -> R + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
{
    type Output = R;

    fn submit_chunk(
        &self,
        work: &Arc<F>,
        input: ChunkInput<A, R>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<R>>, SubmitError> {
        let work = Arc::clone(work);
        self.0.enqueue(move || ChunkOutput::compute(input, &*work), options)
    }

    fn collect_all<'a>(
        &self,
        work: &Arc<F>,
        collect: Collect<'a, A>,
    ) -> Result<Result<Vec<R>, TaskError>, Collect<'a, A>> {
        let work = Arc::clone(work);
        Ok(super::collect::collect_all(&self.0, move |item| work(item), collect))
    }

    fn workers(&self) -> usize {
        self.0.workers()
    }
}

impl Submit for ThreadPoolHandle {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.enqueue(move || task.call(args), options)
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
        let tasks = args.into_iter().map(|args| {
            let task = task.clone();
            move || task.call(args)
        });
        self.enqueue_many(tasks, options)
    }

    fn collect_all<'a, F, A, M>(
        &self,
        task: &F,
        collect: Collect<'a, A>,
    ) -> Result<Result<Vec<F::Output>, TaskError>, Collect<'a, A>>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        let task = task.clone();
        Ok(super::collect::collect_all(self, move |item| task.call(item), collect))
    }

    fn max_workers(&self) -> usize {
        self.workers()
    }
}

impl Executor for ThreadPoolExecutor {
    type Handle = ThreadPoolHandle;

    fn handle(&self) -> &ThreadPoolHandle {
        &self.handle
    }

    fn stats(&self) -> Stats {
        self.handle.pool.stats()
    }

    fn state(&self) -> PoolState {
        self.handle.pool.state()
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        shut_down_and_wait(self.handle.pool.id, deadline, || self.handle.pool.shut_down(how, deadline))
    }
}

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        if self.handle.pool.is_elsewhere() {
            // The pool has handles of threads that are not in this process.
            std::mem::forget(Arc::clone(&self.handle.pool));
            return;
        }
        let how = if thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain };
        self.shutdown(how, None);
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ThreadPoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolHandle").finish_non_exhaustive()
    }
}
