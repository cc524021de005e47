//! Room in a bounded queue: a submit takes a place, and a task that starts or is cancelled gives it back. But of tasks that end
//! while they are queued only a limited number does so at once. The entries of further ones keep their places until a thread takes
//! them out of the queue; otherwise the queue, and what it keeps alive, would grow without bound.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicIsize, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::{error::SubmitError, future::BlockingGuard, sync::sleep_until, task::TaskOptions};

/// The number of tombstones that keep no places in the smallest queue.
const MOST_TOMBSTONES: isize = 64;

pub(super) struct Capacity {
    capacity: usize,
    used: AtomicUsize,
    /// Entries in the queue that are tombstones. Less than zero for a moment if one is taken out before it is counted.
    tombstones: AtomicIsize,
    /// Tombstones above this number keep their places.
    most_tombstones: isize,
    /// Threads that wait for a place, or are about to.
    waiting: AtomicUsize,
    gate: Mutex<()>,
    changed: Condvar,
}

impl Capacity {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            used: AtomicUsize::new(0),
            tombstones: AtomicIsize::new(0),
            most_tombstones: isize::try_from(capacity).unwrap_or(isize::MAX).max(MOST_TOMBSTONES),
            waiting: AtomicUsize::new(0),
            gate: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> bool {
        let more = |used| (used < self.capacity).then_some(used + 1);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Takes a place, and waits for one if the options say so.
    pub(super) fn acquire(&self, options: &TaskOptions, is_closed: impl Fn() -> bool) -> Result<(), SubmitError> {
        if self.take() {
            return Ok(());
        }
        if options.refuse_when_full {
            return Err(SubmitError::Full);
        }
        // A task that submits to its own full pool would wait for itself otherwise.
        let here = BlockingGuard::begin();
        let deadline = options.space_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // Either `leave` sees this, or `take` below sees the place that `leave` gave back: both are SeqCst.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.lock();
        let outcome = loop {
            if is_closed() {
                break Err(SubmitError::ShutDown);
            }
            if self.take() {
                break Ok(());
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                break Err(SubmitError::Full);
            }
            gate = sleep_until(&self.changed, gate, here.until(deadline));
        };
        drop(gate);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.used.load(Ordering::SeqCst) < self.capacity {
            // The notification that woke this thread may have been meant for another thread.
            self.pass_on();
        }
        drop(here);
        outcome
    }

    /// Takes a place even if there is none.
    pub(super) fn force(&self) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn release(&self) {
        self.used.fetch_sub(1, Ordering::SeqCst);
        self.pass_on();
    }

    /// A task is over, and its entry is still in the queue.
    pub(super) fn mark_cancelled(&self) {
        if self.tombstones.fetch_add(1, Ordering::SeqCst) < self.most_tombstones {
            self.release();
        }
    }

    /// The entry of a task that is over was taken out of the queue.
    pub(super) fn unmark_cancelled(&self) {
        if self.tombstones.fetch_sub(1, Ordering::SeqCst) > self.most_tombstones {
            self.release();
        }
    }

    fn pass_on(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Under the lock, so that no waiting thread is between its look and its sleep.
            drop(self.lock());
            self.changed.notify_one();
        }
    }

    /// The pool was closed: every waiting thread looks again.
    pub(super) fn close(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }
}
