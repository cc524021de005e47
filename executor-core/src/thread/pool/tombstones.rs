//! Entries of the queues whose tasks are over before a worker has taken them out.

use std::sync::{Arc, atomic::Ordering};

use super::{BEARABLE, Pool, release_task};

impl Pool {
    pub(super) fn note_tombstones_found(&self, number: usize) {
        // ORDERING: a count for statistics, which publishes nothing.
        self.outside.tombstones_found.fetch_add(number as u64, Ordering::Relaxed);
        (0..number).for_each(|_| self.unmark_cancelled());
    }

    /// A task was taken out of the queue, and is run or failed.
    #[inline]
    pub(in crate::thread) fn release_capacity(&self) {
        if let Some(capacity) = &self.capacity {
            capacity.release();
        }
    }

    /// A task is over, or was run in place, and has left its entry in the queue.
    #[inline]
    pub(in crate::thread) fn mark_cancelled(&self) {
        if let Some(capacity) = &self.capacity {
            capacity.mark_cancelled();
        }
    }

    /// A task was cancelled or has expired while it was queued. Its entry stays where it is, until there are so many of them that a
    /// search costs each no more than a step or two. Without a search they would take memory for as long as all workers are busy.
    pub(in crate::thread) fn mark_queued_cancelled(self: &Arc<Self>) {
        self.mark_cancelled();
        let over = &self.over;
        // ORDERING: the numbers only have to be about right; the flag keeps other threads from searching, and publishes nothing.
        let number = over.number.fetch_add(1, Ordering::Relaxed) + 1;
        if number < BEARABLE.max(over.others.load(Ordering::Relaxed))
            || over.is_looked_for.swap(true, Ordering::Relaxed)
        {
            return;
        }
        over.number.store(0, Ordering::Relaxed);
        let mut found = Vec::new();
        self.idle.begin_search();
        over.others.store(self.queues.sweep(&mut found), Ordering::Relaxed);
        over.is_looked_for.store(false, Ordering::Relaxed);
        if self.idle.end_search() && self.queues.has_any_work() {
            self.call(1);
        }
        self.note_tombstones_found(found.len());
        found.into_iter().for_each(release_task);
    }

    /// The entry of a task that is over was taken out of the queue.
    #[inline]
    pub(in crate::thread) fn unmark_cancelled(&self) {
        if let Some(capacity) = &self.capacity {
            capacity.unmark_cancelled();
        }
    }
}
