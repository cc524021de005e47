//! Taking back: tasks that are cancelled or wait for too long, requests that go to another worker, and what a dead worker has left.

use super::{SPREAD_ABOVE_NS, State};
use crate::{
    error::{TaskError, WorkerExit},
    future::Task as CellTask,
    portable::{arguments::Items, bytes::Bytes, job::ProcessTask, location::Location},
    process::parent::{
        queue::Queued,
        workers::{handle::WorkerHandle, in_flight::InFlightRequest},
    },
};

impl State {
    /// Cancels a task that no worker has begun; `true` when this call did it.
    pub(in crate::process) fn cancel(&mut self, task: &CellTask<ProcessTask>) -> bool {
        self.take_away(task, TaskError::Cancelled, false)
    }

    /// Cancels a task that no worker runs right now, also the rest of a chunk that was begun by one that has died.
    pub(in crate::process) fn kill(&mut self, task: &CellTask<ProcessTask>) -> bool {
        self.take_away(task, TaskError::Cancelled, true)
    }

    /// Ends a task that no worker runs with an error; `true` when this call did it. `rests`: also if it was begun.
    pub(super) fn take_away(&mut self, task: &CellTask<ProcessTask>, error: TaskError, rests: bool) -> bool {
        if task.content().location().is_begun() && !rests {
            return false;
        }
        let (job, request, bytes) = match task.content().location().get() {
            Location::Nowhere => return false,
            Location::Queue(place) => {
                let Some(queued) = self.queue.remove(place) else { return false };
                debug_assert!(std::ptr::eq(queued.job.content(), task.content()), "a task is where it says that it is");
                (queued.job, queued.request, Some(queued.bytes))
            }
            Location::Worker(number, request) => {
                let Some(taken) = self.revoke(number, request) else { return false };
                (taken.job, taken.request, taken.kept)
            }
        };
        self.ledger.drop_later(bytes);
        self.ledger.end(job, request, Err(error));
        true
    }

    /// Takes a request back that its worker has not claimed.
    fn revoke(&mut self, number: u32, request: u32) -> Option<InFlightRequest> {
        let worker = self.workers.get_mut(number)?;
        let (full_number, _) = worker.in_flight().find(request)?;
        let revoked = worker.channel.revoke(full_number);
        if revoked { self.take_revoked(number, full_number) } else { None }
    }

    pub(super) fn take_revoked(&mut self, number: u32, request: u64) -> Option<InFlightRequest> {
        let (request, attention) = self.workers.take_back(number, request)?;
        self.sleep.attend(attention);
        Some(request)
    }

    /// Takes back what `number` has not claimed, the last ones first and no more than `most`, and puts it where it belongs in
    /// the queue.
    pub(in crate::process) fn take_back(&mut self, number: u32, most: usize) {
        let Some(worker) = self.workers.get(number) else { return };
        let last: Vec<u64> = worker.in_flight().live_from_the_back().take(most).collect();
        for request in last {
            let Some(worker) = self.workers.get_mut(number) else { return };
            if !worker.channel.revoke(request) {
                break;
            }
            if let Some(taken) = self.take_revoked(number, request) {
                self.put_back(number, taken);
            }
        }
    }

    /// Puts what was in flight at a worker where it belongs in the queue. Items of a chunk that have an answer are not run again:
    /// the worker may have sent some, and then died, or said that it had begun none.
    pub(super) fn put_back(&mut self, number: u32, taken: InFlightRequest) {
        // Its time may have been over when it could not be taken back, as over a socket.
        if !taken.job.content().location().is_begun()
            && let Some(waited) = taken.request.overdue()
        {
            return self.fail(taken, &TaskError::Expired { waited });
        }
        let InFlightRequest { job, request, place, kept, .. } = taken;
        let mut bytes = match (kept, self.workers.get(number)) {
            (Some(bytes), _) => bytes,
            (None, Some(worker)) => worker.channel.bytes(place).into(),
            (None, None) => Bytes::from(Vec::new()),
        };
        if request.was_answered() {
            if request.items() == 0 {
                self.ledger.drop_later(Some(bytes));
                return self.ledger.end_chunk(job, request);
            }
            let all = bytes.as_slice();
            let answered = all.len() - Items(all).last_ones(request.items() as usize).len();
            bytes.skip(answered);
        }
        self.queue.push(Queued { job, request, bytes });
    }

    /// When a worker has nothing to do, and there is nothing in the queue: takes half of what is in flight at the worker with the
    /// most requests, if that is worth it.
    pub(in crate::process) fn rebalance(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        let Some(free) = self.workers.free() else { return };
        let Some((number, in_flight)) = self.workers.most_loaded() else { return };
        if in_flight > 1 && in_flight as f32 * self.ledger.task_time() > SPREAD_ABOVE_NS {
            self.take_back(number, in_flight / 2);
            self.workers.prefer(free);
        }
        // Less is not worth it, unless the first of them takes longer than it should, and that is watched by the supervisor.
    }

    /// Looks after requests that are in flight behind others. What is behind one that has not ended since the last time goes back
    /// to the queue, so that whichever worker has nothing more to do takes it before what came later. Says whether this has to be
    /// done again soon.
    pub(in crate::process) fn steal_from_stuck(&mut self) -> bool {
        let mut is_relieved = false;
        for number in self.workers.numbers(|_| true) {
            let Some(worker) = self.workers.get_mut(number) else { continue };
            if worker.look_whether_stuck() && worker.in_flight().len() > 1 {
                let behind = worker.in_flight().len() - 1;
                self.take_back(number, behind);
                is_relieved = true;
            }
        }
        // Not before all were taken back: the first of them may be in flight at the last worker.
        if is_relieved {
            if let Some(free) = self.workers.free() {
                self.workers.prefer(free);
            }
            self.hand_out();
            let is_coming = self.workers.iter().any(WorkerHandle::is_starting);
            if !self.queue.is_empty() && !self.staffing.is_full && !is_coming {
                // Workers that leave are not among those that are wanted.
                self.staffing.want((self.workers.len() + 1).min(self.workers.most_open()));
            }
        }
        self.workers.iter().any(|worker| worker.in_flight().len() > 1)
    }

    /// Takes what a dead worker has left: what it has not begun goes back to the queue, and the rest of a chunk that it has
    /// begun. The item that it was running gets `error`, unless it is to be run again. Says whether something was running.
    pub(in crate::process) fn recover(&mut self, number: u32, error: &TaskError, stopped: bool) -> bool {
        let Some(worker) = self.workers.get_mut(number) else { return false };
        let unfinished = worker.channel.unfinished();
        if let Some(first) = worker.first_mut()
            && let Some((items, bytes)) = unfinished
        {
            first.take_items(items.min(first.items()), &bytes);
        }
        let mut lost = false;
        let left: Vec<u64> = worker.in_flight().live_from_the_back().collect();
        let front = left.last().copied();
        // Where other code of the program reaps its children, the exit status is not known, and then it is no proof either.
        let was_killed = matches!(error, TaskError::WorkerDied { exit, .. }
            if exit.may_be_from_outside() || *exit == WorkerExit::Unknown);
        for request in left {
            let Some(worker) = self.workers.get_mut(number) else { break };
            // The process is gone, so no request is claimed any more. Of the requests that it has claimed, all but the first have
            // been answered, unless it has violated the protocol: then it may have run any that it says.
            let claimed = worker.has_begun(request);
            let Some((mut taken, attention)) = self.workers.take_out(number, request) else { continue };
            self.sleep.attend(attention);
            let is_first = !claimed && Some(request) == front;
            // A worker does some work for a request before it claims it. A request that ends every worker there would otherwise go
            // on for ever. And a worker that was told to stop was told so because of this request. As in `miss`, its time may be
            // over once without a run.
            let is_convicted = is_first
                && if stopped {
                    !matches!(error, TaskError::TimedOut { .. })
                        || std::mem::replace(&mut taken.request.extras().is_missed, true)
                } else {
                    // Where the memory was not enough to receive the request, it never will be.
                    *error == TaskError::MemoryLimit || taken.request.suspect(was_killed)
                };
            if is_convicted {
                lost = true;
                self.fail(taken, error);
            } else if claimed {
                lost = true;
                self.ledger.events.started(&taken.job);
                self.fail_running(number, taken, error, stopped);
            } else {
                self.put_back(number, taken);
            }
        }
        lost
    }

    /// All of a request gets the error that has no answer.
    pub(super) fn fail(&mut self, taken: InFlightRequest, error: &TaskError) {
        self.ledger.drop_later(taken.kept);
        self.ledger.fail_rest_of(taken.job, taken.request, error);
    }

    /// Settles the request that a worker was running when it died.
    fn fail_running(&mut self, number: u32, mut taken: InFlightRequest, error: &TaskError, stopped: bool) {
        let again = !stopped && taken.request.retry();
        if again && !taken.request.is_chunk() {
            taken.job.content().location().set_begun();
            return self.put_back(number, taken);
        }
        // A time limit is each item's; a kill or a shutdown means all of them.
        let stopped_whole = stopped && !matches!(error, TaskError::TimedOut { .. });
        if stopped_whole || !taken.request.is_chunk() {
            return self.fail(taken, error);
        }
        // Where all had been answered, it was none of the items.
        if !again && taken.request.items() > 0 {
            taken.request.lose_item(error.clone());
            if taken.request.items() > 0 && self.lifecycle.broken().is_some() {
                return self.fail(taken, error);
            }
        }
        // The other items have not been run, and are not lost.
        taken.job.content().location().set_begun();
        self.put_back(number, taken);
    }

    /// Takes back everything that no worker has begun, to be [cancelled](super::super::queue::Queue::cancel_some).
    pub(in crate::process) fn take_all_back(&mut self) {
        for number in self.workers.numbers(|_| true) {
            self.take_back(number, usize::MAX);
        }
    }
}
