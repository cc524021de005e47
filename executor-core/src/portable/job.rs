//! A task on its way to a worker and back: the answer, and what is kept beside the task's cell meanwhile.

use std::{
    any::Any,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{Ordering, fence},
    },
    time::Instant,
};

use super::{
    answer::{Answer, Decode},
    location::LocationWord,
};
use crate::{
    error::{Cause, TaskError},
    future::{Body, Cell, Slot, State, Stored, Task as CellTask, TypedRef, callbacks::drop_elsewhere},
    span::Carried,
};

/// A task as the pool holds it: in one place, by the code that is to end it. One that is dropped without having been ended, which
/// happens to what a thread owns that panics under the pool's lock, ends with an error, so that no thread is left waiting for it.
pub(crate) struct Job(ManuallyDrop<TypedRef<ProcessTask>>);

impl Job {
    pub(crate) fn new(task: TypedRef<ProcessTask>) -> Self {
        Self(ManuallyDrop::new(task))
    }

    /// One more pointer to the task, for code that does not end it.
    pub(crate) fn pointer(&self) -> TypedRef<ProcessTask> {
        (*self.0).clone()
    }

    /// Drops the pointer to a task that has ended, unless it is the last one: then it is to be dropped without the lock.
    #[inline]
    pub(crate) fn release_unless_last(self) -> Option<Self> {
        debug_assert!(self.cell().state().is_final(), "the pointer to a task is dropped when the task has ended");
        let job = ManuallyDrop::new(self);
        if job.cell().release_unless_last() { None } else { Some(ManuallyDrop::into_inner(job)) }
    }

    /// The same for a thread that others rely on: what is left is dropped by a thread that no other one waits for, where it is the
    /// user's.
    pub(crate) fn release_elsewhere(self) {
        let Some(last) = self.release_unless_last() else { return };
        // ORDERING: pairs with the Release of the thread that dropped its pointer before, and may have decoded the result.
        fence(Ordering::Acquire);
        if last.content().location.kept().is_some() {
            drop_elsewhere(last);
        }
    }

    #[cold]
    fn abandon(&self) {
        let cause = Cause::new("the task was lost where a thread has panicked with the pool's lock");
        let (_, span) = end(self, Err(Box::new(TaskError::NoWorker { cause })));
        drop_elsewhere(span);
        self.cell().wake_elsewhere();
    }
}

impl Deref for Job {
    type Target = CellTask<ProcessTask>;

    fn deref(&self) -> &CellTask<ProcessTask> {
        &self.0
    }
}

impl Drop for Job {
    #[inline]
    fn drop(&mut self) {
        let is_lost = !self.cell().state().is_final();
        if is_lost {
            self.abandon();
        }
        // SAFETY: this is the drop of `self`, and no code uses the field after it.
        let task = unsafe { ManuallyDrop::take(&mut self.0) };
        if is_lost {
            // The lock may be held, and this may be the last pointer to the task, now or in a moment.
            task.erase().drop_elsewhere();
        }
    }
}

/// The operations of a task's pool on the task.
pub(crate) trait TaskOwner: Send + Sync {
    fn id(&self) -> u64;
    fn cancel(&self, task: &CellTask<ProcessTask>) -> bool;
    fn kill(&self, task: &CellTask<ProcessTask>) -> bool;
    fn is_running(&self, task: &CellTask<ProcessTask>) -> bool;
    /// Looks for the task's answer for a while; says whether it is done.
    fn spin(&self, task: &CellTask<ProcessTask>, deadline: Option<Instant>) -> bool;
    /// A thread is about to sleep until the task is done.
    fn want(&self, task: &CellTask<ProcessTask>);
}

/// The pool in the form in which its tasks keep it alive: behind a pointer of one word, for a pool may have millions of tasks.
pub(crate) struct Owner {
    id: u64,
    pool: Arc<dyn TaskOwner>,
}

impl Owner {
    pub(crate) fn new(pool: Arc<dyn TaskOwner>) -> Arc<Self> {
        Arc::new(Self { id: pool.id(), pool })
    }
}

/// The state beside the cell of a task in a process pool.
pub(crate) struct ProcessTask {
    owner: Arc<Owner>,
    /// Where the pool has the task. Once it has ended, the result where a thread had to decode it to see whether it is one.
    location: LocationWord<Decoded>,
    /// Until the outcome is there: the span in which it was submitted.
    slot: Slot<Carried, Answer>,
}

/// A result that was decoded before it was asked for.
pub(crate) struct Decoded {
    is_error: bool,
    /// A `Stored` of the task's output, until it is asked for.
    outcome: Mutex<Option<Box<dyn Any + Send>>>,
}

impl ProcessTask {
    pub(crate) fn new(owner: Arc<Owner>, span: Carried) -> Self {
        Self { owner, location: LocationWord::new(), slot: Slot::new(span) }
    }

    /// Where the pool has the task; only changed under the pool's lock.
    pub(crate) fn location(&self) -> &LocationWord<Decoded> {
        &self.location
    }
}

/// Ends a task that the pool has just taken out of its queue or out of what is in flight, under its lock; `true` when a waiter is
/// to be woken. Only the pool's ledger does this. The span is to be dropped where the user's code may run.
pub(crate) fn end(job: &Job, outcome: Stored<Answer>) -> (bool, Carried) {
    let state = State::of_outcome(&outcome);
    job.content().location.end();
    // SAFETY: a task is in one place, and only the code that took it out of there ends it, so this happens once and there is no
    // race. No panic comes between this and the end, after which it is not ended again.
    let span = unsafe { job.content().slot.take_work() };
    // SAFETY: only the code that took the task out of its one place ends it, so this happens once, and the work was just taken out.
    unsafe { job.content().slot.put(outcome) };
    (job.cell().end(state), span)
}

/// The functions of a task whose answer is decoded in this way.
pub(crate) struct Encoded<D>(PhantomData<D>);

impl<D: Decode> Body for Encoded<D> {
    type Content = ProcessTask;
    type Output = D::Output;

    fn take(task: &CellTask<ProcessTask>) -> Option<Stored<D::Output>> {
        // SAFETY: only the handle takes.
        let outcome = unsafe { task.content().slot.take_outcome(task.cell()) }?;
        if let Some(decoded) = task.content().location.kept()
            && let Some(outcome) = decoded.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
            && let Ok(outcome) = outcome.downcast()
        {
            return Some(*outcome);
        }
        Some(match outcome {
            Ok(answer) => D::decode(&answer).map_err(Box::new),
            Err(error) => Err(error),
        })
    }

    fn is_error(task: &CellTask<ProcessTask>) -> bool {
        match task.cell().state() {
            State::Failed => true,
            State::Finished if D::MAY_BE_ERROR => {
                if let Some(decoded) = task.content().location.kept() {
                    return decoded.is_error;
                }
                // SAFETY: the cell is done, and the handle that asks has not taken the outcome, or it would not be asked.
                let Some(answer) = (unsafe { task.content().slot.peek() }) else { return false };
                // To throw it away would be to decode it once more when the result is asked for.
                let outcome: Stored<D::Output> = D::decode(answer).map_err(Box::new);
                let is_error = outcome.is_err();
                let decoded = Decoded { is_error, outcome: Mutex::new(Some(Box::new(outcome))) };
                // Another thread may have been faster, with a reference to the same handle.
                drop(task.content().location.keep(Box::new(decoded)));
                is_error
            }
            _ => false,
        }
    }

    fn error_kind(task: &CellTask<ProcessTask>) -> Option<&'static str> {
        // SAFETY: only the handle takes the outcome, and it is the handle that asks.
        unsafe { task.content().slot.error_kind(task.cell()) }
    }

    fn cancel(task: &CellTask<ProcessTask>) -> bool {
        task.content().owner.pool.cancel(task)
    }

    fn kill(task: &CellTask<ProcessTask>) -> bool {
        task.content().owner.pool.kill(task)
    }

    fn is_running(task: &CellTask<ProcessTask>) -> bool {
        task.content().owner.pool.is_running(task)
    }

    fn pool(task: &CellTask<ProcessTask>) -> u64 {
        task.content().owner.id
    }

    fn spin(task: &CellTask<ProcessTask>, deadline: Option<Instant>) -> bool {
        task.content().owner.pool.spin(task, deadline)
    }

    fn wanted(task: &CellTask<ProcessTask>) {
        task.content().owner.pool.want(task);
    }

    fn clear(content: &mut ProcessTask, cell: &Cell) {
        // SAFETY: this is the end of the task. Its work, the span, is there until an outcome is.
        unsafe { content.slot.clear(cell, true) };
    }
}

#[cfg(all(test, not(loom), not(feature = "tracing"), target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// With its cell of 32 bytes, and what the allocator adds, this is 80 bytes.
    #[test]
    fn what_stands_beside_the_cell_takes_40_bytes() {
        assert_eq!(size_of::<ProcessTask>(), 40);
    }
}
