//! How running tasks are stopped.

use std::time::Duration;

use super::State;
use crate::error::TaskError;

impl State {
    /// Stops the task that a worker runs, if it is this one; `None` is any. `false` when it runs another one or none. What it has
    /// not begun goes to others.
    pub(in crate::process) fn stop(
        &mut self,
        number: u32,
        task: Option<u64>,
        error: &TaskError,
        grace: Duration,
    ) -> bool {
        self.take_back(number, usize::MAX);
        // It may have gone on to the next task meanwhile. From here on it cannot: there is none that it could begin.
        self.receive(number);
        let Some(worker) = self.workers.get_mut(number) else { return false };
        match worker.in_flight().front() {
            Some((front, _)) if task.is_none_or(|task| task == front) => {
                let attention = worker.stop(error, grace);
                self.sleep.attend(attention);
                true
            }
            _ => false,
        }
    }

    /// Stops every task that runs; returns how many.
    pub(in crate::process) fn stop_all(&mut self, error: &TaskError, grace: Duration) -> usize {
        let numbers = self.workers.numbers(|_| true);
        numbers.into_iter().filter(|number| self.stop(*number, None, error, grace)).count()
    }

    /// Cancels some of what waits in the queue and was not begun; returns how many, which is none when there is no more.
    pub(in crate::process) fn cancel_some(&mut self) -> usize {
        self.queue.cancel_some(&mut self.ledger)
    }

    /// Ends everything that waits in the queue.
    pub(in crate::process) fn fail_queue(&mut self, error: &TaskError) {
        self.queue.fail_all(error, &mut self.ledger);
    }

    /// Whether so many tasks are known to have a thread that may sleep for them.
    #[cfg(test)]
    pub(in crate::process) fn is_awaited(&self, tasks: usize) -> bool {
        self.ledger.wanted() >= tasks
    }

    /// For tests of panics: values that a thread owns at that moment.
    #[cfg(test)]
    pub(in crate::process) fn take_one(&mut self) -> Option<crate::process::parent::queue::Queued> {
        self.queue.pop()
    }

    /// The pool is about to end, and workers that run nothing do not wait for that.
    pub(in crate::process) fn stop_rest(&mut self, grace: Duration) {
        let rest = self.workers.numbers(|worker| !worker.is_stopping() && worker.is_idle() && !worker.is_dying());
        for number in rest {
            self.workers.leave_idle(number);
            if let Some(worker) = self.workers.get_mut(number) {
                let attention = worker.retire(grace);
                self.sleep.attend(attention);
            }
        }
    }
}
