//! A task on its way to a worker and back: the answer, and what stands beside the task's cell meanwhile.

use std::{
    any::Any,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering, fence},
    },
    time::Instant,
};

use once_cell::race::OnceBox;

use super::answer::{Answer, Decode};
use crate::{
    error::{Cause, TaskError},
    future::{Body, Cell, Slot, State, Stored, Task as CellTask, TypedRef, callbacks::drop_elsewhere},
    span::Carried,
};

/// A task as the pool holds it: in one place, by whoever is to end it. One that is dropped without having been ended, which a panic
/// under the pool's lock can do to what it had in its hands, ends with an error, so that nobody waits for it.
pub(super) struct Job(ManuallyDrop<TypedRef<ProcessTask>>);

impl Job {
    pub(super) fn new(task: TypedRef<ProcessTask>) -> Self {
        Self(ManuallyDrop::new(task))
    }

    /// One more pointer to the task, for who does not end it.
    pub(super) fn pointer(&self) -> TypedRef<ProcessTask> {
        (*self.0).clone()
    }

    /// Lets go of a task that has ended, unless nobody else holds on to it: then it is to be dropped without the lock.
    #[inline]
    pub(super) fn let_go(self) -> Option<Self> {
        debug_assert!(self.cell().state().is_final(), "a task is let go of when it has ended");
        let job = ManuallyDrop::new(self);
        if job.cell().release_unless_last() { None } else { Some(ManuallyDrop::into_inner(job)) }
    }

    /// The same for a thread that others rely on: what is left is dropped by one that nobody waits for, where it is the user's.
    pub(super) fn let_go_elsewhere(self) {
        let Some(last) = self.let_go() else { return };
        // ORDERING: pairs with the Release of who let go before, and may have decoded the result.
        fence(Ordering::Acquire);
        if last.content().decoded.get().is_some() {
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
        // SAFETY: nobody uses it after this.
        let task = unsafe { ManuallyDrop::take(&mut self.0) };
        if is_lost {
            // The lock may be held, and nobody else may hold on to the task, or not any more in a moment.
            task.erase().drop_elsewhere();
        }
    }
}

/// What the pool of a task can do for it.
pub(super) trait TaskOwner: Send + Sync {
    fn id(&self) -> u64;
    fn cancel(&self, task: &CellTask<ProcessTask>) -> bool;
    fn kill(&self, task: &CellTask<ProcessTask>) -> bool;
    fn is_running(&self, task: &CellTask<ProcessTask>) -> bool;
    /// Looks for the task's answer for a while; says whether it is done.
    fn look(&self, task: &CellTask<ProcessTask>, deadline: Option<Instant>) -> bool;
    /// Somebody is about to sleep until the task is done.
    fn want(&self, task: &CellTask<ProcessTask>);
}

/// The pool, as its tasks hold on to it: behind a pointer of one word, for a pool may have millions of tasks.
pub(super) struct Owner {
    id: u64,
    pool: Arc<dyn TaskOwner>,
}

impl Owner {
    pub(super) fn new(pool: Arc<dyn TaskOwner>) -> Arc<Self> {
        Arc::new(Self { id: pool.id(), pool })
    }
}

/// What stands beside the cell of a task in a process pool.
pub(super) struct ProcessTask {
    owner: Arc<Owner>,
    /// Where the pool has the task; only changed under the pool's lock.
    location: AtomicU64,
    /// Until the outcome is there: the span of who has submitted it.
    slot: Slot<Carried, Answer>,
    /// The result, where somebody had to decode it to see whether it is one. Rarely there, so it takes no more than a pointer: a pool
    /// may have millions of tasks.
    decoded: OnceBox<Decoded>,
}

/// A result that was decoded before it was asked for.
struct Decoded {
    is_error: bool,
    /// A `Stored` of the task's output, until it is asked for.
    outcome: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Where the pool has a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Location {
    /// It is done.
    Nowhere,
    /// In the queue, at this place.
    Queue(u32),
    /// With this worker, as the request whose number ends with these bits.
    Worker(u32, u32),
}

impl Location {
    /// So many numbers workers may have: above them are the bits below.
    pub(super) const WORKERS: u32 = (1 << 28) - 1;
}

/// The bit of a location that says that somebody may sleep until the task is done.
const WANTED: u64 = 1 << 63;
/// The bit of a location that says that it is the rest of a task that has been running: then it cannot be cancelled.
const BEGUN: u64 = 1 << 62;
/// The bit of a location that says that an observer was told of its start.
const STARTED: u64 = 1 << 60;
const FLAGS: u64 = WANTED | BEGUN | STARTED;

impl ProcessTask {
    pub(super) fn new(owner: Arc<Owner>, span: Carried) -> Self {
        Self { owner, location: AtomicU64::new(0), slot: Slot::new(span), decoded: OnceBox::new() }
    }

    // ORDERING, of everything here: under the pool's lock.
    pub(super) fn location(&self) -> Location {
        match self.location.load(Ordering::Relaxed) & !FLAGS {
            0 => Location::Nowhere,
            place @ 1..=0xffff_ffff => Location::Queue(place as u32 - 1),
            other => Location::Worker((other >> 32) as u32 - 1, other as u32),
        }
    }

    pub(super) fn set_location(&self, location: Location) {
        let bits = match location {
            Location::Nowhere => 0,
            Location::Queue(place) => u64::from(place + 1),
            Location::Worker(worker, number) => u64::from(worker + 1) << 32 | u64::from(number),
        };
        debug_assert!(bits & FLAGS == 0, "there are fewer workers");
        let flags = self.location.load(Ordering::Relaxed) & FLAGS;
        self.location.store(bits | flags, Ordering::Relaxed);
    }

    /// Notes that somebody may sleep until the task is done; `false` when it was known, or the task is done.
    pub(super) fn want(&self) -> bool {
        let location = self.location.load(Ordering::Relaxed);
        if location == 0 || location & WANTED != 0 {
            return false;
        }
        self.location.store(location | WANTED, Ordering::Relaxed);
        true
    }

    /// The same of a new task, which is nowhere yet.
    pub(super) fn begin_wanted(&self) {
        self.location.store(WANTED, Ordering::Relaxed);
    }

    pub(super) fn set_begun(&self) {
        self.location.store(self.location.load(Ordering::Relaxed) | BEGUN, Ordering::Relaxed);
    }

    /// Notes that the task was started; `false` when it was known.
    pub(super) fn note_started(&self) -> bool {
        let location = self.location.load(Ordering::Relaxed);
        self.location.store(location | STARTED, Ordering::Relaxed);
        location & STARTED == 0
    }

    pub(super) fn is_begun(&self) -> bool {
        self.location.load(Ordering::Relaxed) & BEGUN != 0
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.location.load(Ordering::Relaxed) & WANTED != 0
    }
}

/// Ends a task that the pool has just taken out of its queue or off a shelf, under its lock; `true` when somebody is to be
/// woken. Only the books of the pool do this. The span is to be let go where foreign code may run.
pub(super) fn end(job: &Job, outcome: Stored<Answer>) -> (bool, Carried) {
    let state = State::of_outcome(&outcome);
    job.content().location.store(0, Ordering::Relaxed);
    // SAFETY: a task is in one place, and only who took it out of there ends it, so this happens once and there is no race. No
    // panic comes between this and the end, after which it is not ended again.
    let span = unsafe { job.content().slot.take_work() };
    // SAFETY: as above.
    unsafe { job.content().slot.put(outcome) };
    (job.cell().end(state), span)
}

/// The functions of a task whose answer is decoded in this way.
pub(super) struct Encoded<D>(PhantomData<D>);

impl<D: Decode> Body for Encoded<D> {
    type Content = ProcessTask;
    type Output = D::Output;

    fn take(task: &CellTask<ProcessTask>) -> Option<Stored<D::Output>> {
        // SAFETY: only the handle takes.
        let outcome = unsafe { task.content().slot.take_outcome(task.cell()) }?;
        if let Some(decoded) = task.content().decoded.get()
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
                if let Some(decoded) = task.content().decoded.get() {
                    return decoded.is_error;
                }
                // SAFETY: the cell is done, and the handle that asks has not taken the outcome, or it would not be asked.
                let Some(answer) = (unsafe { task.content().slot.peek() }) else { return false };
                // To throw it away would be to decode it once more for who asks for it.
                let outcome: Stored<D::Output> = D::decode(answer).map_err(Box::new);
                let is_error = outcome.is_err();
                let decoded = Decoded { is_error, outcome: Mutex::new(Some(Box::new(outcome))) };
                // Somebody else may have been faster, with a reference to the same handle.
                drop(task.content().decoded.set(Box::new(decoded)));
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

    fn look(task: &CellTask<ProcessTask>, deadline: Option<Instant>) -> bool {
        task.content().owner.pool.look(task, deadline)
    }

    fn wanted(task: &CellTask<ProcessTask>) {
        task.content().owner.pool.want(task);
    }

    fn clear(content: &mut ProcessTask, cell: &Cell) {
        // SAFETY: this is the end of the task. Its work, the span, is there until an outcome is.
        unsafe { content.slot.clear(cell, true) };
    }
}
