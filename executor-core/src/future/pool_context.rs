//! What a pool's worker thread knows about itself, so that a task may wait for its own pool's tasks.
//!
//! A task that waits for an unstarted task of its own pool runs it in place. If it has to block all the same, its pool is told,
//! and may let another worker stand in for it.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::shortage;
use crate::sys;

/// A pool, as its own workers see it.
pub(crate) trait PoolContext: Send + Sync {
    fn pool_id(&self) -> u64;

    /// A worker is about to block. Returns `true` when another worker stands in for it meanwhile.
    fn begin_wait(self: Arc<Self>) -> bool;

    fn end_wait(&self);

    /// A worker blocks and its wait does not end: if the pool has failed to start a stand-in for it, the pool tries again.
    fn start_stand_ins(self: Arc<Self>) {}

    /// A worker is about to run the user's code after the end of its task: a waker. The return value is passed to
    /// [`end_user_code`](Self::end_user_code).
    fn begin_user_code(&self) -> bool {
        false
    }

    fn end_user_code(&self, _: bool) {}
}

thread_local! {
    static HOST: RefCell<Option<Arc<dyn PoolContext>>> = const { RefCell::new(None) };
    /// The host's number, or 0. Every wait asks for it first.
    static POOL: Cell<u64> = const { Cell::new(0) };
}

/// The number of bits that count pools; the bits above say in which process the pool was built.
const COUNTED: u32 = 40;

/// A number for a new pool. It stands for a pool of this process, and of no forked copy of it ([`is_elsewhere`]).
pub(crate) fn new_pool_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // ORDERING: only uniqueness matters.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    sys::generation() << COUNTED | number & ((1 << COUNTED) - 1)
}

/// Whether the pool was built by a process of which this one is a forked copy: no thread of this process works for it, and none
/// of its state may be touched. Never true for a promise.
#[inline]
pub(crate) fn is_elsewhere(pool: u64) -> bool {
    let built = pool >> COUNTED;
    built != 0 && built != sys::generation() & (u64::MAX >> COUNTED)
}

/// Ends this process if it is a forked copy that the user's code has made on a thread that works for this pool.
#[inline]
pub(crate) fn end_if_elsewhere(pool: u64) {
    if is_elsewhere(pool) {
        sys::end_copy();
    }
}

/// The pool that this thread works for, while it exists and can be told of a wait.
fn current_context() -> Option<Arc<dyn PoolContext>> {
    if is_elsewhere(current_pool()) {
        return None;
    }
    // A destructor of a thread-local may make this call when the host is gone already.
    HOST.try_with(|host| host.borrow().clone()).ok().flatten()
}

/// Makes this thread a worker of `host` until it ends.
pub(crate) fn enter_pool(host: Arc<dyn PoolContext>) {
    POOL.set(host.pool_id());
    HOST.with_borrow_mut(|current| *current = Some(host));
}

/// Lets go of the host, of which this thread may be the last holder. Dropping it runs the user's code, which would abort the
/// program if it panicked among the destructors of thread-locals. This thread still counts as one of its pool.
pub(crate) fn leave_pool() {
    let host = HOST.with_borrow_mut(Option::take);
    drop(host);
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

/// Stands for a worker that blocks; the pool is told of the wait's end when this is dropped.
pub(crate) struct BlockingGuard {
    host: Option<Arc<dyn PoolContext>>,
    /// Whether the pool can do its work while this thread blocks.
    compensated: bool,
}

impl BlockingGuard {
    pub(crate) fn begin() -> Self {
        let host = current_context();
        let compensated = host.clone().is_none_or(|host| host.begin_wait());
        Self { host, compensated }
    }

    /// Like [`begin`](Self::begin), for a caller that can `run` the task that it waits for. The task is run if this worker would
    /// block without a stand-in, because the task may need this worker. It runs outside of the wait: it may wait as well, and each
    /// worker counts once.
    pub(crate) fn begin_or_run(run: impl FnOnce()) -> Self {
        let here = Self::begin();
        if here.compensated {
            return here;
        }
        drop(here);
        run();
        Self::begin()
    }
}

/// A blocked worker looks after its pool once in this time; and any thread, for threads that are missing.
const STAND_IN_INTERVAL: Duration = Duration::from_millis(200);

impl BlockingGuard {
    /// The time until which to sleep at most; to be called before each sleep. If this thread is a worker, and there was no thread
    /// to stand in for it, its pool tries again. Nor are other threads forgotten that could not be started.
    pub(crate) fn until(&self, deadline: Option<Instant>) -> Option<Instant> {
        let is_short = shortage::try_again();
        match self.host.clone() {
            Some(host) => host.start_stand_ins(),
            None if is_short => {}
            None => return deadline,
        }
        let again = Instant::now().checked_add(STAND_IN_INTERVAL);
        deadline.into_iter().chain(again).min()
    }
}

impl Drop for BlockingGuard {
    fn drop(&mut self) {
        if let Some(host) = &self.host {
            host.end_wait();
        }
    }
}

/// Runs the user's code in the middle of this crate's: if this thread is a worker, its pool does not count on it meanwhile.
pub(super) fn run_user_code(code: impl FnOnce()) {
    let host = (current_pool() != 0).then(current_context).flatten();
    let counted = host.as_ref().is_some_and(|host| host.begin_user_code());
    crate::panic::contain(code);
    if let Some(host) = host {
        host.end_user_code(counted);
    }
}
