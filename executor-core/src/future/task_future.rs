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

/// How far a task has come; see [`TaskFuture::state`]. The last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// It has not started.
    Pending,
    /// It runs.
    Running,
    /// It has a result. One that came from a worker process is decoded when somebody asks for it; should that fail, the task
    /// is still a finished one.
    Finished,
    /// It ended with a [`TaskError`] other than cancellation.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// A task's result, now or later.
///
/// Dropping a future detaches it: the task goes on. A future is also a [`std::future::Future`], for any async runtime.
///
/// There is no `map` or `then`: what is to be done with a result belongs into the task, into [`on_result`](Self::on_result), or
/// after an `.await`, because a future made of another one would need a thread to run on, and a say in who is cancelled, run in
/// place and woken, for little gain.
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

    /// Registers somebody who wants to know when the task is done; they come back when it is.
    pub(crate) fn subscribe(&self, waiter: Waiter) -> Result<WaiterKey, Waiter> {
        if self.done() {
            return Err(waiter);
        }
        let key = self.cell().subscribe(waiter)?;
        self.task.wanted();
        Ok(key)
    }

    /// Forgets somebody who was registered.
    pub(crate) fn unsubscribe(&self, key: WaiterKey) {
        // In a forked copy a thread may have had the list when the copy was made.
        if !self.done() {
            self.cell().unsubscribe(key);
        }
    }

    /// The task's name, for maps from task to whatever belongs to it.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.cell().id()
    }

    /// How far the task has come, in one look. It never goes back, unless the task is run
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
                // What does not run now may have come to its end since the first look at its cell.
                State::Pending if self.done() => {}
                State::Pending => return TaskState::Pending,
            }
        }
    }

    /// Whether the task is finished, failed or cancelled.
    #[must_use]
    pub fn done(&self) -> bool {
        self.cell().state().is_final() || self.is_elsewhere()
    }

    /// Whether the executor is that of a process of which this one is a forked copy: what has no outcome then never will.
    fn is_elsewhere(&self) -> bool {
        is_elsewhere(self.task.pool())
    }

    /// Whether the task runs right now.
    #[must_use]
    pub fn running(&self) -> bool {
        self.state() == TaskState::Running
    }

    /// Whether the task was cancelled. A cancelled task is done.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell().state() == State::Cancelled
    }

    /// Cancels the task if it has not started: it will not run, and everybody who waits for it wakes up.
    /// Returns whether it is cancelled; `false` means that it runs or is done.
    pub fn cancel(&self) -> bool {
        !self.done() && self.task.cancel() || self.cancelled()
    }

    /// Stops the task even if it runs, where the executor can do that: a worker process is ended (SIGTERM, the pool's
    /// grace time, SIGKILL) and replaced. The future resolves with [`TaskError::Cancelled`] once the task has really
    /// stopped. Returns whether the task is cancelled or will be; on threads this is [`cancel`](Self::cancel).
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
    /// In a task of the same pool, a task that nobody has started runs right here, so waiting never deadlocks the pool. Where
    /// that task waits for another one in turn, and so on, all of them are on one stack: a chain of a thousand to some thousand
    /// waits overflows a worker's 2 MiB, which aborts the program
    /// ([`ThreadPoolBuilder::stack_size`](crate::ThreadPoolBuilder::stack_size)).
    ///
    /// # Errors
    ///
    /// [`TaskError`] when the task has no result.
    ///
    /// # Panics
    ///
    /// When an earlier poll, as a [`std::future::Future`], has given the result already.
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

    /// Waits for the result for at most `timeout`. When that runs out the future comes back, still attached.
    ///
    /// # Errors
    ///
    /// The outer `Err` holds the future when the wait ran out; the inner one is the task's error.
    ///
    /// # Panics
    ///
    /// As [`result`](Self::result).
    pub fn result_timeout(self, timeout: Duration) -> Result<Result<T, TaskError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// Waits until the task is done, for at most `timeout`; says whether it is.
    ///
    /// With no time it is a look: a task that looks again and again for another one of its pool keeps its worker from it, where a wait
    /// would let somebody run it.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        // A timeout too large for the clock is no timeout.
        self.done() || self.block(Instant::now().checked_add(timeout))
    }

    /// Calls `callback` once when the task is done, on a thread that runs nothing but callbacks; soon, when it is done
    /// already. The callbacks that a future has when it is done are called in the order in which they were added; one that is
    /// added later is on its own, and may be called while an earlier one still runs. What one panics with is reported by the
    /// program's panic hook and harms nothing else. The executor's shutdown waits for them. Callbacks may wait; but no more than
    /// 128 futures' callbacks run at once in a program, so the others come late when so many do, and never when these wait for them.
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

    /// Gives the result to `receiver` once the task is done, on the thread of the callbacks. What it panics with is reported
    /// by the program's panic hook and harms nothing else.
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

    /// What is told of a task that is done.
    fn completed(&self) -> Completed {
        let state = self.cell().state();
        Completed::new(self.id(), if state.is_final() { state } else { State::Failed })
    }

    /// Runs the task here if this thread works for the pool that would run it and nobody has begun it.
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

    /// Blocks until the task is done or `deadline` has passed; says whether it is done.
    fn block(&self, deadline: Option<Instant>) -> bool {
        if self.task.spin(deadline) {
            return true;
        }
        let Ok(key) = self.subscribe(Waiter::Thread(crate::sync::current_thread())) else { return true };
        let is_late = || deadline.is_some_and(|end| end <= Instant::now());
        // A look is no wait: nobody has to stand in for this thread.
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
        // Only `poll` can have taken it before, and polling a completed future again is the caller's mistake.
        self.task.take().expect("the result of this future was already taken").map_err(|error| *error)
    }
}

impl<T> Future for TaskFuture<T> {
    type Output = Result<T, TaskError>;

    /// # Panics
    ///
    /// When it is polled again after it was ready.
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

/// Shows the type of the result, the state and, where that can be seen without taking it, the kind of error.
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
