//! One future in each state, made with promises alone.

use executor_core::{Promise, TaskError, TaskFuture};

pub(crate) struct States {
    pub(crate) pending: TaskFuture<u64>,
    pub(crate) running: TaskFuture<u64>,
    pub(crate) cancelled: TaskFuture<u64>,
    pub(crate) failed: TaskFuture<u64>,
    pub(crate) finished: TaskFuture<u64>,
    /// A promise that is dropped resolves its future.
    pub(crate) promises: Vec<Promise<u64>>,
}

/// What the failed future fails with.
pub(crate) const FAILURE: TaskError = TaskError::MemoryLimit;

/// What the finished one holds.
pub(crate) const VALUE: u64 = 42;

impl States {
    pub(crate) fn new() -> Self {
        let mut promises = Vec::new();
        let mut make = |prepare: &dyn Fn(&Promise<u64>, &TaskFuture<u64>)| {
            let (promise, future) = Promise::new();
            prepare(&promise, &future);
            promises.push(promise);
            future
        };
        Self {
            pending: make(&|_, _| ()),
            running: make(&|promise, _| assert!(promise.set_running_or_cancelled())),
            cancelled: make(&|_, future| assert!(future.cancel())),
            failed: make(&|promise, _| promise.set_error(FAILURE).unwrap()),
            finished: make(&|promise, _| promise.set_result(VALUE).unwrap()),
            promises,
        }
    }

    /// All five, in the order of their fields.
    pub(crate) fn all(&self) -> [&TaskFuture<u64>; 5] {
        [&self.pending, &self.running, &self.cancelled, &self.failed, &self.finished]
    }
}
