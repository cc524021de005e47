//! A worker as other threads see it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::sleep::Sleeper;

/// The counts of one worker. Only its thread writes them; aligned so that no two workers write to the same cache lines.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Counters {
    pub(super) started: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Entries in a queue whose task is run elsewhere: those that this worker has made, and those that it has found.
    pub(super) tombstones_made: AtomicU64,
    pub(super) tombstones_found: AtomicU64,
}

/// Adds one, on the only thread that writes.
#[inline]
pub(super) fn count(counter: &AtomicU64) {
    // ORDERING: Release, so that a thread that sees an end counted sees its start counted. No other thread writes.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
}

/// How many tasks a worker has put into its deque. Other workers read this more often than it changes, so it shares no cache line
/// with counts that change with each task.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Pushed(pub(super) AtomicU64);

/// A worker as other threads see it.
pub(super) struct WorkerShared {
    pub(super) counters: Counters,
    pub(super) pushed: Pushed,
    pub(super) sleeper: Arc<Sleeper>,
}

impl WorkerShared {
    pub(super) fn new() -> Self {
        Self { counters: Counters::default(), pushed: Pushed::default(), sleeper: Arc::new(Sleeper::new()) }
    }
}
