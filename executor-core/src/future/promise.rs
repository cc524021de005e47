//! The writing side of a future, for programs that build their own executors.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Body, Slot, Stored, Task, TaskFuture, TaskId, TaskRef, TypedRef, callbacks, cell::Cell, is_elsewhere, new_pool_id,
    state::State,
};
use crate::{
    error::{AlreadyDone, TaskError},
    panic,
};

/// A task that no executor of this crate runs.
struct Promised<T> {
    slot: Slot<(), T>,
    promises: Option<Promises>,
}

impl<T: Send + 'static> Body for Promised<T> {
    type Content = Self;
    type Output = T;

    fn take(task: &Task<Self>) -> Option<Stored<T>> {
        // SAFETY: the one handle of the task makes this call, and only the handle takes the outcome.
        unsafe { task.content().slot.take_outcome(task.cell()) }
    }

    fn cancel(task: &Task<Self>) -> bool {
        let cancelled = task.cell().cancel();
        if cancelled && let Some(promises) = &task.content().promises {
            // The waiters have been woken: a panic of the hook is reported, and reaches no other code.
            panic::contain(|| promises.0.hook.cancelled(task.cell().id()));
        }
        cancelled
    }

    fn kill(task: &Task<Self>) -> bool {
        let kill = |promises: &Promises| {
            let mut is_killed = false;
            panic::contain(|| is_killed = promises.0.hook.kill(task.cell().id()));
            is_killed
        };
        Self::cancel(task) || task.content().promises.as_ref().is_some_and(kill)
    }

    fn pool(task: &Task<Self>) -> u64 {
        task.content().promises.as_ref().map_or(0, |promises| promises.0.pool)
    }

    fn is_error(task: &Task<Self>) -> bool {
        task.cell().state() == State::Failed
    }

    fn error_kind(task: &Task<Self>) -> Option<&'static str> {
        // SAFETY: the one handle of the task makes this call, and only the handle takes the outcome.
        unsafe { task.content().slot.error_kind(task.cell()) }
    }

    fn clear(content: &mut Self, cell: &Cell) {
        // SAFETY: this is the end of the task, and a promise has no work.
        unsafe { content.slot.clear(cell, false) }
    }
}

/// The writing side of a [`TaskFuture`].
///
/// The first value set stays; a second one comes back as an error. A promise that is dropped without a value resolves
/// its future with [`TaskError::ShutDown`], so no thread waits for ever.
///
/// # Examples
///
/// ```
/// use executor_core::Promise;
///
/// let (promise, future) = Promise::new();
/// assert!(promise.set_running_or_cancelled());
/// promise.set_result(42)?;
/// assert!(promise.set_result(43).is_err());
/// assert_eq!(future.result(), Ok(42));
/// # Ok::<(), executor_core::AlreadyDone<i32>>(())
/// ```
pub struct Promise<T: Send + 'static> {
    task: TypedRef<Promised<T>>,
}

impl<T: Send + 'static> Promise<T> {
    /// Creates a promise and the future that it resolves.
    pub fn new() -> (Self, TaskFuture<T>) {
        Self::of(None)
    }

    fn of(promises: Option<Promises>) -> (Self, TaskFuture<T>) {
        let (task, future) = TaskRef::allocate::<Promised<T>>(Promised { slot: Slot::new(()), promises });
        (Self { task }, future)
    }

    /// Returns the id of the task that this promise stands for.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.cell().id()
    }

    /// Marks the task as running; to be called before the work begins. Returns `true` if the work may run, and `false` if the task
    /// was cancelled, or is already running or done, and must not run.
    #[must_use]
    pub fn set_running_or_cancelled(&self) -> bool {
        !self.is_elsewhere() && self.task.cell().claim()
    }

    /// Whether this process is a forked copy of the one whose executor has made the promise: there the future has failed.
    fn is_elsewhere(&self) -> bool {
        self.task.content().promises.as_ref().is_some_and(|promises| is_elsewhere(promises.0.pool))
    }

    /// Runs the work of this promise and returns its outcome, or `None` if the task was cancelled. A panic is caught, and is the
    /// [`TaskError::Panicked`] of the outcome; the program's panic hook does not see it. The future is not resolved yet: an
    /// executor counts the task first, and then calls [`set_outcome`](Self::set_outcome).
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Promise, TaskError};
    ///
    /// let (promise, future) = Promise::<u32>::new();
    /// if let Some(outcome) = promise.run(|| panic!("oh")) {
    ///     promise.set_outcome(outcome).ok();
    /// }
    /// assert!(matches!(future.result(), Err(TaskError::Panicked { message, .. }) if message == "oh"));
    /// ```
    pub fn run(&self, work: impl FnOnce() -> T) -> Option<Result<T, TaskError>> {
        self.set_running_or_cancelled().then(|| panic::catch(work))
    }

    /// Resolves the future with a value or an error.
    ///
    /// # Errors
    ///
    /// [`AlreadyDone`] with the outcome when the promise was set before or its future was cancelled.
    pub fn set_outcome(&self, outcome: Result<T, TaskError>) -> Result<(), AlreadyDone<Result<T, TaskError>>> {
        self.complete(outcome.map_err(Box::new)).map_err(|outcome| AlreadyDone(outcome.map_err(|error| *error)))
    }

    /// Resolves the future with a value.
    ///
    /// # Errors
    ///
    /// [`AlreadyDone`] with the value when the promise was set before or its future was cancelled.
    pub fn set_result(&self, value: T) -> Result<(), AlreadyDone<T>> {
        match self.complete(Ok(value)) {
            Err(Ok(value)) => Err(AlreadyDone(value)),
            _ => Ok(()),
        }
    }

    /// Resolves the future with an error.
    ///
    /// # Errors
    ///
    /// [`AlreadyDone`] with the error when the promise was set before or its future was cancelled.
    pub fn set_error(&self, error: TaskError) -> Result<(), AlreadyDone<TaskError>> {
        match self.complete(Err(Box::new(error))) {
            Err(Err(error)) => Err(AlreadyDone(*error)),
            _ => Ok(()),
        }
    }

    /// Sets the outcome, or gives it back if there is one already.
    fn complete(&self, outcome: Stored<T>) -> Result<(), Stored<T>> {
        let cell = self.task.cell();
        if self.is_elsewhere() || !cell.settle() {
            return Err(outcome);
        }
        let state = State::of_outcome(&outcome);
        // SAFETY: this call has settled the cell, and there is no work to be taken.
        unsafe { self.task.content().slot.put(outcome) };
        cell.finish(state);
        Ok(())
    }
}

impl<T: Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        // If a cancellation comes first, the future is done already.
        let _ = self.complete(Err(Box::new(TaskError::ShutDown)));
    }
}

impl<T: Send + 'static> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = self.task.cell();
        f.debug_struct("Promise").field("id", &cell.id()).field("state", &cell.state()).finish()
    }
}

/// What an executor does when one of its tasks is to be ended; see [`Promises`].
///
/// The thread that cancels calls it, and holds no lock of this crate meanwhile. The program's panic hook reports what it panics with;
/// a `kill` that panics counts as one that says `false`.
pub trait CancelHook: Send + Sync + 'static {
    /// A task was cancelled before it was begun. Its future is done, and the executor may forget the task.
    fn cancelled(&self, task: TaskId) {
        let _ = task;
    }

    /// A task that runs, or is about to run, is to be stopped by force. Returns whether the executor will stop it. In that case the
    /// executor resolves the promise with [`TaskError::Cancelled`] once the task has really stopped.
    fn kill(&self, task: TaskId) -> bool {
        let _ = task;
        false
    }
}

/// Ignores every call.
impl CancelHook for () {}

/// The promises of one executor. They give it what the executors of this crate have: it is told of cancellations,
/// [`TaskFuture::kill`] reaches it, its shutdown can wait for the callbacks of its tasks, and in a forked copy of the program its
/// tasks fail with [`TaskError::Forked`] instead of being waited for, and a promise sets no outcome.
///
/// `examples/own_executor` is a whole executor that is built in this way.
///
/// # Examples
///
/// ```
/// use executor_core::{CancelHook, Promises, TaskId};
/// use std::sync::mpsc::{Sender, channel};
///
/// struct Tell(Sender<TaskId>);
///
/// impl CancelHook for Tell {
///     fn cancelled(&self, task: TaskId) {
///         self.0.send(task).ok();
///     }
/// }
///
/// let (sender, cancelled) = channel();
/// let promises = Promises::new(Tell(sender));
/// let (promise, future) = promises.promise::<u64>();
/// future.add_done_callback(|_| println!("it is done"));
/// assert!(future.cancel());
/// assert_eq!(cancelled.recv(), Ok(promise.id()));
/// assert_eq!(promises.wait_for_callbacks(None), 0);
/// ```
#[derive(Clone)]
pub struct Promises(Arc<Shared>);

struct Shared {
    pool: u64,
    hook: Box<dyn CancelHook>,
}

impl Promises {
    /// Creates the promises of a new executor, with the hook that its cancellations call.
    #[must_use]
    pub fn new(hook: impl CancelHook) -> Self {
        Self(Arc::new(Shared { pool: new_pool_id(), hook: Box::new(hook) }))
    }

    /// Creates a promise and the future that it resolves.
    pub fn promise<T: Send + 'static>(&self) -> (Promise<T>, TaskFuture<T>) {
        Promise::of(Some(self.clone()))
    }

    /// Waits until all callbacks that were added to the futures of these promises have run, for at most `timeout`, and returns how
    /// many have not. Callbacks of a task that is not done are waited for as well, so an executor that ends resolves its promises
    /// first. A call from a callback does not wait.
    pub fn wait_for_callbacks(&self, timeout: Option<Duration>) -> usize {
        // A timeout too long for the clock is none.
        callbacks::wait_for_all(self.0.pool, timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }
}

impl fmt::Debug for Promises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promises").field("pool", &self.0.pool).finish_non_exhaustive()
    }
}
