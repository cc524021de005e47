//! A task that runs in this process: cell, closure and result in one allocation, shared by the queue and the future.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Body, Cell, Slot, State, Stored, Task, TaskFuture, TaskRef, callbacks,
    deadline::{self, Limit, Watch},
    end_if_elsewhere,
    spin::spin_over_neighbors,
    time_keeper,
};
use crate::{error::TaskError, panic, task::TaskOptions};

/// The executor that a task belongs to, as the task knows it. It is told of every change of the task, by whatever thread.
pub(crate) trait Owner: Send + Sync + 'static {
    fn pool_id(&self) -> u64;
    /// A queued task was claimed.
    fn started(&self, cell: &Cell);
    /// A running task ended.
    fn ended(&self, cell: &Cell, state: State);
    /// A queued task was cancelled.
    fn cancelled(&self, cell: &Cell);
    /// A queued task has waited longer than its queue time, and has failed.
    fn expired(&self, cell: &Cell) {
        self.failed(cell);
    }
    /// Whether an observer, which is the user's code, is told of what happens to a task.
    fn is_observed(&self) -> bool {
        false
    }
    /// A queued task has failed, and will not run.
    fn failed(&self, cell: &Cell) {
        self.started(cell);
        self.ended(cell, State::Failed);
    }
    /// Whether the executor's threads need all cores, with no more than a few of them on each.
    fn needs_all_cores(&self) -> bool {
        false
    }
    /// The user's code has returned. If it has forked and this is the copy, the thread must not continue.
    fn returned(&self) {
        end_if_elsewhere(self.pool_id());
    }
    /// The task is about to run in place, on the thread that waits for it. Takes it out of the queue where that is easy, and
    /// returns the queue's reference.
    fn take_back(&self, _: &Cell) -> Option<TaskRef> {
        None
    }
}

impl<O: Owner> Owner for std::sync::Arc<O> {
    fn pool_id(&self) -> u64 {
        (**self).pool_id()
    }

    fn started(&self, cell: &Cell) {
        (**self).started(cell);
    }

    fn ended(&self, cell: &Cell, state: State) {
        (**self).ended(cell, state);
    }

    fn cancelled(&self, cell: &Cell) {
        (**self).cancelled(cell);
    }

    fn returned(&self) {
        (**self).returned();
    }
}

/// The closure and the owner of a task.
pub(crate) struct InProcess<T, W, O> {
    owner: O,
    /// `None` for most tasks.
    limits: Option<Box<Limits>>,
    slot: Slot<W, T>,
}

struct Limits {
    running: Option<Duration>,
    /// The watch of the queue time, which ends when the task is started or cancelled.
    queued: Mutex<Option<Watch>>,
}

impl Limits {
    #[inline]
    fn of(options: &TaskOptions) -> Option<Box<Self>> {
        let is_limited = options.timeout.is_some() || options.queue_timeout.is_some();
        is_limited.then(|| Box::new(Self { running: options.timeout, queued: Mutex::new(None) }))
    }

    #[cold]
    fn begin_waiting(&self, options: &TaskOptions, task: TaskRef) {
        if let Some(limit) = options.queue_timeout {
            let watch = deadline::watch(task, Limit::Queued, limit);
            *self.queued.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        }
    }

    fn stop_waiting(&self) {
        let watch = self.queued.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(watch);
    }
}

impl<T, W, O> InProcess<T, W, O>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
    O: Owner,
{
    /// Makes a task for the owner's queue, and its future. `tell` sees the cell before any other thread can.
    pub(crate) fn task(owner: O, options: &TaskOptions, work: W, tell: impl FnOnce(&Cell)) -> (TaskRef, TaskFuture<T>) {
        let (task, future) =
            TaskRef::allocate::<Self>(Self { owner, limits: Limits::of(options), slot: Slot::new(work) });
        tell(task.cell());
        if let Some(limits) = &task.content().limits {
            limits.begin_waiting(options, task.to_ref());
        }
        (task.erase(), future)
    }

    fn run_limit(&self) -> Option<Duration> {
        self.limits.as_ref()?.running
    }

    /// Ends the watch of the queue time: the task is not queued any more.
    fn stop_waiting(&self) {
        if let Some(limits) = &self.limits {
            limits.stop_waiting();
        }
    }

    /// Whether the thread that has claimed the task may write an outcome: not after the time limit has ended the task.
    fn may_complete(task: &Task<Self>) -> bool {
        // Without a time limit only the thread that runs the task can settle it.
        task.content().run_limit().is_none() || task.cell().settle()
    }

    /// Ends a task whose work was taken, and that may be completed.
    fn complete(task: &Task<Self>, outcome: Stored<T>) {
        let state = State::of_outcome(&outcome);
        // SAFETY: only this thread has the right to finish the cell, and the thread that claimed it has taken the work.
        unsafe { task.content().slot.put(outcome) };
        task.cell().finish(state);
    }
}

impl<T, W, O> Body for InProcess<T, W, O>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
    O: Owner,
{
    type Content = Self;
    type Output = T;

    fn take(task: &Task<Self>) -> Option<Stored<T>> {
        // SAFETY: the one handle of the task makes this call, and only the handle takes the outcome.
        unsafe { task.content().slot.take_outcome(task.cell()) }
    }

    fn is_error(task: &Task<Self>) -> bool {
        task.cell().state() == State::Failed
    }

    fn error_kind(task: &Task<Self>) -> Option<&'static str> {
        // SAFETY: the one handle of the task makes this call, and only the handle takes the outcome.
        unsafe { task.content().slot.error_kind(task.cell()) }
    }

    fn cancel(task: &Task<Self>) -> bool {
        let mut work = None;
        // Counted before any waiter is woken, so that a woken thread finds the task counted.
        let cancelled = task.cell().cancel_and(|| {
            // SAFETY: this call has taken the cell out of Pending.
            work = Some(unsafe { task.content().slot.take_work() });
            task.content().stop_waiting();
            task.content().owner.cancelled(task.cell());
        });
        panic::drop_contained(work);
        cancelled
    }

    fn pool(task: &Task<Self>) -> u64 {
        task.content().owner.pool_id()
    }

    fn run(task: &Task<Self>) -> bool {
        if !task.cell().claim() {
            return false;
        }
        let body = task.content();
        body.owner.started(task.cell());
        // SAFETY: this call has claimed the cell.
        let work = unsafe { body.slot.take_work() };
        body.stop_waiting();
        let limit = body.run_limit().map(|limit| deadline::watch(task.to_ref(), Limit::Running, limit));
        let outcome = panic::catch_boxed(work);
        body.owner.returned();
        drop(limit);
        if !Self::may_complete(task) {
            // No thread gets the outcome, and its destructor is the task's code: it may take its time, or wait for another task. So
            // the task has not ended before the destructor has run.
            panic::drop_contained(outcome);
            body.owner.returned();
            body.owner.ended(task.cell(), State::Failed);
            return true;
        }
        // Counted before the future resolves, so that a thread that has seen it done finds it counted.
        body.owner.ended(task.cell(), if outcome.is_ok() { State::Finished } else { State::Failed });
        Self::complete(task, outcome);
        true
    }

    fn run_here(task: &Task<Self>) -> Option<Stored<T>> {
        let body = task.content();
        // Only `run` keeps time limits.
        if body.limits.is_some() || !body.owner.take_back(task.cell()).is_some_and(TaskRef::claim_alone) {
            Self::run(task);
            return None;
        }
        body.owner.started(task.cell());
        // SAFETY: this call has claimed the cell.
        let work = unsafe { body.slot.take_work() };
        let outcome = panic::catch_boxed(work);
        body.owner.returned();
        body.owner.ended(task.cell(), if outcome.is_err() { State::Failed } else { State::Finished });
        Some(outcome)
    }

    fn fail(task: &Task<Self>, error: TaskError) -> bool {
        let claimed = task.cell().claim();
        if claimed {
            let body = task.content();
            body.stop_waiting();
            // SAFETY: this call has claimed the cell.
            let work = unsafe { body.slot.take_work() };
            body.owner.failed(task.cell());
            Self::complete(task, Err(Box::new(error)));
            panic::drop_contained(work);
        }
        claimed
    }

    fn spin(task: &Task<Self>, deadline: Option<Instant>) -> bool {
        let owner = &task.content().owner;
        spin_over_neighbors(deadline, &|| owner.needs_all_cores(), task.cell())
    }

    fn expire(task: &Task<Self>, ran_for: Duration) {
        // Refused when the task has ended in the meantime.
        if task.cell().settle() {
            // SAFETY: this call has settled the cell; the time is watched from after the work was taken.
            unsafe { task.content().slot.put(Err(Box::new(TaskError::TimedOut { ran_for }))) };
            task.cell().finish(State::Failed);
        }
    }

    fn expire_queued(task: &Task<Self>, waited: Duration) {
        // If there are no other threads, the call comes back to this thread, and the observer is told then.
        if time_keeper::keeps_time() && !callbacks::is_running_here() && task.content().owner.is_observed() {
            let task = task.to_ref();
            return callbacks::run_elsewhere(move || task.expire_queued(waited));
        }
        if task.cell().claim() {
            let body = task.content();
            // SAFETY: this call has claimed the cell.
            let work = unsafe { body.slot.take_work() };
            body.owner.expired(task.cell());
            Self::complete(task, Err(Box::new(TaskError::Expired { waited })));
            // This thread keeps the time limits of all tasks, and must not run a destructor of the user's.
            callbacks::drop_elsewhere(work);
        }
    }

    fn is_unwanted(task: &Task<Self>) -> bool {
        // SAFETY: no other holder is left, so no thread takes the outcome now.
        std::mem::needs_drop::<T>()
            && task.cell().is_held_once()
            && unsafe { task.content().slot.has_outcome(task.cell()) }
    }

    fn clear(content: &mut Self, cell: &Cell) {
        // SAFETY: this is the end of the task, and the thread that takes the cell out of Pending has taken the work.
        unsafe { content.slot.clear(cell, true) };
    }
}
