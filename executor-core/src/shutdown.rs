//! How an executor ends, and what its shutdown leaves behind.

use std::time::{Duration, Instant};

use crate::future::callbacks;

/// How an executor ends; see [`Executor::shutdown`](crate::Executor::shutdown).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Take no new tasks, and finish all that were submitted. With a deadline of zero this is Python's `wait=False`.
    Drain,
    /// Take no new tasks, cancel those that have not started, and finish those that run. Over sockets a worker has a task as soon
    /// as it is sent: a task that was sent to a stopped worker counts as started.
    CancelQueued,
    /// Take no new tasks, cancel those that have not started, and stop those that run. Worker processes are killed, and the tasks
    /// that they ran resolve with [`TaskError::ShutDown`](crate::TaskError::ShutDown) and count as failed. Threads cannot be
    /// killed, so the pool's [`CancelToken`](crate::CancelToken) is cancelled, and tasks that still run are reported.
    Kill,
}

/// What a shutdown left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tasks that this call cancelled before they started.
    pub cancelled: usize,
    /// Running tasks that this call told to stop by force.
    pub killed: usize,
    /// Tasks that still run because the deadline has passed, or because nothing can stop them.
    pub running: usize,
    /// Tasks that still wait for a worker because the deadline has passed.
    pub queued: usize,
    /// Callbacks of tasks that have not run to their end, because the deadline has passed, or because the shutdown was called from
    /// a callback or from one of the executor's own tasks, where it does not wait for callbacks.
    pub callbacks: usize,
}

impl ShutdownReport {
    /// Returns whether nothing was left: no task runs or waits, and no callback has yet to end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.running == 0 && self.queued == 0 && self.callbacks == 0
    }
}

/// Shuts a pool down, and then waits until the callbacks of its tasks have run; for both no longer than `deadline`.
pub(crate) fn shut_down_and_wait(
    pool: u64,
    deadline: Option<Duration>,
    shut_down: impl FnOnce() -> ShutdownReport,
) -> ShutdownReport {
    // A time too long for the clock is no limit.
    let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
    let report = shut_down();
    ShutdownReport { callbacks: callbacks::wait_for_all(pool, end), ..report }
}
