//! A set to which many futures announce that they are done.

use std::{collections::VecDeque, time::Instant};

use super::pool_context::BlockingGuard;
use crate::sync::{Condvar, Mutex, lock, wait_until};

/// The set in which the futures of one wait announce that they are done.
pub(crate) struct CompletionSet {
    done: Mutex<VecDeque<usize>>,
    changed: Condvar,
}

impl CompletionSet {
    pub(crate) fn new() -> Self {
        Self { done: Mutex::new(VecDeque::new()), changed: Condvar::new() }
    }

    /// Keeps all others away, as a thread does that a forked copy of the process has lost.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn hold(&self) -> crate::sync::MutexGuard<'_, VecDeque<usize>> {
        lock(&self.done)
    }

    pub(crate) fn push(&self, index: usize) {
        lock(&self.done).push_back(index);
        self.changed.notify_one();
    }

    pub(crate) fn try_pop(&self) -> Option<usize> {
        lock(&self.done).pop_front()
    }

    /// The next index, or `None` once `deadline` has passed.
    pub(crate) fn pop(&self, here: &BlockingGuard, deadline: Option<Instant>) -> Option<usize> {
        let mut done = lock(&self.done);
        loop {
            if let Some(index) = done.pop_front() {
                return Some(index);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            done = wait_until(&self.changed, done, here.until(deadline));
        }
    }
}
