//! Tasks that borrow from the stack frame that waits for them.

use std::{
    any::Any,
    convert::Infallible,
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{ThreadPoolExecutor, ThreadPoolHandle};
use crate::{
    cancel::CancelToken,
    error::{SubmitError, TaskError, TryMapError},
    future::{BlockingGuard, TaskFuture, is_elsewhere},
    sync::sleep_until,
    task::TaskOptions,
};

/// A scope in which tasks that borrow are spawned; see [`ThreadPoolExecutor::scope`] and [`ThreadPoolExecutor::try_scope`].
pub struct Scope<'scope, 'env: 'scope, E = Infallible> {
    handle: ThreadPoolHandle,
    state: Mutex<State<E>>,
    token: CancelToken,
    borrows: Arc<Borrows>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// So many tasks that have ended may be kept, or as many as there are others.
const MOST_ENDED: usize = 32;

struct State<E> {
    /// Tasks that the scope has not waited for yet.
    tasks: Vec<TaskFuture<()>>,
    /// The first error of any task.
    error: Option<TryMapError<E>>,
}

impl<E> State<E> {
    /// Takes the tasks that have ended, if the list would have to grow otherwise: a scope may spawn for as long as the program runs.
    /// The list then has room for as many tasks as it has, so each of them pays for a step or two.
    fn take_ended(&mut self) -> Vec<TaskFuture<()>> {
        if self.tasks.len() < self.tasks.capacity() {
            return Vec::new();
        }
        let (ended, left) = std::mem::take(&mut self.tasks).into_iter().partition(TaskFuture::done);
        self.tasks = left;
        self.tasks.reserve(self.tasks.len().max(MOST_ENDED));
        ended
    }
}

/// Counts closures that still borrow. A future says that its task is cancelled before the thread that cancels drops the closure.
#[derive(Default)]
struct Borrows {
    number: Mutex<usize>,
    none: Condvar,
}

impl Borrows {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_none(&self) {
        if *self.lock() == 0 {
            return;
        }
        let here = BlockingGuard::begin();
        let mut number = self.lock();
        while *number > 0 {
            number = sleep_until(&self.none, number, here.until(None));
        }
    }
}

/// One closure that still borrows.
struct Borrow(Arc<Borrows>);

impl Borrow {
    fn new(borrows: &Arc<Borrows>) -> Self {
        *borrows.lock() += 1;
        Self(Arc::clone(borrows))
    }
}

impl Drop for Borrow {
    fn drop(&mut self) {
        let mut number = self.0.lock();
        *number -= 1;
        if *number == 0 {
            self.0.none.notify_all();
        }
    }
}

/// The work of a task. Fields are dropped in their order: the borrow ends when the work is gone.
struct Borrowing<W> {
    work: W,
    borrow: Borrow,
}

impl<W: FnOnce()> Borrowing<W> {
    fn run(self) {
        let Self { work, borrow } = self;
        // Also if the work panics: the work is gone before the frame that it borrows from is.
        let _borrow = borrow;
        work();
    }
}

impl<'scope, E: Send + 'scope> Scope<'scope, '_, E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in the pool. It may borrow what outlives the scope, and may spawn more tasks. A panic in it ends the scope with
    /// an error, and cancels its siblings.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] when the pool takes no more tasks.
    pub fn spawn(&'scope self, work: impl FnOnce() + Send + 'scope) -> Result<(), SubmitError> {
        self.try_spawn(|| {
            work();
            Ok(())
        })
    }

    /// Like [`spawn`](Self::spawn), for work that may fail: its error ends the scope, and cancels its siblings.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] when the pool takes no more tasks.
    pub fn try_spawn(&'scope self, work: impl FnOnce() -> Result<(), E> + Send + 'scope) -> Result<(), SubmitError> {
        let work = Borrowing {
            work: move || {
                // The task that the scope is waiting for is not in the list any more.
                let is_cancelled = self.lock().error.is_some();
                if !is_cancelled && let Err(error) = work() {
                    self.fail(TryMapError::Output(error));
                }
            },
            borrow: Borrow::new(&self.borrows),
        };
        let work: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || work.run());
        // SAFETY: only the lifetime changes. `try_scope` does not return before `borrows` are none, and so all these closures
        // gone with what they borrow; the scope itself, which they borrow as well, lives in that frame.
        let work = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Box<dyn FnOnce() + Send>>(work) };
        let future = self.handle.enqueue(work, TaskOptions::new())?;
        let mut state = self.lock();
        let ended = state.take_ended();
        state.tasks.push(future);
        drop(state);
        ended.into_iter().for_each(|task| self.note_end(task));
        Ok(())
    }

    /// Returns a token that is cancelled together with the siblings, for tasks that watch one.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.token.clone()
    }

    fn fail(&self, error: TryMapError<E>) {
        let mut state = self.lock();
        if state.error.is_some() {
            drop(state);
            // Dropped without the lock: its destructor is the user's code.
            drop(error);
            return;
        }
        state.error = Some(error);
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        // Without the lock: the captured values of a task are dropped with it, and may spawn here.
        tasks.iter().for_each(|task| _ = task.cancel());
        self.lock().tasks.extend(tasks);
        self.token.cancel();
    }

    /// Whether `body`, or the destructor of a captured value, has forked, and this is the copy: the threads that have borrowed are
    /// not in this process, and may have locked what is here.
    fn is_elsewhere(&self) -> bool {
        is_elsewhere(self.handle.id())
    }

    /// Waits for all tasks, including those that tasks have spawned meanwhile.
    fn finish(&self) {
        loop {
            let Some(task) = self.lock().tasks.pop() else {
                self.borrows.wait_for_none();
                // A task, or a captured value of it, may have spawned the last ones meanwhile.
                if self.lock().tasks.is_empty() {
                    return;
                }
                continue;
            };
            if self.lock().error.is_some() {
                task.cancel();
                if self.is_elsewhere() {
                    return;
                }
            }
            self.note_end(task);
        }
    }

    /// Waits for a task. One that has failed ends the scope.
    fn note_end(&self, task: TaskFuture<()>) {
        match task.result() {
            Ok(()) => {}
            // Cancelled by this scope, and not by another thread, such as one that shuts the pool down.
            Err(TaskError::Cancelled) if self.lock().error.is_some() => {}
            Err(error) => self.fail(TryMapError::Task(error)),
        }
    }
}

/// Nothing unwinds out of [`Scope::finish`]. If something did, tasks would continue with what they borrow from a frame that is
/// gone; this guard keeps soundness from resting on the first sentence.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

impl ThreadPoolExecutor {
    /// Runs `body`, in which tasks may be spawned that borrow from the environment, and waits for all of them. Inside a task of
    /// this pool, tasks that have not started run in place.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] of the first task that failed; its siblings that had not started are cancelled then.
    /// [`TaskError::Cancelled`] if a shutdown has cancelled some of the tasks.
    ///
    /// # Panics
    ///
    /// If `body` panics, once all tasks are done.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// let mut halves = [vec![3, 1, 2], vec![6, 5, 4]];
    /// pool.scope(|scope| {
    ///     for half in &mut halves {
    ///         scope.spawn(|| half.sort_unstable()).expect("the pool is there");
    ///     }
    /// })?;
    /// assert_eq!(halves.concat(), [1, 2, 3, 4, 5, 6]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scope<'env, R>(
        &self,
        body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> Result<R, TaskError> {
        self.try_scope(body).map_err(|error| match error {
            TryMapError::Task(error) => error,
            TryMapError::Output(never) => match never {},
        })
    }

    /// Like [`scope`](Self::scope) for tasks that may fail ([`Scope::try_spawn`]).
    ///
    /// # Errors
    ///
    /// The first error of either kind; siblings that had not started are cancelled then.
    ///
    /// # Panics
    ///
    /// If `body` panics, once all tasks are done.
    pub fn try_scope<'env, E: Send, R>(
        &self,
        body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env, E>) -> R,
    ) -> Result<R, TryMapError<E>> {
        let state = Mutex::new(State { tasks: Vec::new(), error: None });
        let scope = Scope {
            handle: self.scope_core(),
            state,
            token: self.cancel_token().child(),
            borrows: Arc::default(),
            scope: PhantomData,
            env: PhantomData,
        };
        let outcome: Result<R, Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(|| body(&scope)));
        if !scope.is_elsewhere() {
            let guard = AbortOnUnwind;
            scope.finish();
            std::mem::forget(guard);
        }
        let error =
            if scope.is_elsewhere() { Some(TryMapError::Task(TaskError::Forked)) } else { scope.lock().error.take() };
        match (outcome, error) {
            (Err(payload), _) => resume_unwind(payload),
            (Ok(_), Some(error)) => Err(error),
            (Ok(value), None) => Ok(value),
        }
    }
}

impl<E> fmt::Debug for Scope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn tasks_that_have_ended_take_no_memory_in_a_scope_that_goes_on() {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let most = pool.scope(|scope| {
            let (ends, ended) = std::sync::mpsc::channel();
            let each = (0..1000).map(|_| {
                let ends = ends.clone();
                scope.spawn(move || ends.send(()).unwrap()).unwrap();
                ended.recv().unwrap();
                scope.lock().tasks.capacity()
            });
            each.max()
        });
        assert!(most.as_ref().is_ok_and(|most| *most < Some(10 * MOST_ENDED)), "{most:?}");
    }

    #[test]
    fn a_task_that_has_failed_ends_a_scope_that_goes_on() {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let outcome = pool.scope(|scope| {
            scope.spawn(|| std::panic::resume_unwind(Box::new(()))).unwrap();
            while !scope.cancel_token().is_cancelled() {
                scope.spawn(|| ()).unwrap();
            }
        });
        assert!(matches!(outcome, Err(TaskError::Panicked { .. })), "{outcome:?}");
    }
}
