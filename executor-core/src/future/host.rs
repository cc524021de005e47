//! What a pool's worker thread knows about itself, so that a task may wait for its own pool's tasks.
//!
//! A task that waits for a task of its own pool which nobody has started runs it in place. Where it has to block all the
//! same, its pool is told, and may let another worker stand in for it.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A pool, as its own workers see it.
pub(crate) trait Host: Send + Sync {
    fn pool_id(&self) -> u64;

    /// A worker is about to block. `true` when another one stands in for it meanwhile.
    fn begin_wait(self: Arc<Self>) -> bool;

    fn end_wait(&self);

    /// A worker is about to run foreign code after the end of its task: a waker. What it says is told to
    /// [`end_foreign`](Self::end_foreign).
    fn begin_foreign(&self) -> bool {
        false
    }

    fn end_foreign(&self, _: bool) {}
}

thread_local! {
    static HOST: RefCell<Option<Arc<dyn Host>>> = const { RefCell::new(None) };
    /// The host's number, or 0: what every wait asks for first.
    static POOL: Cell<u64> = const { Cell::new(0) };
}

/// A number for a new pool.
pub(crate) fn new_pool_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // ORDERING: only uniqueness matters.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Makes this thread a worker of `host` until it ends.
pub(crate) fn enter_pool(host: Arc<dyn Host>) {
    POOL.set(host.pool_id());
    HOST.with_borrow_mut(|current| *current = Some(host));
}

/// The pool that this thread works for; 0 for none.
#[inline]
pub(crate) fn current_pool() -> u64 {
    POOL.get()
}

/// Whether this thread may run tasks of `pool` while it waits for them.
#[inline]
pub(crate) fn may_run_here(pool: u64) -> bool {
    pool != 0 && pool == current_pool()
}

/// Stands for a worker that blocks; the pool hears of its end when this is dropped.
pub(crate) struct WaitingHere {
    host: Option<Arc<dyn Host>>,
    /// Whether the pool can do its work while this thread blocks.
    pub(crate) compensated: bool,
}

impl WaitingHere {
    pub(crate) fn begin() -> Self {
        // A destructor of a thread-local may wait when the host is gone already.
        let host = HOST.try_with(|host| host.borrow().clone()).ok().flatten();
        let compensated = host.clone().is_none_or(|host| host.begin_wait());
        Self { host, compensated }
    }
}

impl Drop for WaitingHere {
    fn drop(&mut self) {
        if let Some(host) = &self.host {
            host.end_wait();
        }
    }
}

/// Runs foreign code in the middle of this crate's: if this thread is a worker, its pool does not count on it meanwhile.
pub(super) fn run_foreign(code: impl FnOnce()) {
    let host = (current_pool() != 0).then(|| HOST.try_with(|host| host.borrow().clone()).ok().flatten()).flatten();
    let counted = host.as_ref().is_some_and(|host| host.begin_foreign());
    crate::panic::contain(code);
    if let Some(host) = host {
        host.end_foreign(counted);
    }
}
