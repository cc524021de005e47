//! What is taken back: tasks that are cancelled or wait for too long, requests that go to another worker, and what a dead
//! worker has left.

use super::{AT_ONCE, SPREAD, State, ToWake};
use crate::{
    error::{TaskError, WorkerExit},
    future::Task as CellTask,
    process::{
        parent::{in_flight::InFlightRequest, queue::Queued, spent::Spent, worker_handle::WorkerHandle},
        task::{arguments::Items, bytes::Bytes, job::ProcessTask, location::Location},
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
                let Some(standing) = self.revoke(number, request) else { return false };
                (standing.job, standing.request, standing.kept)
            }
        };
        self.ledger.let_go(bytes);
        self.ledger.end(job, request, Err(error));
        true
    }

    /// Takes a request back that its worker has not claimed.
    fn revoke(&mut self, number: u32, request: u32) -> Option<InFlightRequest> {
        let worker = self.workers.get_mut(&number)?;
        let (full_number, _) = worker.in_flight.find(request)?;
        let revoked = worker.channel.revoke(full_number);
        if revoked { self.take_revoked(number, full_number) } else { None }
    }

    pub(super) fn take_revoked(&mut self, number: u32, request: u64) -> Option<InFlightRequest> {
        let worker = self.workers.get_mut(&number)?;
        let standing = worker.in_flight.revoke(request, &mut self.sleep)?;
        worker.tasks_left = worker.tasks_left.map(|left| left + 1);
        self.ledger.standing -= 1;
        if worker.in_flight.live() == 0 && worker.is_ready() {
            worker.rest(&mut self.sleep);
            if worker.is_ready() {
                self.idle.push(number);
            } else {
                self.sleep.call();
            }
        }
        Some(standing)
    }

    /// Takes back what `number` has not claimed, the last ones first and no more than `most`, and puts it where it belongs in
    /// the queue.
    pub(in crate::process) fn take_back(&mut self, number: u32, most: usize) {
        let Some(worker) = self.workers.get(&number) else { return };
        let last: Vec<u64> = worker.in_flight.live_from_the_back().take(most).collect();
        for request in last {
            let Some(worker) = self.workers.get_mut(&number) else { return };
            if !worker.channel.revoke(request) {
                break;
            }
            if let Some(standing) = self.take_revoked(number, request) {
                self.put_back(number, standing);
            }
        }
    }

    /// Puts what stood with a worker where it belongs in the queue. Items of a chunk that have an answer are not run again: the
    /// worker may have sent some, and then died, or said that it had begun none.
    pub(super) fn put_back(&mut self, number: u32, standing: InFlightRequest) {
        // Its time may have been over when it could not be taken back, as over a socket.
        if !standing.job.content().location().is_begun()
            && let Some(waited) = standing.request.overdue()
        {
            return self.lose_rest(standing, &TaskError::Expired { waited });
        }
        let InFlightRequest { job, request, place, kept, .. } = standing;
        let mut bytes = match (kept, self.workers.get(&number)) {
            (Some(bytes), _) => bytes,
            (None, Some(worker)) => worker.channel.bytes(place).into(),
            (None, None) => Bytes::from(Vec::new()),
        };
        if request.was_answered() {
            if request.items() == 0 {
                self.ledger.let_go(Some(bytes));
                return self.ledger.end_chunk(job, request);
            }
            let all = bytes.as_slice();
            let answered = all.len() - Items(all).last_ones(request.items() as usize).len();
            bytes.skip(answered);
        }
        self.queue.push(Queued { job, request, bytes });
    }

    /// When a worker has nothing to do, and there is nothing in the queue: takes half of what stands with the one that has
    /// most, if that is worth it.
    pub(in crate::process) fn rebalance(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        let Some(free) = self.free_worker() else { return };
        let most = self.workers.iter().max_by_key(|(_, worker)| worker.in_flight.live());
        let Some((&number, live)) = most.map(|(number, worker)| (number, worker.in_flight.live())) else { return };
        if live > 1 && live as f32 * self.ledger.task_time > SPREAD {
            self.take_back(number, live / 2);
            self.current = free;
        }
        // Less is not worth it, unless the first of them takes longer than it should, and then somebody watches.
    }

    /// A worker with which nothing stands.
    fn free_worker(&self) -> Option<u32> {
        let free = |number: &&u32| self.workers.get(number).is_some_and(|worker| worker.is_open());
        self.idle.iter().rev().find(free).copied()
    }

    /// Looks after requests that stand behind others. What stands behind one that has not ended since the last time goes back
    /// to the queue, so that whoever has nothing more to do takes it before what came later. Says whether this has to be done
    /// again soon.
    pub(in crate::process) fn steal_from_stuck(&mut self) -> bool {
        let numbers: Vec<u32> = self.workers.keys().copied().collect();
        let mut is_relieved = false;
        for number in numbers {
            let Some(worker) = self.workers.get_mut(&number) else { continue };
            if worker.look_whether_stuck() && worker.in_flight.live() > 1 {
                let behind = worker.in_flight.live() - 1;
                self.take_back(number, behind);
                is_relieved = true;
            }
        }
        // Not before all were taken back: the first of them may stand with the last worker.
        if is_relieved {
            if let Some(free) = self.free_worker() {
                self.current = free;
            }
            self.hand_out();
            let is_coming = self.workers.values().any(WorkerHandle::is_starting);
            if !self.queue.is_empty() && !self.is_full && !is_coming {
                // Workers that leave are not among those that are wanted.
                let wanted = (self.workers.len() + 1).min(self.most_workers);
                self.wanted_workers = self.wanted_workers.max(wanted);
            }
        }
        self.workers.values().any(|worker| worker.in_flight.live() > 1)
    }

    /// Takes what a dead worker has left: what it has not begun goes back to the queue, and the rest of a chunk that it has
    /// begun. The item that it was running gets `error`, unless it is to be run again. Says whether something was running.
    pub(in crate::process) fn recover(&mut self, number: u32, error: &TaskError, stopped: bool) -> bool {
        let Some(worker) = self.workers.get_mut(&number) else { return false };
        let unfinished = worker.channel.unfinished();
        if let Some((_, front)) = worker.in_flight.front_mut()
            && let Some((items, bytes)) = unfinished
        {
            front.request.take_items(items.min(front.request.items()), &bytes);
        }
        let mut lost = false;
        let left: Vec<u64> = worker.in_flight.live_from_the_back().collect();
        let front = left.last().copied();
        // Nothing is known where the program has its children reaped by others: then it is no proof either.
        let was_killed = matches!(error, TaskError::WorkerDied { exit, .. }
            if exit.may_be_from_outside() || *exit == WorkerExit::Unknown);
        for request in left {
            let Some(worker) = self.workers.get_mut(&number) else { break };
            // The process is gone, so nobody claims anything any more. Of what it has claimed, all but the first one has been
            // answered, unless it was insane: then it may have run anything that it says.
            let claimed = worker.has_begun(request);
            let Some(mut standing) = worker.in_flight.revoke(request, &mut self.sleep) else { continue };
            self.ledger.standing -= 1;
            let is_first = !claimed && Some(request) == front;
            // Something is done for a request before it is claimed. What ends every worker there would go on for ever.
            // And who was told to stop was told so because of this one. As in `miss`, time may be over once without a run.
            let is_convicted = is_first
                && if stopped {
                    !matches!(error, TaskError::TimedOut { .. })
                        || std::mem::replace(&mut standing.request.extras().is_missed, true)
                } else {
                    // Where the memory was too little for what is received with the request, it always will be.
                    *error == TaskError::MemoryLimit || standing.request.suspect(was_killed)
                };
            if is_convicted {
                lost = true;
                self.lose_rest(standing, error);
            } else if claimed {
                lost = true;
                self.ledger.events.started(&standing.job);
                self.lose(number, standing, error, stopped);
            } else {
                self.put_back(number, standing);
            }
        }
        lost
    }

    /// All of a request gets the error that has no answer.
    pub(super) fn lose_rest(&mut self, standing: InFlightRequest, error: &TaskError) {
        self.ledger.let_go(standing.kept);
        self.ledger.lose(standing.job, standing.request, error);
    }

    /// Settles the request that a worker was running when it died.
    fn lose(&mut self, number: u32, mut standing: InFlightRequest, error: &TaskError, stopped: bool) {
        let again = !stopped && standing.request.retry();
        if again && !standing.request.is_chunk() {
            standing.job.content().location().set_begun();
            return self.put_back(number, standing);
        }
        // A time limit is each item's; who kills, or shuts down, means all of them.
        let stopped_whole = stopped && !matches!(error, TaskError::TimedOut { .. });
        if stopped_whole || !standing.request.is_chunk() {
            return self.lose_rest(standing, error);
        }
        // Where all had been answered, it was none of the items.
        if !again && standing.request.items() > 0 {
            standing.request.lose_item(error.clone());
            if standing.request.items() > 0 && self.broken.is_some() {
                return self.lose_rest(standing, error);
            }
        }
        // The other items have not been run, and are not lost.
        standing.job.content().location().set_begun();
        self.put_back(number, standing);
    }

    /// Takes back everything that no worker has begun, to be [cancelled](Self::cancel_some).
    pub(in crate::process) fn take_all_back(&mut self) {
        let numbers: Vec<u32> = self.workers.keys().copied().collect();
        for number in numbers {
            self.take_back(number, usize::MAX);
        }
    }

    /// Cancels some of what waits in the queue and was not begun; returns how many, which is none when there is no more.
    pub(in crate::process) fn cancel_some(&mut self) -> usize {
        let mut cancelled = 0;
        while cancelled < AT_ONCE
            && let Some(queued) = self.queue.pop_like(|queued| !queued.job.content().location().is_begun())
        {
            self.drop_queued(queued, &TaskError::Cancelled);
            cancelled += 1;
        }
        cancelled
    }

    /// Ends some of what waits in the queue; `true` when there is nothing left.
    pub(in crate::process) fn fail_some(&mut self, error: &TaskError) -> bool {
        for _ in 0..AT_ONCE {
            let Some(queued) = self.queue.pop() else { break };
            self.drop_queued(queued, error);
        }
        self.queue.is_empty()
    }

    /// Everything in the queue is to end with this error: there may be much of it, so that takes several turns of the
    /// supervisor.
    pub(in crate::process) fn doom_queue(&mut self, error: &TaskError) {
        if !self.queue.is_empty() {
            self.doom.get_or_insert_with(|| error.clone());
            self.sleep.call();
        }
    }

    /// The supervisor's turn at that.
    pub(in crate::process) fn end_doomed(&mut self) {
        if let Some(error) = self.doom.take()
            && !self.fail_some(&error)
        {
            self.doom = Some(error);
        }
    }

    /// Whether it has to be called again at once.
    pub(in crate::process) fn is_doomed(&self) -> bool {
        self.doom.is_some()
    }

    fn drop_queued(&mut self, queued: Queued, error: &TaskError) {
        self.ledger.let_go(Some(queued.bytes));
        self.ledger.lose(queued.job, queued.request, error);
    }

    /// Ends everything that waits in the queue.
    pub(in crate::process) fn fail_queue(&mut self, error: &TaskError) {
        while !self.fail_some(error) {}
    }

    /// Nothing will run here any more, and nobody looks after the workers: ends them, and all tasks. What was under way in the
    /// hands of who panicked is lost.
    pub(in crate::process) fn give_up(&mut self, error: &TaskError) {
        #[cfg(test)]
        assert!(self.panics < 2, "a test asks for it");
        self.broken.get_or_insert_with(|| error.clone());
        self.fail_queue(error);
        for (_, mut worker) in std::mem::take(&mut self.workers) {
            self.ledger.spent.extend(worker.channel.control().take_unsent().into_iter().map(Spent::Long));
            for standing in worker.in_flight.take_all() {
                self.ledger.let_go(standing.kept);
                self.ledger.lose(standing.job, standing.request, error);
            }
        }
        self.ledger.standing = 0;
        // What is lost may have been counted.
        self.ledger.wanted = self.waiting_for_space;
        self.idle.clear();
        self.forget_done();
        self.fork_server = None;
        self.ended = true;
        self.sleep.wake_up();
    }

    /// Not even that is possible, whatever is wrong. What is returned is to be dropped without the lock: that ends the workers, and
    /// all tasks.
    pub(in crate::process) fn abandon(&mut self, error: &TaskError) -> (ToWake, Self) {
        let mut old = std::mem::take(self);
        let Self { closing, spinners, waiting_for_space, warming, shut_down, .. } = old;
        let broken = old.broken.take().or_else(|| Some(error.clone()));
        // Those who are counted will count back.
        *self =
            Self { closing, spinners, waiting_for_space, warming, shut_down, broken, ended: true, ..Self::default() };
        self.ledger.wanted = waiting_for_space;
        (old.take_to_wake(), old)
    }
}
