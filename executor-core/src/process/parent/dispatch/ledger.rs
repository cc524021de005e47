//! What the pool knows of all its tasks together, and what changes when one of them ends.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::events::Events;
#[cfg(target_os = "linux")]
use crate::process::parent::loans::Loans;
use crate::{
    codec,
    error::TaskError,
    future::{Cell, TypedRef},
    process::{
        parent::{
            in_flight::{InFlight, InFlightRequest},
            sleep::Sleep,
            spent::Spent,
        },
        task::{
            answer::Answer,
            bytes::Bytes,
            job::{self, Job, ProcessTask},
            request::{Expiry, Request},
        },
        transport::{Reply, ReplyKind},
    },
    stats::TaskEnd,
    untrusted::Malformed,
};

/// More bytes than this are unmapped when they are freed, which takes long.
const LARGE: usize = 1 << 20;

/// What changes when a task ends.
#[derive(Default)]
pub(in crate::process) struct Ledger {
    /// Tasks that stand with workers.
    pub(in crate::process) standing: usize,
    /// Tasks that are not done and that somebody may sleep for, or that have a time limit.
    pub(super) wanted: usize,
    /// How long a task takes, in nanoseconds, by what was measured lately; 0 before.
    pub(super) task_time: f32,
    pub(in crate::process) done: u64,
    pub(in crate::process) failed: u64,
    pub(in crate::process) cancelled: u64,
    /// Tasks that are done, and whose waiters are to be woken once the lock is released.
    pub(super) to_wake: Vec<Job>,
    /// What is to be dropped then.
    pub(in crate::process) spent: Vec<Spent>,
    /// Tasks that may wait for so long to be begun, and since when they wait.
    pub(super) expiries: BTreeMap<Expiry, (TypedRef<ProcessTask>, Instant)>,
    /// What is to be told then.
    pub(in crate::process) events: Events,
}

impl Ledger {
    /// Ends a task that was just taken out of the queue, or out of what is in flight.
    pub(super) fn end(&mut self, job: Job, mut request: Request, outcome: Result<Answer, TaskError>) {
        self.strip(&mut request);
        self.settle(job, outcome);
    }

    /// Ends a task that gets no answer any more. What has one keeps it: items of a chunk that were done, could not be encoded, or
    /// have ended a worker. Who kills, cancels or shuts down means all of them.
    pub(super) fn lose(&mut self, job: Job, mut request: Request, error: &TaskError) {
        if request.has_answers() && !matches!(error, TaskError::Cancelled | TaskError::ShutDown) {
            request.lose_rest(error.clone());
            return self.end_chunk(job, request);
        }
        self.end(job, request, Err(error.clone()));
    }

    /// Ends a chunk whose items all have their answers.
    pub(super) fn end_chunk(&mut self, job: Job, mut request: Request) {
        self.strip(&mut request);
        if let Some(chunk) = request.into_chunk() {
            self.settle(job, Ok(Answer::Chunk(chunk)));
        }
    }

    /// Takes out of a request what is not to be dropped here; nobody begins it any more.
    fn strip(&mut self, request: &mut Request) {
        Spent::strip(request, &mut self.spent);
        if let Some((expiry, _)) = request.extras.as_ref().and_then(|extras| extras.expiry) {
            self.expiries.remove(&expiry);
        }
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
        } else if let Some(last) = job.let_go() {
            // What is left of it may be large, or the user's: who waited for it may have decoded its result, and gone.
            self.to_wake.push(last);
        }
    }

    /// Has bytes dropped later where freeing them takes long.
    pub(super) fn let_go(&mut self, bytes: Option<Bytes>) {
        self.spent.extend(bytes.filter(|bytes| bytes.as_slice().len() > LARGE).map(Spent::Bytes));
    }

    /// Counts a task that fails before it gets into the queue.
    pub(in crate::process) fn refuse(&mut self, cell: &Cell) {
        self.events.queued(cell);
        self.failed += 1;
        self.events.ended(cell, TaskEnd::Failed);
    }

    /// Takes a reply to what is at the front of a worker's in_flight. The worker is not trusted. `is_killed`: the task was
    /// promised to be cancelled, and is, even if it came to its end before the signal.
    pub(super) fn take_reply(
        &mut self,
        in_flight: &mut InFlight,
        reply: Reply<'_>,
        is_killed: bool,
        sleep: &mut Sleep,
        #[cfg(target_os = "linux")] loans: &mut Loans,
    ) -> Result<(), Malformed> {
        let (number, front) = in_flight.front_mut().ok_or(Malformed)?;
        if number as u32 != reply.number {
            return Err(Malformed);
        }
        #[cfg(target_os = "linux")]
        for (reference, file) in reply.attached {
            loans.attach(front.request.attached(), reference, file)?;
        }
        self.events.started(&front.job);
        if front.request.is_chunk() {
            match reply.kind {
                ReplyKind::Failed => front.request.lose_rest(decode_error(&reply.bytes)),
                _ if !front.request.take_items(reply.items, &reply.bytes) => return Err(Malformed),
                // Otherwise it could send parts for ever.
                ReplyKind::Part if reply.items == 0 => return Err(Malformed),
                ReplyKind::Part => return Ok(()),
                ReplyKind::Done if front.request.items() > 0 => return Err(Malformed),
                ReplyKind::Done => front.request.extras().chunk.ran_for += Duration::from_nanos(reply.elapsed.into()),
            }
        } else if reply.kind == ReplyKind::Part {
            return Err(Malformed);
        }
        let Some(InFlightRequest { job, mut request, kept, .. }) = in_flight.take_front(sleep) else {
            return Err(Malformed);
        };
        self.standing -= 1;
        self.strip(&mut request);
        if reply.elapsed > 0 {
            self.note_time(reply.elapsed as f32);
        }
        let outcome = match reply.kind {
            _ if is_killed => Err(TaskError::Cancelled),
            ReplyKind::Failed if !request.is_chunk() => Err(decode_error(&reply.bytes)),
            _ => Ok(request.into_answer(reply.bytes)),
        };
        self.let_go(kept);
        self.settle(job, outcome);
        Ok(())
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
    // Not a type of the user's, so there is nothing to be caught.
    codec::decode_uncaught(bytes).unwrap_or_else(|cause| TaskError::decode("error", cause))
}
