//! Stopping tasks that run.

use std::time::Duration;

use super::State;
use crate::{error::TaskError, process::parent::worker_handle::WorkerHandle};

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
        let Some(worker) = self.workers.get_mut(&number) else { return false };
        match worker.in_flight.front() {
            Some((front, _)) if task.is_none_or(|task| task == front) => {
                worker.stop(error, grace, &mut self.sleep);
                true
            }
            _ => false,
        }
    }

    /// Stops every task that runs; returns how many.
    pub(in crate::process) fn stop_all(&mut self, error: &TaskError, grace: Duration) -> usize {
        let numbers: Vec<u32> = self.workers.keys().copied().collect();
        numbers.into_iter().filter(|number| self.stop(*number, None, error, grace)).count()
    }

    /// The pool's end is near, and those who run nothing do not wait for it.
    pub(in crate::process) fn stop_rest(&mut self, grace: Duration) {
        let Self { workers, sleep, idle, .. } = self;
        let rests =
            |worker: &&mut WorkerHandle| worker.stop.is_none() && worker.in_flight.live() == 0 && !worker.is_dying();
        for worker in workers.values_mut().filter(rests) {
            worker.send_home(grace, sleep);
        }
        idle.clear();
    }
}
