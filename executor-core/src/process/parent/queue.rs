//! The tasks that wait for a worker, and what is to become of all of them where the pool ends or breaks.

use super::{
    lanes::{Lanes, Ranked},
    ledger::Ledger,
    sleep::Attention,
    spent::Spent,
};
use crate::{
    error::TaskError,
    portable::{bytes::Bytes, job::Job, location::Location, request::Request},
};

/// So many tasks are ended under the lock before other threads can have it.
pub(super) const AT_ONCE: usize = 512;

/// A task in the queue.
pub(in crate::process) struct Queued {
    pub(in crate::process) job: Job,
    pub(in crate::process) request: Request,
    pub(in crate::process) bytes: Bytes,
}

/// The pool's queue. A task's location says its place: only this writes it as long as the task is in here.
#[derive(Default)]
pub(in crate::process) struct Queue {
    tasks: Lanes<Queued>,
    /// The ticket of the next new task.
    next_ticket: u64,
    /// So many shutdowns are cancelling what is in here: nothing in here is begun any more.
    closing: usize,
    /// The error with which all tasks in here are to end. The supervisor ends them, and none of them is begun meanwhile.
    doom: Option<TaskError>,
}

impl Ranked for Queued {
    fn priority(&self) -> i32 {
        self.request.priority()
    }

    fn ticket(&self) -> u64 {
        self.request.ticket
    }
}

impl Queue {
    /// An empty queue, in which the shutdowns that are still cancelling will count themselves off.
    pub(super) fn emptied(&self) -> Self {
        Self { closing: self.closing, ..Self::default() }
    }

    pub(in crate::process) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(in crate::process) fn is_empty(&self) -> bool {
        self.tasks.len() == 0
    }

    /// Whether nothing in it is begun any more.
    pub(super) fn is_held(&self) -> bool {
        self.closing > 0 || self.doom.is_some()
    }

    /// The ticket of a new task, which says its place among others of its priority, also when it comes back.
    pub(super) fn next_ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    /// Puts a task into its place.
    pub(in crate::process) fn push(&mut self, queued: Queued) {
        let at = self.tasks.push(queued);
        if let Some(queued) = self.tasks.content(at) {
            queued.job.content().location().set(Location::Queue(at));
        }
    }

    pub(in crate::process) fn pop(&mut self) -> Option<Queued> {
        self.tasks.remove(self.tasks.first()?)
    }

    /// Takes the task out whose location says this place.
    pub(in crate::process) fn remove(&mut self, at: u32) -> Option<Queued> {
        self.tasks.remove(at)
    }

    /// A shutdown begins to cancel what is in here.
    pub(in crate::process) fn begin_closing(&mut self) {
        self.closing += 1;
    }

    pub(in crate::process) fn end_closing(&mut self) {
        self.closing -= 1;
    }

    /// Cancels some of what was not begun; returns how many, which is none when there is no more.
    pub(in crate::process) fn cancel_some(&mut self, ledger: &mut Ledger) -> usize {
        let mut cancelled = 0;
        while cancelled < AT_ONCE
            && let Some(at) = self.tasks.find(|queued| !queued.job.content().location().is_begun())
            && let Some(queued) = self.tasks.remove(at)
        {
            queued.fail(&TaskError::Cancelled, ledger);
            cancelled += 1;
        }
        cancelled
    }

    /// Ends some of what is in here; `true` when there is nothing left.
    fn fail_some(&mut self, error: &TaskError, ledger: &mut Ledger) -> bool {
        for _ in 0..AT_ONCE {
            let Some(queued) = self.pop() else { break };
            queued.fail(error, ledger);
        }
        self.is_empty()
    }

    /// Ends everything that is in here.
    pub(in crate::process) fn fail_all(&mut self, error: &TaskError, ledger: &mut Ledger) {
        while !self.fail_some(error, ledger) {}
    }

    /// Everything in here is to end with this error: there may be much of it, so that takes several turns of the supervisor.
    pub(super) fn doom(&mut self, error: &TaskError) -> Attention {
        if self.is_empty() {
            return Attention::None;
        }
        self.doom.get_or_insert_with(|| error.clone());
        Attention::Now
    }

    /// The supervisor's turn at that. It has to come again at once where that was not all.
    pub(super) fn end_doomed(&mut self, ledger: &mut Ledger) {
        if let Some(error) = self.doom.take()
            && !self.fail_some(&error, ledger)
        {
            self.doom = Some(error);
        }
    }

    pub(super) fn is_doomed(&self) -> bool {
        self.doom.is_some()
    }

    /// The memory of an empty queue that was long, to be dropped where nothing waits for it.
    #[inline]
    pub(super) fn take_spent(&mut self) -> Option<Spent> {
        Some(Spent::Pages(Box::new(self.tasks.take_spent()?)))
    }

    /// In no order.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.tasks.iter().map(|(_, queued)| queued)
    }

    /// Whether each task in it knows its place.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_sound(&self) -> bool {
        let knows = |(at, queued): (u32, &Queued)| queued.job.content().location().get() == Location::Queue(at);
        self.tasks.iter().all(knows) && self.tasks.is_sound()
    }
}

impl Queued {
    fn fail(self, error: &TaskError, ledger: &mut Ledger) {
        ledger.drop_later(Some(self.bytes));
        ledger.fail_rest_of(self.job, self.request, error);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::process::parent::lanes::Place;

    #[test]
    fn a_queued_task_takes_little_more_than_it_is() {
        assert_eq!(size_of::<Place<Queued>>(), size_of::<Queued>() + 8);
        // A pointer to it, its function, what is bound to it, its rank, what few have, and its bytes.
        #[cfg(target_pointer_width = "64")]
        assert_eq!(size_of::<Queued>(), 5 * 8 + 24);
    }
}
