//! The pool's account of all its tasks together: how many are waited for, how long they take, how they have ended; and what is to
//! be done about that once the pool's lock is released.

use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use super::workers::leases::Leases;
use super::{
    sleep::Attention,
    spent::Spent,
    workers::in_flight::{InFlight, InFlightRequest},
};
use crate::{
    codec,
    error::TaskError,
    future::{Cell, Task as CellTask, TypedRef, callbacks::drop_elsewhere},
    portable::{
        answer::Answer,
        bytes::Bytes,
        job::{self, Job, ProcessTask},
        request::Request,
    },
    process::transport::{NotifyPolicy, Reply, ReplyKind},
    stats::{Stats, TaskEnd},
    sys,
    untrusted::Malformed,
};

pub(in crate::process) mod events;
mod expiries;

use events::Events;
use expiries::Expiries;

/// More bytes than this are unmapped when they are freed, which takes long.
const LARGE: usize = 1 << 20;

#[derive(Default)]
pub(in crate::process) struct Ledger {
    /// Tasks that are not done and that a thread may sleep for, or that have a time limit.
    wanted: usize,
    /// Threads that spin for answers.
    spinners: usize,
    /// Submitters that wait for space in the queue.
    waiting_for_space: usize,
    /// How long a task takes, in nanoseconds, by what was measured lately; 0 before.
    task_time: f32,
    done: u64,
    failed: u64,
    cancelled: u64,
    /// Tasks that are done, and whose waiters are to be woken once the lock is released.
    to_wake: Vec<Job>,
    /// Values that are to be dropped then.
    spent: Vec<Spent>,
    /// Tasks that may wait for so long to be begun.
    expiries: Expiries,
    /// Events that are to be told then.
    pub(in crate::process) events: Events,
}

/// Tasks whose waiters are to be woken. That is the user's code, so no lock may be held.
///
/// Waiters that are not woken when this is dropped, because a thread has panicked, are woken by another one.
#[must_use]
pub(in crate::process) struct ToWake(Vec<Job>);

impl Drop for ToWake {
    fn drop(&mut self) {
        for job in self.0.drain(..) {
            job.cell().wake_elsewhere();
            // The lock may be held, and this may be the last to hold on to the task.
            drop_elsewhere(job);
        }
    }
}

impl ToWake {
    /// Where a waker, or the destructor of a value that is left, forks on this thread, the copy wakes no waiters of the program.
    pub(in crate::process) fn wake(mut self) {
        let generation = sys::generation();
        let mut jobs = std::mem::take(&mut self.0).into_iter();
        while let Some(job) = jobs.next() {
            job.cell().wake();
            drop(job);
            if sys::generation() != generation {
                return std::mem::forget(jobs);
            }
        }
    }

    /// The same for the supervisor: the user's code could hold up the time limits of others, or end the pool and wait for it.
    pub(in crate::process) fn wake_elsewhere(mut self) {
        for job in std::mem::take(&mut self.0) {
            job.cell().wake_elsewhere();
            // The thread that was woken may be finished with the task before this thread drops it.
            job.release_elsewhere();
        }
    }
}

impl Ledger {
    pub(super) fn new(is_observed: bool) -> Self {
        Self { events: Events::new(is_observed), ..Self::default() }
    }

    /// A ledger without tasks, in which the threads that still wait will count themselves off.
    pub(super) fn emptied(&self) -> Self {
        let Self { spinners, waiting_for_space, .. } = *self;
        Self { spinners, waiting_for_space, ..Self::default() }
    }

    /// When workers have to wake the parent.
    pub(super) fn notify_policy(&self, is_queue_empty: bool) -> NotifyPolicy {
        if self.spinners > 0 {
            NotifyPolicy::BeforeSleep
        } else if self.wanted + self.waiting_for_space > 0 {
            NotifyPolicy::Always
        } else if !is_queue_empty {
            NotifyPolicy::WhenEmpty
        } else {
            NotifyPolicy::BeforeSleep
        }
    }

    /// A thread is about to sleep until the task is done; `false` when that was known of one.
    pub(super) fn want(&mut self, task: &CellTask<ProcessTask>) -> bool {
        let is_new = task.content().location().want();
        self.wanted += usize::from(is_new);
        is_new
    }

    /// The new task is waited for from the beginning: it has a time limit.
    pub(super) fn want_from_the_beginning(&mut self, job: &Job) {
        job.content().location().begin_wanted();
        self.wanted += 1;
    }

    pub(super) fn begin_spin(&mut self) {
        self.spinners += 1;
    }

    pub(super) fn end_spin(&mut self) {
        self.spinners -= 1;
    }

    pub(super) fn begin_wait_for_space(&mut self) {
        self.waiting_for_space += 1;
    }

    pub(in crate::process) fn end_wait_for_space(&mut self) {
        self.waiting_for_space -= 1;
    }

    /// Tasks that a thread may sleep for, or that have a time limit.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// How long a task takes, in nanoseconds; 0 as long as nothing is known.
    #[inline]
    pub(super) fn task_time(&self) -> f32 {
        self.task_time
    }

    /// Has something dropped once the lock is released.
    pub(super) fn spend(&mut self, spent: Spent) {
        self.spent.push(spent);
    }

    pub(super) fn spend_all(&mut self, spent: impl IntoIterator<Item = Spent>) {
        self.spent.extend(spent);
    }

    pub(super) fn has_spent(&self) -> bool {
        !self.spent.is_empty()
    }

    pub(super) fn take_spent(&mut self) -> Vec<Spent> {
        std::mem::take(&mut self.spent)
    }

    pub(super) fn take_to_wake(&mut self) -> Option<ToWake> {
        (!self.to_wake.is_empty()).then(|| ToWake(std::mem::take(&mut self.to_wake)))
    }

    /// How many tasks have ended in which way.
    pub(in crate::process) fn ended(&self) -> Stats {
        Stats { done: self.done, failed: self.failed, cancelled: self.cancelled, ..Stats::default() }
    }

    /// The task ends when it has waited for this long and no worker has begun it.
    pub(super) fn expire_after(&mut self, limit: Duration, job: &Job, request: &mut Request) -> Attention {
        self.expiries.add(limit, job, request)
    }

    /// When the next task has waited for as long as it may.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.next()
    }

    /// A task that has waited for as long as it may, and since when.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<(TypedRef<ProcessTask>, Instant)> {
        self.expiries.pop(now)
    }

    /// Whether each task that may expire is somewhere.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn are_expiries_sound(&self) -> bool {
        self.expiries.are_sound()
    }

    /// Drops tasks that are done and whose entries would only be met later. Each of them keeps the pool alive.
    pub(super) fn forget_done(&mut self) {
        self.expiries.clear();
    }

    /// No task is left. A task that was lost with a thread that has panicked may have been counted.
    pub(super) fn forget_lost(&mut self) {
        self.wanted = 0;
        self.forget_done();
    }

    /// Ends a task that was just taken out of the queue, or out of what is in flight.
    pub(super) fn end(&mut self, job: Job, mut request: Request, outcome: Result<Answer, TaskError>) {
        self.strip(&mut request);
        self.settle(job, outcome);
    }

    /// Ends a task that gets no answer any more. What has one keeps it: items of a chunk that were done, could not be encoded, or
    /// have ended a worker. A kill, a cancellation or a shutdown means all of them.
    pub(super) fn fail_rest_of(&mut self, job: Job, mut request: Request, error: &TaskError) {
        if request.has_answers() && !matches!(error, TaskError::Cancelled | TaskError::ShutDown) {
            request.lose_rest(error.clone());
            return self.end_chunk(job, request);
        }
        self.end(job, request, Err(error.clone()));
    }

    /// Ends a chunk whose items all have their answers.
    pub(in crate::process) fn end_chunk(&mut self, job: Job, mut request: Request) {
        self.strip(&mut request);
        if let Some(chunk) = request.into_chunk() {
            self.settle(job, Ok(Answer::Chunk(chunk)));
        }
    }

    /// Takes out of a request what is not to be dropped here; no worker begins it any more.
    fn strip(&mut self, request: &mut Request) {
        Spent::strip(request, &mut self.spent);
        self.expiries.remove(request);
    }

    fn settle(&mut self, job: Job, outcome: Result<Answer, TaskError>) {
        if job.content().location().is_wanted() {
            self.wanted -= 1;
        }
        let end = end_of(outcome.as_ref().err());
        match end {
            TaskEnd::Done => self.done += 1,
            TaskEnd::Cancelled => self.cancelled += 1,
            TaskEnd::Failed | TaskEnd::Expired => self.failed += 1,
        }
        self.events.ended(job.cell(), end);
        let (has_waiters, span) = job::end(&job, outcome.map_err(Box::new));
        self.events.leave(span, job.cell(), end);
        if has_waiters {
            self.to_wake.push(job);
        } else if let Some(last) = job.release_unless_last() {
            // What is left of it may be large, or the user's: the thread that waited for it may have decoded its result, and gone.
            self.to_wake.push(last);
        }
    }

    /// Has bytes dropped later where freeing them takes long.
    pub(super) fn drop_later(&mut self, bytes: Option<Bytes>) {
        self.spent.extend(bytes.filter(|bytes| bytes.as_slice().len() > LARGE).map(Spent::Bytes));
    }

    /// Counts a task that fails before it gets into the queue.
    pub(in crate::process) fn refuse(&mut self, cell: &Cell) {
        self.events.queued(cell);
        self.failed += 1;
        self.events.ended(cell, TaskEnd::Failed);
    }

    /// Takes a reply to the first request that is in flight at a worker. The worker is not trusted. `is_killed`: the task was
    /// promised to be cancelled, and is, even if it came to its end before the signal.
    pub(super) fn take_reply(
        &mut self,
        in_flight: &mut InFlight,
        reply: Reply<'_>,
        is_killed: bool,
        #[cfg(target_os = "linux")] leases: &mut Leases,
    ) -> Result<Attention, Malformed> {
        let (number, front) = in_flight.front_mut().ok_or(Malformed)?;
        if number as u32 != reply.number {
            return Err(Malformed);
        }
        #[cfg(target_os = "linux")]
        for (reference, file) in reply.attached {
            leases.attach(front.request.attached(), reference, file)?;
        }
        self.events.started(&front.job);
        if front.request.is_chunk() {
            match reply.kind {
                ReplyKind::Failed => front.request.lose_rest(decode_error(&reply.bytes)),
                _ if !front.request.take_items(reply.items, &reply.bytes) => return Err(Malformed),
                // Otherwise it could send parts for ever.
                ReplyKind::Part if reply.items == 0 => return Err(Malformed),
                ReplyKind::Part => return Ok(Attention::None),
                ReplyKind::Done if front.request.items() > 0 => return Err(Malformed),
                ReplyKind::Done => {
                    let chunk = front.request.chunk_answer_mut().ok_or(Malformed)?;
                    chunk.ran_for += Duration::from_nanos(reply.elapsed.into());
                }
            }
        } else if reply.kind == ReplyKind::Part {
            return Err(Malformed);
        }
        let (InFlightRequest { job, mut request, kept, .. }, attention) = in_flight.take_front().ok_or(Malformed)?;
        self.strip(&mut request);
        if reply.elapsed > 0 {
            self.note_time(reply.elapsed as f32);
        }
        let outcome = match reply.kind {
            _ if is_killed => Err(TaskError::Cancelled),
            ReplyKind::Failed if !request.is_chunk() => Err(decode_error(&reply.bytes)),
            _ => Ok(request.into_answer(reply.bytes)),
        };
        self.drop_later(kept);
        self.settle(job, outcome);
        Ok(attention)
    }

    /// Follows what was measured lately. A task that took much longer may have been preempted, so it counts for no more than
    /// four times what was known; a few such tasks in a row still change the picture.
    fn note_time(&mut self, time: f32) {
        self.task_time = match self.task_time {
            0.0 => time,
            known => known + (time.min(4.0 * known) - known) / 4.0,
        };
    }
}

/// How a task with this error, or none, has ended.
fn end_of(error: Option<&TaskError>) -> TaskEnd {
    match error {
        None => TaskEnd::Done,
        Some(TaskError::Cancelled) => TaskEnd::Cancelled,
        Some(TaskError::Expired { .. }) => TaskEnd::Expired,
        Some(_) => TaskEnd::Failed,
    }
}

fn decode_error(bytes: &[u8]) -> TaskError {
    // Decoding this type calls no user code, so there is no panic to catch.
    codec::decode_uncaught(bytes).unwrap_or_else(|cause| TaskError::decode("error", cause))
}
