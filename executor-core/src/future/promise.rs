//! The writing side of a future, for people who build executors of their own.

use std::fmt;

use super::{Body, Slot, Stored, Task, TaskFuture, TaskId, TaskRef, TypedRef, cell::Cell, state::State};
use crate::error::{AlreadyDone, TaskError};

/// A task that nobody here runs.
struct Promised<T>(Slot<(), T>);

impl<T: Send + 'static> Body for Promised<T> {
    type Content = Self;
    type Output = T;

    fn take(task: &Task<Self>) -> Option<Stored<T>> {
        // SAFETY: only the handle takes.
        unsafe { task.content().0.take_outcome(task.cell()) }
    }

    fn is_error(task: &Task<Self>) -> bool {
        task.cell().state() == State::Failed
    }

    fn error_kind(task: &Task<Self>) -> Option<&'static str> {
        // SAFETY: only the handle asks, and only the handle takes.
        unsafe { task.content().0.error_kind(task.cell()) }
    }

    fn clear(content: &mut Self, cell: &Cell) {
        // SAFETY: this is the end of the task; its work is nothing.
        unsafe { content.0.clear(cell, false) }
    }
}

/// The writing side of a [`TaskFuture`].
///
/// The first value set stays; a second one comes back as an error. A promise that is dropped without a value resolves
/// its future with [`TaskError::ShutDown`], so nobody waits for ever.
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
    /// A promise and the future that it resolves.
    pub fn new() -> (Self, TaskFuture<T>) {
        let (task, future) = TaskRef::allocate::<Promised<T>>(Promised(Slot::new(())));
        (Self { task }, future)
    }

    /// The task that this promise stands for.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.cell().id()
    }

    /// To be called before the work begins: `true` means "run it", `false` means that it was cancelled (or is already
    /// running or done) and must not run.
    #[must_use]
    pub fn set_running_or_cancelled(&self) -> bool {
        self.task.cell().claim()
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

    /// The outcome comes back when there is one already.
    fn complete(&self, outcome: Stored<T>) -> Result<(), Stored<T>> {
        let cell = self.task.cell();
        if !cell.settle() {
            return Err(outcome);
        }
        let state = State::of_outcome(&outcome);
        // SAFETY: this call has settled the cell, and there is no work to be taken.
        unsafe { self.task.content().0.put(outcome) };
        cell.finish(state);
        Ok(())
    }
}

impl<T: Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        // Losing the race against a cancel is fine: then the future is done already.
        let _ = self.complete(Err(Box::new(TaskError::ShutDown)));
    }
}

impl<T: Send + 'static> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = self.task.cell();
        f.debug_struct("Promise").field("id", &cell.id()).field("state", &cell.state()).finish()
    }
}
