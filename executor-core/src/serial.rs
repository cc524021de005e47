//! [`SerialExecutor`]: runs every task at once, on the thread that submits it.

use std::{
    cell::Cell as StdCell,
    fmt,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    error::SubmitError,
    executor::Executor,
    future::{BlockingGuard, Cell, InProcess, Owner, State, TaskFuture, is_elsewhere, new_pool_id},
    shutdown::{Shutdown, ShutdownReport, shut_down_and_wait},
    stats::{PoolState, Stats},
    submit::Submit,
    sync::sleep_until,
    task::{Payload, Task, TaskOptions},
};

/// Runs every task at once, on the thread that submits it: the baseline, and the simplest way to debug a task.
///
/// A shutdown waits for tasks that other threads run in the executor at that moment, unless it is called in a task of a serial
/// executor, because it could wait for itself then.
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
    handle: SerialHandle,
}

/// A cloneable handle that submits tasks to a [`SerialExecutor`].
#[derive(Clone, Default)]
pub struct SerialHandle {
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Counters {
    id: u64,
    /// Whether the executor is shut down, and how many tasks run, each as [`ONE`]. Both are in one word, so that a refused task is
    /// never counted: it would be a task that runs in an executor that has ended.
    life: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    /// A thread that has shut the executor down waits here for the tasks that run.
    gate: Mutex<()>,
    at_rest: Condvar,
}

/// The bit that says that the executor is shut down; above it is the number of tasks.
const SHUT_DOWN: u64 = 1;
const ONE: u64 = 2;

thread_local! {
    /// How many tasks of serial executors this thread runs, nested in one another.
    static DEPTH: StdCell<u32> = const { StdCell::new(0) };
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            id: new_pool_id(),
            life: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            gate: Mutex::new(()),
            at_rest: Condvar::new(),
        }
    }
}

impl Counters {
    /// Whether a task may run; if so, it counts as running.
    fn begin(&self) -> bool {
        let take = |life| (life & SHUT_DOWN == 0).then_some(life + ONE);
        // ORDERING: both facts are in one word.
        self.life.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn end(&self) {
        // ORDERING: Release pairs with the Acquire in `life`, for a thread that sees that no task runs any more. The word orders
        // this end and the shutdown: either this end sees `SHUT_DOWN`, and wakes the thread that may wait, or that thread sees the
        // end.
        if self.life.fetch_sub(ONE, Ordering::Release) & SHUT_DOWN != 0 {
            // Under the lock, so that the waiting thread is not between its look at the word and its sleep.
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.at_rest.notify_all();
        }
    }

    /// Whether the executor is shut down, and how many tasks run.
    fn life(&self) -> (bool, usize) {
        // ORDERING: Acquire pairs with the Release of each task's end.
        let life = self.life.load(Ordering::Acquire);
        (life & SHUT_DOWN != 0, usize::try_from(life / ONE).unwrap_or(usize::MAX))
    }

    fn running(&self) -> usize {
        self.life().1
    }

    fn shut_down(&self, deadline: Option<Duration>) -> ShutdownReport {
        // ORDERING: one word has both the bit and the number of tasks, so either `begin` sees the bit or this call sees the task.
        self.life.fetch_or(SHUT_DOWN, Ordering::Relaxed);
        // Of the threads that ran a task when this copy of the process was made, at most one is in the copy.
        if is_elsewhere(self.id) {
            return ShutdownReport::default();
        }
        if DEPTH.get() == 0 && self.running() > 0 {
            let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
            // One of the tasks may wait for the pool whose worker this thread is.
            let here = BlockingGuard::begin();
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

    /// The task was counted in `begin`.
    fn started(&self, _: &Cell) {}

    fn ended(&self, _: &Cell, state: State) {
        let ended = if state == State::Failed { &self.failed } else { &self.done };
        // ORDERING: the final state that follows publishes the count.
        ended.fetch_add(1, Ordering::Relaxed);
        self.end();
    }

    fn cancelled(&self, _: &Cell) {}

    /// In a forked copy too: the thread that runs the task is the caller's.
    fn returned(&self) {}
}

impl SerialExecutor {
    /// Creates a serial executor.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs any closure on the calling thread before it returns.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] after [`Executor::shutdown`].
    pub fn spawn<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<TaskFuture<R>, SubmitError> {
        self.handle.run(work, TaskOptions::new())
    }
}

impl SerialHandle {
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
            // The task's queue time had passed before the task was begun. The thread that has noticed that is about to resolve the
            // future.
            future.wait_timeout(Duration::MAX);
        }
        Ok(future)
    }
}

impl Submit for SerialHandle {
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
    type Handle = SerialHandle;

    fn handle(&self) -> &SerialHandle {
        &self.handle
    }

    fn stats(&self) -> Stats {
        let counters = &self.handle.counters;
        let running = counters.running();
        Stats {
            workers: 1,
            idle: usize::from(running == 0),
            running,
            // ORDERING: the numbers are independent of one another.
            done: counters.done.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    fn state(&self) -> PoolState {
        let (is_shut_down, running) = self.handle.counters.life();
        PoolState::new(None, is_shut_down, is_shut_down && running == 0)
    }

    fn shutdown(&self, _: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        shut_down_and_wait(self.handle.counters.id, deadline, || self.handle.counters.shut_down(deadline))
    }
}

impl Drop for SerialExecutor {
    fn drop(&mut self) {
        self.shutdown(Shutdown::Drain, None);
    }
}

impl fmt::Debug for SerialHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialHandle").finish_non_exhaustive()
    }
}
