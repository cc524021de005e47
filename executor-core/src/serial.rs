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
    /// Whether it is shut down, and how many tasks run, each as [`ONE`]. In one word, so that what is refused is never counted: it
    /// would be a task that runs in an executor that has ended.
    life: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    /// Who has shut down waits here for those that run.
    gate: Mutex<()>,
    at_rest: Condvar,
}

/// The bit that says that it is shut down; above it are the tasks.
const SHUT_DOWN: u64 = 1;
const ONE: u64 = 2;

thread_local! {
    /// How many tasks of serial executors this thread runs, one within the other.
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
    /// Whether a task may run; it counts as one that runs then.
    fn begin(&self) -> bool {
        let take = |life| (life & SHUT_DOWN == 0).then_some(life + ONE);
        // ORDERING: one word says both.
        self.life.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn end(&self) {
        // ORDERING: Release, for who sees that nothing runs any more. Either this sees that somebody waits, perhaps, or that one sees the
        // end.
        if self.life.fetch_sub(ONE, Ordering::Release) & SHUT_DOWN != 0 {
            // Under the lock, so that nobody is between his look and his sleep.
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.at_rest.notify_all();
        }
    }

    /// Whether it is shut down, and how many tasks run.
    fn life(&self) -> (bool, usize) {
        // ORDERING: pairs with the Release of each end.
        let life = self.life.load(Ordering::Acquire);
        (life & SHUT_DOWN != 0, usize::try_from(life / ONE).unwrap_or(usize::MAX))
    }

    fn running(&self) -> usize {
        self.life().1
    }

    fn shut_down(&self, deadline: Option<Duration>) -> ShutdownReport {
        // ORDERING: one word says both.
        self.life.fetch_or(SHUT_DOWN, Ordering::Relaxed);
        // Of the threads that ran a task when this copy was made, at most one is here.
        if is_elsewhere(self.id) {
            return ShutdownReport::default();
        }
        if DEPTH.get() == 0 && self.running() > 0 {
            let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
            // A task may wait for the pool whose worker this is.
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
            // It had waited for as long as it may before it was begun, and whoever has noticed that is about to say so.
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
            // ORDERING: numbers that stand for themselves.
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
