//! How an executor ends, and what that has left behind.

use std::time::{Duration, Instant};

use crate::future::callbacks;

/// How an executor ends; see [`Executor::shutdown`](crate::Executor::shutdown).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Take no new tasks, and finish all that were submitted. With a deadline of zero this is Python's `wait=False`.
    Drain,
    /// Take no new tasks, cancel those that have not started, and finish those that run. Over sockets a worker has a task as soon as it
    /// is sent: one that was sent to a worker that is stopped counts as started.
    CancelQueued,
    /// Take no new tasks, cancel those that have not started, and stop those that run: worker processes are killed, and what
    /// they ran resolves with [`TaskError::ShutDown`](crate::TaskError::ShutDown) and counts as failed; threads cannot be, so
    /// the pool's [`CancelToken`](crate::CancelToken) is cancelled and what still runs is reported.
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
    /// Tasks that still run: the deadline passed, or nothing can stop them.
    pub running: usize,
    /// Tasks that still wait for a worker: the deadline passed.
    pub queued: usize,
    /// Callbacks of tasks that have not run to their end: the deadline passed, or this was called from one of them or from
    /// one of the executor's own tasks, where nobody waits for them.
    pub callbacks: usize,
}

impl ShutdownReport {
    /// Whether the executor is at rest.
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
