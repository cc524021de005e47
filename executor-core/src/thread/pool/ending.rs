//! How a pool becomes smaller, and how it ends.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::Pool;
use crate::{
    future::{BlockingGuard, current_pool},
    shutdown::{Shutdown, ShutdownReport},
    sync::sleep_until,
    thread::threads::{Thread, Threads},
};

impl Pool {
    pub(in crate::thread) fn resize(self: &Arc<Self>, workers: usize) {
        if self.is_elsewhere() {
            return;
        }
        self.idle.set_limit(workers);
        // No more than are of use: threads start here, one after the other.
        let queued = self.queues.len();
        if queued > 0 {
            self.call(queued.min(workers));
        }
        // Surplus workers notice, and leave.
        self.idle.wake_all();
    }

    pub(in crate::thread) fn shut_down(self: &Arc<Self>, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        if self.is_elsewhere() {
            return ShutdownReport::default();
        }
        let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        self.idle.shut();
        let mut report = ShutdownReport::default();
        if how != Shutdown::Drain {
            // ORDERING: Relaxed: no thread reads other memory because of the flag; see `run`.
            self.cancels_queued.store(true, Ordering::Relaxed);
            let queue = self.queues.drain();
            report.cancelled = queue.iter().filter(|task| task.cancel()).count();
            if self.is_elsewhere() {
                // An observer or a destructor has forked, and this is the copy: there are no workers to wait for.
                return ShutdownReport::default();
            }
            self.note_tombstones_found(queue.len());
            drop(queue);
            if how == Shutdown::Kill {
                self.token.cancel();
            }
        }
        self.idle.wake_all();
        if let Some(capacity) = &self.capacity {
            capacity.close();
        }
        // A worker that waits for the end of its own pool would wait for ever.
        if current_pool() != self.id {
            // A worker of another pool has a stand-in there, and tasks of this pool may be waiting for that stand-in.
            let here = BlockingGuard::begin();
            loop {
                // Before the lock: starting stand-ins takes the same lock of another pool, whose shutdown may wait for this pool's.
                let until = here.until(end);
                let mut threads = self.threads();
                // A submit that came before `shut` may not have called a worker yet: its task is seen here.
                if threads.live == 0 && self.idle.awake() == 0 {
                    if self.queues.has_any_work() {
                        drop(threads);
                        self.call(1);
                        continue;
                    }
                    if !threads.handles.is_empty() {
                        let leaving = Leaving::take(self, &mut threads);
                        drop(threads);
                        leaving.join(end.is_some());
                        continue;
                    }
                    if threads.joining == 0 {
                        break;
                    }
                }
                if end.is_some_and(|end| end <= Instant::now()) {
                    break;
                }
                drop(sleep_until(&self.ended, threads, until));
            }
        }
        // ORDERING: the lock of `threads` orders the count of a worker that has ended before this.
        report.cancelled += self.cancelled_late.swap(0, Ordering::Relaxed);
        let stats = self.stats();
        report.running = stats.running;
        report.queued = stats.queued;
        report
    }
}

/// Threads that have left the pool; joining them waits for the destructors of their thread-locals. When this is dropped, all
/// threads that wait for the shutdown are woken.
struct Leaving {
    pool: Arc<Pool>,
    handles: HashMap<u64, Thread>,
    number: usize,
}

impl Leaving {
    fn take(pool: &Arc<Pool>, threads: &mut Threads) -> Self {
        let handles = std::mem::take(&mut threads.handles);
        let number = handles.len();
        threads.joining += number;
        Self { pool: Arc::clone(pool), handles, number }
    }

    /// Joins the threads; `elsewhere` if the caller has a deadline, because a join has none. If no thread can be started for that,
    /// the threads are not joined.
    fn join(mut self, elsewhere: bool) {
        if elsewhere {
            let _ = thread::Builder::new().name("executor-join".to_owned()).spawn(move || self.join(false));
            return;
        }
        for (_, thread) in self.handles.drain() {
            let _ = thread.handle.join();
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.pool.threads().joining -= self.number;
        self.pool.ended.notify_all();
    }
}
