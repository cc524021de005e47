//! What an executor is doing: [`Stats`] for those who ask, [`Observer`] for those who want to be told.

use crate::{error::TaskError, future::TaskId};

/// A snapshot of an executor. Counters count from its start. A task whose result somebody has is counted; what happens while
/// the numbers are read may be in some of them and not in others.
///
/// Every task that was taken is in exactly one of `queued`, `running`, `done`, `failed` and `cancelled`, so when nothing
/// changes they add up to the number of tasks that were submitted ([`submitted`](Self::submitted)). A chunk of a map is one
/// task. Some cases that may surprise:
///
/// - A task whose argument cannot be encoded, and every task of a broken pool, has failed.
/// - A task on a thread whose time limit has passed runs until it returns, and then has failed.
/// - A task whose own output is an `Err`, and one whose result cannot be decoded where somebody asks for it, is done.
/// - [`Map::into_vec`](crate::Map::into_vec) gives a thread pool a task for each worker. Those that have not started when nothing is
///   left to do are cancelled.
/// - What `submit` refuses ([`SubmitError`](crate::SubmitError)) was not taken. Only if it had got into the queue already when
///   the pool was shut down, or `submit_many` had put it there before it was refused, is it a cancelled one.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// assert_eq!(pool.submit(|x: u64| x + 1, 41)?.result()?, 42);
/// assert!(pool.spawn(|| panic!("oh"))?.result().is_err());
/// let stats = pool.stats();
/// assert_eq!((stats.done, stats.failed, stats.submitted()), (1, 1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that exist.
    pub workers: usize,
    /// Workers that have nothing to do.
    pub idle: usize,
    /// Tasks that wait for a worker, also those whose worker has died and that are to be run again, or the rest of them.
    pub queued: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that ended with a result.
    pub done: u64,
    /// Tasks that ended with an error other than cancellation, among them those that
    /// [`Shutdown::Kill`](crate::Shutdown::Kill) stopped while they ran.
    pub failed: u64,
    /// Tasks that were cancelled before they started, or stopped by [`TaskFuture::kill`](crate::TaskFuture::kill).
    pub cancelled: u64,
    /// Worker processes that died without being asked to.
    pub died: u64,
    /// Worker processes that were started to take a dead one's place.
    pub respawned: u64,
}

impl Stats {
    /// How many tasks the executor has taken, whatever has become of them.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.queued as u64 + self.running as u64 + self.done + self.failed + self.cancelled
    }
}

/// Whether an executor takes tasks and runs them; see [`Executor::state`](crate::Executor::state).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolState {
    /// It takes tasks.
    Active,
    /// It was shut down, and finishes what it has.
    Ending,
    /// It was shut down, and nothing of it is left that could run a task.
    Ended,
    /// It cannot run tasks any more, and every task that it is given resolves with this error. It can still be shut down.
    Broken(TaskError),
}

impl PoolState {
    pub(crate) fn new(broken: Option<TaskError>, is_shut_down: bool, has_ended: bool) -> Self {
        match (broken, is_shut_down, has_ended) {
            (_, true, true) => Self::Ended,
            (Some(error), ..) => Self::Broken(error),
            (None, true, false) => Self::Ending,
            (None, false, _) => Self::Active,
        }
    }
}

/// How a task ended, for an [`Observer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskEnd {
    /// With a result.
    Done,
    /// With an error other than cancellation.
    Failed,
    /// It was cancelled before it started, or stopped by [`TaskFuture::kill`](crate::TaskFuture::kill).
    Cancelled,
    /// It waited longer than its queue time allows, and did not run.
    Expired,
}

/// Is told what happens in a pool; see [`ThreadPoolBuilder::observer`](crate::ThreadPoolBuilder::observer) and
/// `ProcessPoolBuilder::observer`.
///
/// The methods run on the pool's own threads and on those that submit, cancel and wait, so they have to be quick. What they
/// panic with is reported by the program's panic hook and harms nothing else.
///
/// Of each task it is told that it was queued, perhaps that it has started, and how it ended, in this order.
///
/// A thread pool tells on the thread where it happens, at that moment: the end just before the future resolves.
///
/// A process pool tells in this process, one thing after the other and in their order, soon after it has learnt of it; what takes
/// long is told by a thread of its own, and the end of the pool waits for it. No lock is held meanwhile, so an observer may ask
/// the pool, or end it. One that is far behind slows submits down. A future may resolve just before the end of its task is told. A worker
/// does not say that it begins a task: the pool sees it when it looks, which it does about once in a millisecond as long as
/// there is something to come, or it learns of it by the answer. So `task_started` comes late rather than early, and for a short task right before its end; the time
/// between the two is no measure of how long the task took. Over sockets a task counts as started when it is sent. One that
/// is run again, because its worker has died, is told once.
///
/// # Examples
///
/// ```
/// use executor_core::{Observer, TaskEnd, TaskId, ThreadPoolExecutor};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observer for Failures {
///     fn task_ended(&self, _: TaskId, end: TaskEnd) {
///         if end == TaskEnd::Failed {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let failures = Arc::new(Failures::default());
/// let pool = ThreadPoolExecutor::builder().observer(Arc::clone(&failures)).build()?;
/// assert!(pool.spawn(|| panic!("oh"))?.result().is_err());
/// assert_eq!(failures.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A task is about to be queued.
    fn task_queued(&self, task: TaskId) {
        let _ = task;
    }

    /// A task is about to run, or does already.
    fn task_started(&self, task: TaskId) {
        let _ = task;
    }

    /// A task has ended; its future is about to resolve, or has just done so.
    fn task_ended(&self, task: TaskId, end: TaskEnd) {
        let _ = (task, end);
    }

    /// A worker has started: told on its own thread, or when its process is ready for tasks.
    fn worker_started(&self) {}

    /// A worker that had started ends: told on its own thread, or when its process is gone.
    fn worker_ended(&self) {}
}

impl<O: Observer + ?Sized> Observer for std::sync::Arc<O> {
    fn task_queued(&self, task: TaskId) {
        (**self).task_queued(task);
    }

    fn task_started(&self, task: TaskId) {
        (**self).task_started(task);
    }

    fn task_ended(&self, task: TaskId, end: TaskEnd) {
        (**self).task_ended(task, end);
    }

    fn worker_started(&self) {
        (**self).worker_started();
    }

    fn worker_ended(&self) {
        (**self).worker_ended();
    }
}
