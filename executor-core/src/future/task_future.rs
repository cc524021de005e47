//! The reading side of a task: [`TaskFuture`].

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    Cell, Completed, Shared, TaskId, Waiter, WaitingHere,
    cell::{Parker, State, WaiterKey},
    may_run_here,
};
use crate::{
    error::TaskError,
    sync::{lock, wait, wait_until},
};

/// A task's result, now or later.
///
/// Dropping a future detaches it: the task goes on. A future is also a [`std::future::Future`], for any async runtime.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// fn square(x: u64) -> u64 { x * x }
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// let future = pool.submit(square, 12)?;
/// match future.result_timeout(Duration::from_secs(5)) {
///     Ok(result) => assert_eq!(result?, 144),
///     Err(future) => { future.cancel(); }        // the wait ran out; the task did not
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a future that is dropped detaches its task; use `drop` to say that this is meant"]
pub struct TaskFuture<T> {
    shared: Arc<dyn Shared<T>>,
    /// Where the waker of the last poll is registered.
    waker: Option<WaiterKey>,
}

impl<T> TaskFuture<T> {
    pub(crate) fn new<S: Shared<T> + 'static>(shared: Arc<S>) -> Self {
        Self { shared, waker: None }
    }

    pub(crate) fn cell(&self) -> &Cell<T> {
        self.shared.cell()
    }

    /// The task's name, for maps from task to whatever belongs to it.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.cell().id()
    }

    /// Whether the task is finished, failed or cancelled.
    #[must_use]
    pub fn done(&self) -> bool {
        self.cell().state().is_final()
    }

    /// Whether the task runs right now.
    #[must_use]
    pub fn running(&self) -> bool {
        self.cell().state() == State::Running
    }

    /// Whether the task was cancelled. A cancelled task is done.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell().state() == State::Cancelled
    }

    /// Cancels the task if it has not started: it will not run, and everybody who waits for it wakes up.
    /// Returns whether it is cancelled; `false` means that it runs or is done.
    pub fn cancel(&self) -> bool {
        self.shared.cancel()
    }

    /// Stops the task even if it runs, where the executor can do that: a worker process is ended (SIGTERM, the pool's
    /// grace time, SIGKILL) and replaced. The future resolves with [`TaskError::Cancelled`] once the task has really
    /// stopped. Returns whether the task is cancelled or will be; on threads this is [`cancel`](Self::cancel).
    pub fn kill(&self) -> bool {
        self.shared.kill()
    }

    /// Waits for the result.
    ///
    /// In a task of the same pool, a task that nobody has started runs right here, so waiting never deadlocks the pool.
    ///
    /// # Errors
    ///
    /// [`TaskError`] when the task has no result.
    pub fn result(self) -> Result<T, TaskError> {
        if !self.done() {
            self.run_if_own();
            self.block(None);
        }
        self.take()
    }

    /// Waits for the result for at most `timeout`. When that runs out the future comes back, still attached.
    ///
    /// # Errors
    ///
    /// The outer `Err` holds the future when the wait ran out; the inner one is the task's error.
    pub fn result_timeout(self, timeout: Duration) -> Result<Result<T, TaskError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// Waits until the task is done, for at most `timeout`; says whether it is.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        // A timeout too large for the clock is no timeout.
        self.done() || self.block(Instant::now().checked_add(timeout))
    }

    /// Calls `callback` once when the task is done, on a thread that runs nothing but callbacks; soon, when it is done
    /// already. A future's callbacks are called in the order in which they were added. What one panics with is reported by
    /// the program's panic hook and harms nothing else.
    pub fn add_done_callback(&self, callback: impl FnOnce(Completed) + Send + 'static) {
        self.cell().add_callback(Box::new(callback));
    }

    /// Gives the result to `receiver` once the task is done, on the thread of the callbacks.
    pub fn on_result(self, receiver: impl FnOnce(Result<T, TaskError>) + Send + 'static)
    where
        T: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        shared.cell().add_callback(Box::new(move |_| receiver(self.take())));
    }

    /// Runs the task here if this thread works for the pool that would run it and nobody has begun it.
    pub(crate) fn run_if_own(&self) {
        if may_run_here(self.shared.pool()) {
            Arc::clone(&self.shared).run_here();
        }
    }

    /// Blocks until the task is done or `deadline` has passed; says whether it is done.
    fn block(&self, deadline: Option<Instant>) -> bool {
        let parker = Arc::new(Parker::new());
        let Ok(key) = self.cell().subscribe(Waiter::Thread(Arc::clone(&parker))) else { return true };
        let here = WaitingHere::begin();
        if deadline.is_some() && !here.compensated {
            // Nobody stands in for this worker, so the task may be waiting for it.
            self.run_if_own();
        }
        let mut woken = lock(&parker.woken);
        while !*woken {
            match deadline {
                None => woken = wait(&parker.wake, woken),
                Some(end) if Instant::now() < end => woken = wait_until(&parker.wake, woken, deadline),
                Some(_) => break,
            }
        }
        drop(woken);
        drop(here);
        if !self.done() {
            self.cell().unsubscribe(key);
        }
        self.done()
    }

    fn take(&self) -> Result<T, TaskError> {
        // Only `poll` can have taken it before, and polling a completed future again is the caller's mistake.
        self.cell().take().expect("the result of this future was already taken")
    }
}

impl<T> Future for TaskFuture<T> {
    type Output = Result<T, TaskError>;

    /// # Panics
    ///
    /// When it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.done() {
            let registered = match self.waker {
                Some(key) => self.cell().update_waker(key, context.waker()),
                None => false,
            };
            if registered {
                return Poll::Pending;
            }
            if let Ok(key) = self.cell().subscribe(Waiter::Waker(context.waker().clone())) {
                self.waker = Some(key);
                return Poll::Pending;
            }
        }
        self.waker = None;
        Poll::Ready(self.take())
    }
}

impl<T> Drop for TaskFuture<T> {
    fn drop(&mut self) {
        if let Some(key) = self.waker {
            self.cell().unsubscribe(key);
        }
    }
}

impl<T> fmt::Debug for TaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskFuture").field("id", &self.id()).field("state", &self.cell().state()).finish()
    }
}
