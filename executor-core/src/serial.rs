//! [`SerialExecutor`]: runs every task at once, on the thread that submits it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    error::SubmitError,
    executor::Executor,
    future::{Cell, InProcess, Owner, State, TaskFuture, new_pool_id},
    shutdown::{Shutdown, ShutdownReport, shut_down_and_wait},
    stats::{PoolState, Stats},
    submit::Submit,
    task::{Payload, Task, TaskOptions},
};

/// Runs every task at once, on the thread that submits it: the baseline, and the simplest way to debug a task.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, SerialExecutor};
///
/// let executor = SerialExecutor::new();
/// assert_eq!(executor.submit(|x: u64| x + 1, 41)?.result()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct SerialExecutor {
    core: SerialCore,
}

/// The part of a [`SerialExecutor`] that takes tasks.
#[derive(Clone, Default)]
pub struct SerialCore {
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Counters {
    id: u64,
    shut_down: AtomicBool,
    running: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            id: new_pool_id(),
            shut_down: AtomicBool::new(false),
            running: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }
}

impl Owner for Counters {
    fn pool_id(&self) -> u64 {
        self.id
    }

    fn started(&self, _: &Cell) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, _: &Cell, state: State) {
        let ended = if state == State::Failed { &self.failed } else { &self.done };
        ended.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    fn cancelled(&self, _: &Cell) {}

    /// The thread is the caller's, also in a copy.
    fn returned(&self) {}
}

impl SerialExecutor {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs any closure, at once.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] after [`Executor::shutdown`].
    pub fn spawn<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<TaskFuture<R>, SubmitError> {
        self.core.run(work, TaskOptions::new())
    }
}

impl SerialCore {
    fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        options: TaskOptions,
    ) -> Result<TaskFuture<R>, SubmitError> {
        // ORDERING: the flag and the counters stand for themselves; nothing else is concluded from them.
        if self.counters.shut_down.load(Ordering::Relaxed) {
            return Err(SubmitError::ShutDown);
        }
        let (task, future) = InProcess::task(Arc::clone(&self.counters), &options, work, |_| ());
        if !task.run() {
            // It had waited for as long as it may before it was begun, and whoever has noticed that is about to say so.
            future.wait_timeout(Duration::MAX);
        }
        Ok(future)
    }
}

impl Submit for SerialCore {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.run(move || task.call(args), options)
    }

    fn max_workers(&self) -> usize {
        1
    }
}

impl Executor for SerialExecutor {
    type Core = SerialCore;

    fn core(&self) -> &SerialCore {
        &self.core
    }

    fn stats(&self) -> Stats {
        // ORDERING: as in `run`.
        let counters = &self.core.counters;
        let running = usize::try_from(counters.running.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        Stats {
            workers: 1,
            idle: usize::from(running == 0),
            running,
            done: counters.done.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    fn state(&self) -> PoolState {
        // ORDERING: as in `run`.
        let is_shut_down = self.core.counters.shut_down.load(Ordering::Relaxed);
        let has_ended = is_shut_down && self.core.counters.running.load(Ordering::Relaxed) == 0;
        PoolState::new(None, is_shut_down, has_ended)
    }

    fn shutdown(&self, _: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        shut_down_and_wait(self.core.counters.id, deadline, || {
            // ORDERING: as in `run`.
            self.core.counters.shut_down.store(true, Ordering::Relaxed);
            ShutdownReport::default()
        })
    }
}

impl Drop for SerialExecutor {
    fn drop(&mut self) {
        self.shutdown(Shutdown::Drain, None);
    }
}

impl fmt::Debug for SerialCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialCore").finish_non_exhaustive()
    }
}
