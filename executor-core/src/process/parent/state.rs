//! All that a pool knows, under its lock: the tasks that wait, the workers and what is in flight at them, what is known of all
//! tasks together, how many workers there should be, and the pool's life. Each is a part with methods that keep its counts;
//! the supervisor is told of what becomes due by what they return ([`Attention`](super::sleep::Attention)).

use std::time::{Duration, Instant};

use super::{
    ledger::{Ledger, ToWake},
    lifecycle::Lifecycle,
    queue::Queue,
    sleep::Sleep,
    spent::Spent,
    staffing::Staffing,
    workers::{Workers, handle::WorkerHandle},
};
use crate::error::TaskError;

/// Checks that the supervisor repeats, as long as there is something to be seen.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Requests that are in flight behind others.
    pub(super) behind: bool,
    /// Starts that an observer is to be told of.
    pub(super) starts: bool,
    /// Requests that are not claimed; when it looks at them.
    pub(super) claims: Option<Instant>,
}

#[derive(Default)]
pub(in crate::process) struct State {
    pub(in crate::process) queue: Queue,
    pub(in crate::process) workers: Workers,
    pub(in crate::process) ledger: Ledger,
    pub(in crate::process) staffing: Staffing,
    pub(in crate::process) lifecycle: Lifecycle,
    pub(in crate::process) sleep: Sleep,
    pub(super) watches: Watches,
    /// For tests of panics of the supervisor: so many it has.
    #[cfg(test)]
    pub(in crate::process) panics: usize,
}

impl State {
    pub(super) fn new(max_workers: usize, idle_timeout: Option<Duration>, is_observed: bool) -> Self {
        let (workers, ledger) = (Workers::new(max_workers, idle_timeout), Ledger::new(is_observed));
        Self { workers, ledger, ..Self::default() }
    }

    pub(in crate::process) fn take_to_wake(&mut self) -> Option<ToWake> {
        self.ledger.take_to_wake()
    }

    /// The values that the thread that releases the lock is to drop, if there are any.
    #[inline]
    pub(super) fn take_spent(&mut self) -> Option<Vec<Spent>> {
        if let Some(pages) = self.queue.take_spent() {
            self.ledger.spend(pages);
        }
        self.ledger.has_spent().then(|| self.ledger.take_spent())
    }

    /// Tasks that wait for a worker, also those in flight at one that runs another task.
    pub(in crate::process) fn waiting(&self) -> usize {
        let busy = self.workers.count(|worker| !worker.is_idle());
        self.queue.len() + self.workers.in_flight() - busy
    }

    /// Tasks that run.
    pub(in crate::process) fn running(&self) -> usize {
        self.workers.count(WorkerHandle::is_running)
    }

    /// Tasks that are not done and do not run.
    pub(in crate::process) fn not_running(&self, running: usize) -> usize {
        self.queue.len() + self.workers.in_flight() - running
    }

    /// No more tasks are taken.
    pub(in crate::process) fn shut_down(&mut self) {
        self.lifecycle.shut_down();
        let attention = self.workers.note_end();
        self.sleep.attend(attention);
    }

    /// Whether there is nothing more to do for a pool that takes no more tasks.
    pub(super) fn is_done(&self) -> bool {
        self.lifecycle.is_shut_down() && self.workers.is_empty() && self.queue.is_empty()
    }

    /// The supervisor leaves: all is done.
    pub(super) fn end(&mut self) {
        debug_assert!(self.queue.is_empty(), "a pool has ended with tasks in its queue");
        self.staffing.fork_server = None;
        self.lifecycle.end(None);
        self.ledger.forget_done();
    }

    /// All that is in the queue is to end with this error.
    pub(super) fn doom_queue(&mut self, error: &TaskError) {
        let attention = self.queue.doom(error);
        self.sleep.attend(attention);
    }

    /// The supervisor's turn at that.
    pub(super) fn end_doomed(&mut self) {
        self.queue.end_doomed(&mut self.ledger);
    }

    /// When something about a task or a worker is due: a limit, the end of a grace time or of a wait, a worker that leaves.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let workers = self.workers.iter().filter_map(WorkerHandle::next_deadline);
        let living = self.workers.iter().filter(|worker| !worker.is_dying());
        let refused = living.filter_map(|worker| worker.channel.refused_until());
        workers
            .chain(refused)
            .chain(self.ledger.next_expiry())
            .chain(self.next_leave())
            .chain(self.watches.claims)
            .min()
    }

    /// How long an idle worker may stay: for ever while threads wait for all workers.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.workers.idle_timeout().filter(|_| !self.staffing.is_warming_up())
    }

    /// When a worker will have had nothing to do for as long as it may.
    fn next_leave(&self) -> Option<Instant> {
        let limit = self.idle_timeout()?;
        let idle = self.workers.iter().filter(|worker| worker.is_open() && worker.is_idle());
        idle.filter_map(|worker| worker.idle_since().checked_add(limit)).min()
    }

    /// Nothing will run here any more, and nothing looks after the workers: ends them, and all tasks. What a thread that has
    /// panicked was in the middle of is lost.
    pub(super) fn give_up(&mut self, error: &TaskError) {
        #[cfg(test)]
        assert!(self.panics < 2, "a test asks for it");
        self.queue.fail_all(error, &mut self.ledger);
        for mut worker in self.workers.take_all() {
            self.ledger.spend_all(worker.channel.control().take_unsent().into_iter().map(Spent::Long));
            for request in worker.take_all() {
                self.ledger.drop_later(request.kept);
                self.ledger.fail_rest_of(request.job, request.request, error);
            }
        }
        self.ledger.forget_lost();
        self.staffing.fork_server = None;
        self.lifecycle.end(Some(error));
        self.sleep.wake_up();
    }

    /// For when even that has failed, for whatever reason. What is returned is to be dropped without the lock: that ends the
    /// workers, and all tasks.
    pub(super) fn abandon(&mut self, error: &TaskError) -> (Option<ToWake>, Self) {
        let mut old = std::mem::take(self);
        let mut lifecycle = old.lifecycle.clone();
        lifecycle.end(Some(error));
        // The threads that are counted will count themselves off.
        *self = Self {
            queue: old.queue.emptied(),
            ledger: old.ledger.emptied(),
            staffing: old.staffing.emptied(),
            lifecycle,
            ..Self::default()
        };
        (old.take_to_wake(), old)
    }

    /// Whether the supervisor wakes up in time for everything that is due some time.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_sleep_covered(&self) -> bool {
        self.sleep.covers(self.next_deadline())
    }

    /// Whether every task is in one place, the one that it says, and whether the counts are those of what they count.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_consistent(&self) -> bool {
        let in_flight = self.workers.iter().flat_map(|worker| worker.in_flight().iter());
        let jobs = in_flight.map(|(_, request)| &request.job).chain(self.queue.iter().map(|queued| &queued.job));
        let wanted = jobs.filter(|job| job.content().location().is_wanted()).count();
        self.queue.is_sound()
            && self.workers.is_consistent()
            && self.ledger.are_expiries_sound()
            && self.ledger.wanted() == wanted
    }
}
