//! What an executor is doing: [`Stats`] for those who ask, [`Observer`] for those who want to be told.

use crate::future::TaskId;

/// A snapshot of an executor. Counters count from its start. A task whose result somebody has is counted; what happens while
/// the numbers are read may be in some of them and not in others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that exist.
    pub workers: usize,
    /// Workers that have nothing to do.
    pub idle: usize,
    /// Tasks that have not started.
    pub queued: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that ended with a result.
    pub done: u64,
    /// Tasks that ended with an error other than cancellation.
    pub failed: u64,
    /// Tasks that were cancelled or killed.
    pub cancelled: u64,
    /// Worker processes that died without being asked to.
    pub died: u64,
    /// Worker processes that were started to take a dead one's place.
    pub respawned: u64,
}

/// How a task ended, for an [`Observer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskEnd {
    /// With a result.
    Done,
    /// With an error other than cancellation.
    Failed,
    /// It was cancelled before it started.
    Cancelled,
    /// It waited longer than its queue time allows, and did not run.
    Expired,
}

/// Is told what happens in a pool; see [`ThreadPoolBuilder::observer`](crate::ThreadPoolBuilder::observer).
///
/// The methods run on the threads where it happens, so they have to be quick. What they panic with is reported by the program's
/// panic hook and harms nothing else.
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

    /// A task is about to run.
    fn task_started(&self, task: TaskId) {
        let _ = task;
    }

    /// A task has ended; its future is about to resolve, or has just done so.
    fn task_ended(&self, task: TaskId, end: TaskEnd) {
        let _ = (task, end);
    }

    /// A worker has started, on its own thread.
    fn worker_started(&self) {}

    /// A worker is about to end, on its own thread.
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
