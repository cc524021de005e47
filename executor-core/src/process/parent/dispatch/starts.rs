//! How an observer is told of the starts of tasks.

use super::State;

impl State {
    /// Has the observer told of what runs. The workers do not say when they begin something, nor always when they have ended
    /// something and go on, so the supervisor looks again soon, as long as there is something to come.
    pub(in crate::process) fn note_starts(&mut self) {
        if !self.ledger.events.is_observed() {
            return;
        }
        let mut is_awaited = false;
        for worker in self.workers.iter() {
            let Some((number, front)) = worker.in_flight().front() else { continue };
            let is_begun = worker.has_begun(number);
            if is_begun {
                self.ledger.events.started(&front.job);
            }
            is_awaited |= !is_begun || worker.in_flight().len() > 1;
        }
        if is_awaited && !self.watches.starts {
            self.sleep.call();
        }
        self.watches.starts = is_awaited;
    }
}
