//! How a pool's threads start and live, and what happens when an initializer fails.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread,
};

use super::Pool;
use crate::{
    error::{Cause, TaskError},
    future::{end_if_elsewhere, enter_pool, leave_pool},
    panic,
    thread::{
        state,
        threads::{LIFE, Thread, WorkerSlot},
        worker::Worker,
    },
};

impl Pool {
    /// Starts workers, which count as awake and searching already.
    #[cold]
    pub(super) fn start(self: &Arc<Self>, workers: usize) {
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
                Err(error) => {
                    threads.slots.extend(take(&offered));
                    // ORDERING: a hint for blocked workers; a missed value is read again at the next look.
                    self.is_short.store(true, Ordering::Relaxed);
                    // Under the lock: a worker that leaves after this look sees that no thread was started in its place.
                    let alone = threads.live == 0;
                    (started..workers).for_each(|_| self.idle.note_failed_start());
                    drop(threads);
                    // Tasks that were announced until now count on this call. They wait for a worker that exists; without any, no
                    // thread would run them. The next submit tries again: the system may have threads then.
                    if alone {
                        let cause = Cause::new(format!("failed to start a thread: {error}"));
                        self.fail_all(&TaskError::NoWorker { cause });
                    }
                    self.ended.notify_all();
                    return;
                }
            }
        }
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
