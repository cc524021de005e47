//! The threads of a pool: how many there are, and which of them are left to be joined.

use std::{cell::Cell as StdCell, collections::HashMap, sync::Arc, thread::JoinHandle};

use crossbeam_deque::Worker as Deque;

use super::{queue::Queues, worker_shared::WorkerShared};
use crate::future::TaskRef;

/// What a worker leaves to the worker that comes after it.
pub(super) struct WorkerSlot {
    pub(super) deque: Deque<TaskRef>,
    pub(super) member: Arc<WorkerShared>,
}

impl WorkerSlot {
    pub(super) fn new(queues: &Queues) -> Self {
        let member = Arc::new(WorkerShared::new());
        Self { deque: queues.new_deque(&member), member }
    }
}

#[derive(Default)]
pub(super) struct Threads {
    /// Threads that exist.
    pub(super) live: usize,
    pub(super) handles: HashMap<u64, Thread>,
    /// Threads that have left the pool, and that a thread is joining.
    pub(super) joining: usize,
    pub(super) next: u64,
    /// The slots of workers that have left.
    pub(super) slots: Vec<WorkerSlot>,
    /// All workers that there ever were.
    pub(super) members: Vec<Arc<WorkerShared>>,
}

thread_local! {
    /// Held until the destructors of all other thread-locals have run.
    pub(super) static LIFE: StdCell<Option<Arc<()>>> = const { StdCell::new(None) };
}

/// A worker's thread, to be joined.
pub(super) struct Thread {
    pub(super) handle: JoinHandle<()>,
    pub(super) life: Arc<()>,
}

impl Thread {
    /// Whether the thread has ended, including the destructors of its thread-locals, which std's `is_finished` does not wait for.
    pub(super) fn is_gone(&self) -> bool {
        Arc::strong_count(&self.life) == 1
    }
}
