//! The reading side of a task: [`TaskFuture`].

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    BlockingGuard, Completed, TaskId, Waiter, WaiterKey,
    callbacks::{self, Callback},
    cell::Cell,
    is_elsewhere, may_run_here,
    state::State,
    task::Handle,
};
use crate::error::TaskError;

/// How far a task has come; see [`TaskFuture::state`]. The last three states are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// The task has not started.
    Pending,
    /// The task is running.
    Running,
    /// The task has a result. A result from a worker process is decoded when it is asked for; if that fails, the state of the task
    /// is still `Finished`.
    Finished,
    /// The task ended with a [`TaskError`] other than cancellation.
    Failed,
    /// The task was cancelled.
    Cancelled,
}

/// A task's result, which may not be there yet.
///
/// Dropping a future detaches it: the task continues. A future is also a [`std::future::Future`], for any async runtime.
///
/// A task that waits for another one of its own pool uses [`result`](Self::result), [`wait`](crate::wait()) or
/// [`as_completed`](crate::as_completed). Where it blocks its worker in an async runtime instead (`block_on`), its pool does not know that
/// it waits: nothing runs in place, no thread stands in for it, and with one worker it waits for ever.
///
/// There is no `map` or `then`. Put the code that handles a result into the task, into [`on_result`](Self::on_result), or after an
/// `.await`. A future that is made of another one would need a thread to run on, and rules for what is cancelled, run in place and
/// woken, for little gain.
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
    task: Handle<T>,
}

impl<T> TaskFuture<T> {
    pub(super) fn new(task: Handle<T>) -> Self {
        Self { task }
    }

    pub(crate) fn cell(&self) -> &Cell {
        self.task.cell()
    }

    /// Registers a waiter; gives it back if the task is done.
    pub(crate) fn subscribe(&self, waiter: Waiter) -> Result<WaiterKey, Waiter> {
        if self.done() {
            return Err(waiter);
        }
        let key = self.cell().subscribe(waiter)?;
        self.task.wanted();
        Ok(key)
    }

    /// Removes a waiter that was registered.
    pub(crate) fn unsubscribe(&self, key: WaiterKey) {
        // In a forked copy, a thread that is not in the copy may have held the list's lock when the copy was made.
        if !self.done() {
            self.cell().unsubscribe(key);
        }
    }

    /// Returns the task's id, which can be the key of a map.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.cell().id()
    }

    /// Returns how far the task has come. The state never goes back, unless the task is run
    /// [again](crate::ProcessPoolBuilder::retry).
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Promise, TaskState};
    ///
    /// let (promise, future) = Promise::new();
    /// assert_eq!(future.state(), TaskState::Pending);
    /// assert!(promise.set_running_or_cancelled());
    /// assert_eq!(future.state(), TaskState::Running);
    /// promise.set_result(42)?;
    /// assert_eq!(future.state(), TaskState::Finished);
    /// # Ok::<(), executor_core::AlreadyDone<i32>>(())
    /// ```
    #[must_use]
    pub fn state(&self) -> TaskState {
        loop {
            match self.cell().state() {
                State::Finished => return TaskState::Finished,
                State::Failed => return TaskState::Failed,
                State::Cancelled => return TaskState::Cancelled,
                _ if self.is_elsewhere() => return TaskState::Failed,
                State::Running | State::Settling => return TaskState::Running,
                State::Pending if self.task.is_running() => return TaskState::Running,
                // A task that is not running now may have ended since the first look at its cell.
                State::Pending if self.done() => {}
                State::Pending => return TaskState::Pending,
            }
        }
    }

    /// Returns whether the task is finished, failed or cancelled.
    #[must_use]
    pub fn done(&self) -> bool {
        self.cell().state().is_final() || self.is_elsewhere()
    }

    /// Whether the executor belongs to a process of which this one is a forked copy: a task without an outcome never gets one here.
    fn is_elsewhere(&self) -> bool {
        is_elsewhere(self.task.pool())
    }

    /// Returns whether the task is running.
    #[must_use]
    pub fn running(&self) -> bool {
        self.state() == TaskState::Running
    }

    /// Returns whether the task was cancelled. A cancelled task is done.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell().state() == State::Cancelled
    }

    /// Cancels the task if it has not started: it will not run, and every thread and async task that waits for it wakes up. Returns
    /// whether the task is cancelled; `false` means that it runs or is done.
    pub fn cancel(&self) -> bool {
        !self.done() && self.task.cancel() || self.cancelled()
    }

    /// Stops the task even if it runs, if the executor can do that: a worker process is ended (SIGTERM, the pool's grace time,
    /// SIGKILL) and replaced. The future resolves with [`TaskError::Cancelled`] once the task has really stopped. Returns whether
    /// the task is cancelled or will be. On threads this does what [`cancel`](Self::cancel) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, ProcessPoolExecutor, TaskError};
    ///
    /// fn hang(_: ()) { loop { std::thread::park() } }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     executor_core::init();
    ///     let pool = ProcessPoolExecutor::builder().max_workers(1).grace(std::time::Duration::ZERO).build()?;
    ///     let future = pool.submit(hang, ())?;
    ///     assert!(future.kill());
    ///     assert_eq!(future.result(), Err(TaskError::Cancelled));
    ///     Ok(())
    /// }
    /// ```
    pub fn kill(&self) -> bool {
        !self.done() && self.task.kill() || self.cancelled()
    }

    /// Waits for the result.
    ///
    /// In a task of the same pool, a task that has not started runs on the waiting thread, so waiting never deadlocks the pool. If
    /// that task waits for another one in turn, and so on, all of them are on one stack: a chain of about a thousand waits or more
    /// overflows a worker's 2 MiB, which aborts the program
    /// ([`ThreadPoolBuilder::stack_size`](crate::ThreadPoolBuilder::stack_size)).
    ///
    /// # Errors
    ///
    /// [`TaskError`] when the task has no result.
    ///
    /// # Panics
    ///
    /// If an earlier poll, as a [`std::future::Future`], has already returned the result.
    pub fn result(self) -> Result<T, TaskError> {
        if !self.done() {
            if may_run_here(self.task.pool())
                && let Some(outcome) = self.task.run_here()
            {
                return outcome.map_err(|error| *error);
            }
            self.block(None);
        }
        self.take()
    }

    /// Waits for the result for at most `timeout`. If that runs out, returns the future, which is still attached.
    ///
    /// # Errors
    ///
    /// The outer `Err` holds the future when the wait ran out; the inner error is the task's.
    ///
    /// # Panics
    ///
    /// As for [`result`](Self::result).
    pub fn result_timeout(self, timeout: Duration) -> Result<Result<T, TaskError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// Waits until the task is done, for at most `timeout`; returns whether it is done.
    ///
    /// With a `timeout` of zero the call does not wait. A task that calls it again and again for another task of its pool keeps its
    /// worker busy, whereas a wait would let a worker run the other task.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        // A timeout too long for the clock is none.
        self.done() || self.block(Instant::now().checked_add(timeout))
    }

    /// Calls `callback` once when the task is done, on a thread that runs nothing but callbacks; soon, if it is done already.
    ///
    /// The callbacks that a future has when it is done are called in the order in which they were added. One that is added later is
    /// called separately, perhaps while an earlier one still runs. A panic of a callback is reported by the program's panic hook
    /// and does no other harm. The executor's shutdown waits for callbacks. Callbacks may wait, but at most 128 futures' callbacks
    /// run at once in a program: if so many wait, further ones run late, and never if the waiting ones depend on them.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1)?;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let future = pool.submit(|x: u64| x + 1, 41)?;
    /// future.add_done_callback(move |done| sender.send((done.id(), done.failed())).unwrap());
    /// assert_eq!(receiver.recv()?, (future.id(), false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_done_callback(&self, callback: impl FnOnce(Completed) + Send + 'static) {
        self.add_callback(Callback::new(self.task.pool(), callback));
    }

    /// Passes the result to `receiver` once the task is done, on a callback thread. A panic of `receiver` is reported by the
    /// program's panic hook and does no other harm.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1)?;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// pool.submit(|x: u64| x + 1, 41)?.on_result(move |result| sender.send(result).unwrap());
    /// assert_eq!(receiver.recv()?, Ok(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_result(self, receiver: impl FnOnce(Result<T, TaskError>) + Send + 'static)
    where
        T: Send + 'static,
    {
        let task = (*self.task).clone();
        if self.done() {
            let completed = self.completed();
            return callbacks::dispatch(vec![Callback::new(task.pool(), move |_| receiver(self.take()))], completed);
        }
        task.cell().add_callback(Callback::new(task.pool(), move |_| receiver(self.take())));
        task.wanted();
    }

    fn add_callback(&self, callback: Callback) {
        if self.done() {
            return callbacks::dispatch(vec![callback], self.completed());
        }
        self.cell().add_callback(callback);
        self.task.wanted();
    }

    /// What a callback is given of a task that is done.
    fn completed(&self) -> Completed {
        let state = self.cell().state();
        Completed::new(self.id(), if state.is_final() { state } else { State::Failed })
    }

    /// Runs the task on this thread, if this thread works for the task's pool and the task has not begun.
    pub(crate) fn run_if_own(&self) {
        if may_run_here(self.task.pool()) {
            self.task.run();
        }
    }

    /// Whether the task is done with an error other than a cancellation.
    pub(crate) fn is_error(&self) -> bool {
        match self.cell().state() {
            state if state.is_final() => self.task.is_error(),
            _ => self.is_elsewhere(),
        }
    }

    /// Blocks until the task is done or `deadline` has passed; returns whether it is done.
    fn block(&self, deadline: Option<Instant>) -> bool {
        if self.task.spin(deadline) {
            return true;
        }
        let Ok(key) = self.subscribe(Waiter::Thread(crate::sync::current_thread())) else { return true };
        let is_late = || deadline.is_some_and(|end| end <= Instant::now());
        // A look is no wait: no stand-in is needed for this thread.
        if !is_late() {
            let here = BlockingGuard::begin_or_run(|| self.run_if_own());
            while !self.done() && !is_late() {
                crate::sync::park_until(here.until(deadline));
            }
        }
        self.unsubscribe(key);
        self.done()
    }

    fn take(&self) -> Result<T, TaskError> {
        if !self.cell().state().is_final() {
            debug_assert!(self.is_elsewhere(), "a result is taken when it is there");
            return Err(TaskError::Forked);
        }
        // Only `poll` can have taken the result before, and polling a completed future again is the caller's mistake.
        self.task.take().expect("the result of this future was already taken").map_err(|error| *error)
    }
}

impl<T> Future for TaskFuture<T> {
    type Output = Result<T, TaskError>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.done() && self.cell().set_waker(context.waker()) {
            self.task.wanted();
            return Poll::Pending;
        }
        Poll::Ready(self.take())
    }
}

impl<T> Drop for TaskFuture<T> {
    #[inline]
    fn drop(&mut self) {
        if self.cell().may_have_waker() && !self.done() {
            self.cell().clear_waker();
        }
    }
}

/// Shows the type of the result, the state and, if it can be seen without taking the result, the kind of error.
impl<T> fmt::Debug for TaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct(&format!("TaskFuture<{}>", std::any::type_name::<T>()));
        shown.field("id", &self.id()).field("state", &self.state());
        if let Some(kind) = self.task.error_kind() {
            shown.field("error", &format_args!("{kind}"));
        }
        shown.finish()
    }
}
