//! The writing side of a future, for people who build executors of their own.

use std::{fmt, sync::Arc};

use super::{Cell, Outcome, Shared, TaskFuture, TaskId};
use crate::error::{AlreadyDone, TaskError};

impl<T: Send> Shared<T> for Cell<T> {
    fn cell(&self) -> &Cell<T> {
        self
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
    cell: Arc<Cell<T>>,
}

impl<T: Send + 'static> Promise<T> {
    /// A promise and the future that it resolves.
    pub fn new() -> (Self, TaskFuture<T>) {
        let cell = Arc::new(Cell::new());
        (Self { cell: Arc::clone(&cell) }, TaskFuture::new(cell))
    }

    /// The task that this promise stands for.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.cell.id()
    }

    /// To be called before the work begins: `true` means "run it", `false` means that it was cancelled (or is already
    /// running or done) and must not run.
    #[must_use]
    pub fn set_running_or_cancelled(&self) -> bool {
        self.cell.claim()
    }

    /// Resolves the future with a value.
    ///
    /// # Errors
    ///
    /// [`AlreadyDone`] with the value when the promise was set before or its future was cancelled.
    pub fn set_result(&self, value: T) -> Result<(), AlreadyDone<T>> {
        match self.cell.complete(Outcome::Ready(Ok(value))) {
            Err(Outcome::Ready(Ok(value))) => Err(AlreadyDone(value)),
            _ => Ok(()),
        }
    }

    /// Resolves the future with an error.
    ///
    /// # Errors
    ///
    /// [`AlreadyDone`] with the error when the promise was set before or its future was cancelled.
    pub fn set_error(&self, error: TaskError) -> Result<(), AlreadyDone<TaskError>> {
        match self.cell.complete(Outcome::Ready(Err(error))) {
            Err(Outcome::Ready(Err(error))) => Err(AlreadyDone(error)),
            _ => Ok(()),
        }
    }
}

impl<T: Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        if !self.cell.state().is_final() {
            // Losing the race against a cancel is fine: then the future is done already.
            let _ = self.cell.complete(Outcome::Ready(Err(TaskError::ShutDown)));
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("id", &self.id()).field("state", &self.cell.state()).finish()
    }
}
