//! What an executor is doing: a program asks with [`Stats`], and is told through an [`Observer`].

use crate::{error::TaskError, future::TaskId};

/// A snapshot of an executor. Counters count from its start. A task whose result has been taken is counted. A change that happens
/// while the numbers are read may be in some of them and not in others.
///
/// Every task that was taken is in exactly one of `queued`, `running`, `done`, `failed` and `cancelled`, so when nothing
/// changes they add up to the number of tasks that were submitted ([`submitted`](Self::submitted)). A chunk of a map is one
/// task. Some cases that may surprise:
///
/// - A task whose argument cannot be encoded, and every task of a broken pool, counts as failed.
/// - A task on a thread whose time limit has passed runs until it returns, and then counts as failed.
/// - A task whose own output is an `Err` counts as done, and so does a task whose result cannot be decoded by the caller that
///   asks for it.
/// - [`Map::into_vec`](crate::Map::into_vec) gives a thread pool one task for each worker. Those that have not started when no
///   items are left are cancelled.
/// - A task that `submit` refuses ([`SubmitError`](crate::SubmitError)) was not taken and is not counted. It counts as cancelled
///   only if it was already in the queue when the pool was shut down, or if `submit_many` had queued it before it was refused.
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
    /// Workers that have no task.
    pub idle: usize,
    /// Tasks that wait for a worker. They include tasks, and the rest of chunks, that are to be run again after a worker's death.
    pub queued: usize,
    /// Tasks that are running.
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
    /// Returns how many tasks the executor has taken, whatever their outcome.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.queued as u64 + self.running as u64 + self.done + self.failed + self.cancelled
    }
}

/// Whether an executor takes tasks and runs them; see [`Executor::state`](crate::Executor::state).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolState {
    /// The executor takes tasks.
    Active,
    /// The executor was shut down, and finishes the tasks that it has.
    Ending,
    /// The executor was shut down, and has no thread or process left that could run a task.
    Ended,
    /// The executor cannot run tasks any more, and resolves every task that it is given with this error. It can still be shut
    /// down.
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
    /// The task ended with a result.
    Done,
    /// The task ended with an error other than cancellation.
    Failed,
    /// The task was cancelled before it started, or stopped by [`TaskFuture::kill`](crate::TaskFuture::kill).
    Cancelled,
    /// The task waited longer than its queue time allows, and did not run.
    Expired,
}

/// Is told what happens in a pool; see [`ThreadPoolBuilder::observer`](crate::ThreadPoolBuilder::observer) and
/// `ProcessPoolBuilder::observer`.
///
/// The methods run on the pool's own threads and on the threads that submit, cancel and wait, so they have to be quick. A panic
/// of a method is reported by the program's panic hook and does no other harm.
///
/// For each task, the observer is told that it was queued, perhaps that it has started, and how it ended, in this order.
///
/// A thread pool calls the observer on the thread where the event happens, at that moment. The end of a task is told just before
/// its future resolves. A task has its place in a bounded queue when `task_queued` is called, and none any more when its start or its
/// end is told: an observer that waits for room in that queue may do so in all methods but `task_queued`.
///
/// A process pool calls the observer in this process, one event at a time and in their order, soon after it has learned of the
/// event. If the calls take long, a separate thread makes them, and the end of the pool waits for it. No lock is held during a
/// call, so an observer may ask the pool for its state, or end it. An observer that is far behind slows submits down. A future may
/// resolve just before the end of its task is told.
///
/// A worker process does not announce that it begins a task. The pool sees it when it looks, about once in a millisecond as long
/// as replies are expected, or learns of it by the reply. So `task_started` comes late rather than early, and for a short task
/// right before its end; the time between the two does not measure how long the task took. Over sockets a task counts as started
/// when it is sent. The start of a task that is run again, because its worker has died, is told once.
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

    /// A task is about to run, or is already running.
    fn task_started(&self, task: TaskId) {
        let _ = task;
    }

    /// A task has ended; its future is about to resolve, or has just done so.
    fn task_ended(&self, task: TaskId, end: TaskEnd) {
        let _ = (task, end);
    }

    /// A worker has started: called on the worker's own thread, or when its process is ready for tasks.
    fn worker_started(&self) {}

    /// A worker that had started ends: called on the worker's own thread, or when its process is gone.
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
