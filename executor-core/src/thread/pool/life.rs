//! How a pool's threads start and live, and what happens when an initializer fails.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering},
    thread,
};

use super::{POOLS, Pool};
use crate::{
    error::{Cause, TaskError},
    future::{end_if_elsewhere, enter_pool, leave_pool, note_shortage},
    panic,
    thread::{
        state,
        threads::{LIFE, Thread, WorkerSlot},
        worker::Worker,
    },
};

/// The system has no thread for a worker.
struct Refused {
    cause: io::Error,
    /// Whether the pool has no worker at all.
    is_alone: bool,
}

/// Starts workers of all pools, for tasks that wait for them.
fn start_missing() {
    // Not under the lock of the list: the last reference to a pool takes the pool out of it.
    let all = || -> Vec<_> {
        let pools = POOLS.get().read().unwrap_or_else(PoisonError::into_inner);
        pools.values().filter_map(Weak::upgrade).collect()
    };
    all().iter().for_each(Pool::start_missing);
}

impl Pool {
    /// Starts workers, which count as awake and searching already.
    #[cold]
    pub(super) fn start(self: &Arc<Self>, workers: usize) {
        let Err(Refused { cause, is_alone }) = self.try_to_start(workers) else { return };
        // Tasks that were announced until now count on this call. They wait for a worker that exists, which may have fallen asleep
        // because of this call, and for threads that try again; without any worker, no thread would run them. The next submit tries
        // again: the system may have threads then.
        if is_alone {
            let cause = Cause::new(format!("failed to start a thread: {cause}"));
            self.fail_all(&TaskError::NoWorker { cause });
        } else {
            note_shortage(start_missing);
            if self.idle.sleeping() > 0 && self.queues.has_any_work() {
                self.call(1);
            }
        }
        self.ended.notify_all();
    }

    /// Starts a worker if the pool has tasks for which none could be started before. Ends no task, because that would run the user's
    /// code: a pool that has lost its last worker meanwhile keeps its tasks until the next attempt.
    fn start_missing(self: &Arc<Self>) {
        // ORDERING: a hint; a missed value is read again at the next attempt.
        if !self.is_short.load(Ordering::Relaxed) || !self.queues.has_any_work() {
            return;
        }
        let start = self.idle.wake_for(1);
        if start == 0 || self.try_to_start(start).is_ok() {
            return;
        }
        note_shortage(start_missing);
        // A worker may have fallen asleep because of this attempt.
        if self.idle.sleeping() > 0 && self.queues.has_any_work() {
            (0..self.idle.wake_for(1)).for_each(|_| self.idle.note_failed_start());
        }
        self.ended.notify_all();
    }

    /// Starts workers, or as many as the system has threads for; the others do not count any more.
    fn try_to_start(self: &Arc<Self>, workers: usize) -> Result<(), Refused> {
        for started in 0..workers {
            let mut threads = self.threads();
            let number = threads.next;
            threads.next += 1;
            threads.handles.retain(|_, thread| !thread.is_gone());
            let slot = threads.slots.pop().unwrap_or_else(|| {
                let slot = WorkerSlot::new(&self.queues);
                threads.members.push(Arc::clone(&slot.member));
                slot
            });
            let mut builder = thread::Builder::new().name(format!("{}-{number}", self.config.name_prefix));
            if let Some(bytes) = self.config.stack_size {
                builder = builder.stack_size(bytes);
            }
            // The thread takes its slot from here, where the slot stays if the thread cannot be started.
            let offered = Arc::new(Mutex::new(Some(slot)));
            let (pool, taken) = (Arc::clone(self), Arc::clone(&offered));
            let take = |offer: &Mutex<Option<WorkerSlot>>| offer.lock().unwrap_or_else(PoisonError::into_inner).take();
            let life = Arc::new(());
            let life_there = Arc::clone(&life);
            let serve = move || {
                // Before all other thread-locals, because those that were set first are destroyed last.
                LIFE.set(Some(life_there));
                pool.serve(take(&taken));
            };
            match builder.spawn(serve) {
                Ok(handle) => {
                    threads.live += 1;
                    threads.handles.insert(number, Thread { handle, life });
                    // ORDERING: a hint; a missed value is read again at the next look.
                    self.is_short.store(false, Ordering::Relaxed);
                }
                Err(cause) => {
                    threads.slots.extend(take(&offered));
                    // ORDERING: a hint for blocked workers; a missed value is read again at the next look.
                    self.is_short.store(true, Ordering::Relaxed);
                    // Under the lock: a worker that leaves after this look sees that no thread was started in its place.
                    let is_alone = threads.live == 0;
                    (started..workers).for_each(|_| self.idle.note_failed_start());
                    return Err(Refused { cause, is_alone });
                }
            }
        }
        Ok(())
    }

    /// The life of a worker's thread.
    pub(super) fn serve(self: Arc<Self>, slot: Option<WorkerSlot>) {
        enter_pool(Arc::<Self>::clone(&self));
        // The system may have had no thread for time limits until now.
        crate::future::deadline::ensure_served();
        let begin = || {
            self.observe(|observer| observer.worker_started());
            let prepare = || {
                if let Some(initializer) = &self.config.initializer {
                    initializer()?;
                }
                if let Some(make) = &self.config.state {
                    state::keep(make());
                }
                Ok(())
            };
            let prepared = panic::catch(prepare).unwrap_or_else(|error| Err(Cause::new(error)));
            end_if_elsewhere(self.id);
            if let Err(cause) = prepared {
                self.break_with(TaskError::InitializerFailed { cause });
            }
        };
        let slot = slot.map(|slot| Worker::serve(Arc::clone(&self), slot, begin));
        if let Some(hook) = &self.config.exit_hook {
            panic::contain(|| hook());
            end_if_elsewhere(self.id);
        }
        panic::contain(state::drop_it);
        end_if_elsewhere(self.id);
        self.observe(|observer| observer.worker_ended());
        let mut threads = self.threads();
        threads.slots.extend(slot);
        threads.live -= 1;
        let was_last = threads.live == 0;
        drop(threads);
        // Another thread has failed to start a worker, and counted on this one.
        if was_last && self.idle.awake() == 0 && self.queues.has_any_work() {
            self.call(1);
        }
        self.ended.notify_all();
        // If a task of the pool has dropped the pool's handle, this thread may be its last holder.
        leave_pool();
        drop(self);
    }

    /// The initializer failed: the pool runs no more tasks.
    pub(super) fn break_with(&self, error: TaskError) {
        self.broken.get_or_init(|| error);
        self.idle.break_off();
        self.fail_queued();
        if let Some(capacity) = &self.capacity {
            capacity.close();
        }
    }

    pub(super) fn fail_queued(&self) {
        if let Some(error) = self.broken() {
            self.fail_all(&error);
        }
    }

    pub(super) fn fail_all(&self, error: &TaskError) {
        for task in self.queues.drain() {
            let has_failed = task.fail(error.clone());
            if self.is_elsewhere() {
                // An observer or a destructor has forked on a thread of the user's, and this is the copy.
                return;
            }
            if !has_failed {
                self.note_tombstones_found(1);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::{atomic::AtomicUsize, mpsc},
        time::Duration,
    };

    use super::*;
    use crate::{
        Executor, ThreadPoolExecutor,
        future::{InProcess, TaskFuture},
        task::TaskOptions,
        thread::membership::PoolOf,
    };

    const LONG: Duration = Duration::from_secs(60);

    fn push<R: Send + 'static>(pool: &Arc<Pool>, work: impl FnOnce() -> R + Send + 'static) -> TaskFuture<R> {
        let (task, future) = InProcess::task(PoolOf(pool.id), &TaskOptions::new(), work, |_| ());
        assert!(pool.push(task, 0, future.cell()));
        future
    }

    /// As if another thread had been about to start a second worker while this one ran a task and fell asleep, so that a task that
    /// was queued then is left to the second worker. That one is to be started by the caller.
    fn leave_to_a_second_worker(pool: &Arc<Pool>) -> TaskFuture<u32> {
        let ((runs, running), (release, held)) = (mpsc::channel(), mpsc::channel());
        let first = push(pool, move || runs.send(()).is_ok() && held.recv_timeout(LONG).is_ok());
        assert!(running.recv_timeout(LONG).is_ok(), "the first task runs");
        assert_eq!(pool.idle.wake_for(1), 1);
        assert!(release.send(()).is_ok(), "it waits for this");
        assert_eq!(first.result_timeout(LONG).ok(), Some(Ok(true)));
        while pool.idle.sleeping() == 0 {
            thread::yield_now();
        }
        let left = push(pool, || 7);
        assert_eq!(pool.idle.sleeping(), 1);
        left
    }

    #[test]
    fn a_worker_that_fell_asleep_comes_for_what_was_left_to_a_thread_that_cannot_be_started() {
        // No thread has such a stack.
        let builder = ThreadPoolExecutor::builder().max_workers(2).stack_size(1 << 46).idle_timeout(None);
        let executor = builder.build().unwrap();
        let pool = executor.handle().pool();
        // The only worker has a thread of the test's.
        assert_eq!(pool.idle.wake_for(1), 1);
        let slot = {
            let mut threads = pool.threads();
            threads.live += 1;
            let slot = WorkerSlot::new(&pool.queues);
            threads.members.push(Arc::clone(&slot.member));
            slot
        };
        let serving = Arc::clone(pool);
        let worker = thread::spawn(move || serving.serve(Some(slot)));
        let left = leave_to_a_second_worker(pool);
        pool.start(1);
        assert_eq!(left.result_timeout(LONG).ok(), Some(Ok(7)));
        drop(executor);
        worker.join().unwrap();
    }

    #[test]
    fn a_worker_that_fell_asleep_comes_for_what_was_left_to_one_that_begins() {
        let (release, held) = mpsc::channel::<()>();
        let (held, begun) = (Mutex::new(held), AtomicUsize::new(0));
        let second_waits = move || {
            if begun.fetch_add(1, Ordering::SeqCst) == 1 {
                let _ = held.lock().unwrap().recv();
            }
        };
        let builder = ThreadPoolExecutor::builder().max_workers(2).initializer(second_waits).idle_timeout(None);
        let executor = builder.build().unwrap();
        let pool = executor.handle().pool();
        let left = leave_to_a_second_worker(pool);
        pool.start(1);
        let outcome = left.result_timeout(LONG).ok();
        drop(release);
        assert_eq!(outcome, Some(Ok(7)));
    }
}
