//! [`SerialExecutor`]: runs every task at once, on the thread that submits it.

use std::{
    cell::Cell as StdCell,
    fmt,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    error::SubmitError,
    executor::Executor,
    future::{Cell, InProcess, Owner, State, TaskFuture, WaitingHere, is_elsewhere, new_pool_id},
    shutdown::{Shutdown, ShutdownReport, shut_down_and_wait},
    stats::{PoolState, Stats},
    submit::Submit,
    sync::sleep_until,
    task::{Payload, Task, TaskOptions},
};

/// Runs every task at once, on the thread that submits it: the baseline, and the simplest way to debug a task.
///
/// Its end waits for what other threads run in it at that moment; but not where it is ended in a task of a serial executor,
/// which could be a wait for itself.
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
    /// Counted before it is asked whether tasks are taken.
    running: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    /// Who has shut down waits here for those that run.
    gate: Mutex<()>,
    at_rest: Condvar,
}

thread_local! {
    /// How many tasks of serial executors this thread runs, one within the other.
    static DEPTH: StdCell<u32> = const { StdCell::new(0) };
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            id: new_pool_id(),
            shut_down: AtomicBool::new(false),
            running: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            gate: Mutex::new(()),
            at_rest: Condvar::new(),
        }
    }
}

impl Counters {
    /// Whether a task may run; it counts as one that runs then.
    fn begin(&self) -> bool {
        // ORDERING: SeqCst, with `shut_down`: either this sees that it was shut down, or who has done that sees the task.
        self.running.fetch_add(1, Ordering::SeqCst);
        let begins = !self.shut_down.load(Ordering::SeqCst);
        if !begins {
            self.end();
        }
        begins
    }

    fn end(&self) {
        // ORDERING: SeqCst: either this sees that somebody waits, perhaps, or that one sees the end.
        self.running.fetch_sub(1, Ordering::SeqCst);
        if self.shut_down.load(Ordering::SeqCst) {
            // Under the lock, so that nobody is between his look and his sleep.
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.at_rest.notify_all();
        }
    }

    fn running(&self) -> usize {
        // ORDERING: as above.
        usize::try_from(self.running.load(Ordering::SeqCst)).unwrap_or(usize::MAX)
    }

    fn shut_down(&self, deadline: Option<Duration>) -> ShutdownReport {
        // ORDERING: as in `begin`.
        self.shut_down.store(true, Ordering::SeqCst);
        // Of the threads that ran a task when this copy was made, at most one is here.
        if is_elsewhere(self.id) {
            return ShutdownReport::default();
        }
        if DEPTH.get() == 0 && self.running() > 0 {
            let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
            // A task may wait for the pool whose worker this is.
            let here = WaitingHere::begin();
            loop {
                let until = here.until(end);
                let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
                if self.running() == 0 || end.is_some_and(|end| end <= Instant::now()) {
                    break;
                }
                drop(sleep_until(&self.at_rest, gate, until));
            }
        }
        ShutdownReport { running: self.running(), ..ShutdownReport::default() }
    }
}

impl Owner for Counters {
    fn pool_id(&self) -> u64 {
        self.id
    }

    /// Counted in `begin`.
    fn started(&self, _: &Cell) {}

    fn ended(&self, _: &Cell, state: State) {
        let ended = if state == State::Failed { &self.failed } else { &self.done };
        // ORDERING: published by what follows.
        ended.fetch_add(1, Ordering::Relaxed);
        self.end();
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
        if !self.counters.begin() {
            return Err(SubmitError::ShutDown);
        }
        let (task, future) = InProcess::task(Arc::clone(&self.counters), &options, work, |_| ());
        DEPTH.set(DEPTH.get() + 1);
        let ran = task.run();
        DEPTH.set(DEPTH.get() - 1);
        if !ran {
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
        let counters = &self.core.counters;
        let running = counters.running();
        Stats {
            workers: 1,
            idle: usize::from(running == 0),
            running,
            // ORDERING: numbers that stand for themselves.
            done: counters.done.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    fn state(&self) -> PoolState {
        // ORDERING: as in `begin`.
        let is_shut_down = self.core.counters.shut_down.load(Ordering::SeqCst);
        let has_ended = is_shut_down && self.core.counters.running() == 0;
        PoolState::new(None, is_shut_down, has_ended)
    }

    fn shutdown(&self, _: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        shut_down_and_wait(self.core.counters.id, deadline, || self.core.counters.shut_down(deadline))
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
