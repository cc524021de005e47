//! How a task tells its pool about its start and its end. A task's place in a bounded queue is free before the observer is told, which
//! may submit the next task, and wait for room.

use std::sync::atomic::Ordering;

use super::{pool::Pool, worker::with_worker_of, worker_shared::count};
use crate::{
    future::{Cell, Owner, State as TaskState, TaskRef},
    stats::TaskEnd,
    sys,
};

fn end_of(state: TaskState) -> TaskEnd {
    if state == TaskState::Failed { TaskEnd::Failed } else { TaskEnd::Done }
}

/// A task knows its pool by this number.
pub(super) struct PoolOf(pub(super) u64);

impl Owner for PoolOf {
    #[inline]
    fn pool_id(&self) -> u64 {
        self.0
    }

    #[inline]
    fn started(&self, cell: &Cell) {
        with_worker_of(self.0, |worker| match worker {
            Some(worker) => {
                count(&worker.counters().started);
                // First, because a task that the observer runs in place runs within this one.
                worker.begins();
                worker.pool.observe(|observer| observer.task_started(cell.id()));
            }
            // Run in place of a wait in a worker's exit hook.
            None => {
                if let Some(pool) = Pool::find(self.0) {
                    // ORDERING: Release pairs with the Acquire in `stats`.
                    pool.outside.started.fetch_add(1, Ordering::Release);
                    pool.mark_cancelled();
                    pool.observe(|observer| observer.task_started(cell.id()));
                }
            }
        });
    }

    #[inline]
    fn ended(&self, cell: &Cell, state: TaskState) {
        with_worker_of(self.0, |worker| match worker {
            Some(worker) => {
                let counters = worker.counters();
                count(if state == TaskState::Failed { &counters.failed } else { &counters.done });
                worker.pool.observe(|observer| observer.task_ended(cell.id(), end_of(state)));
                worker.ends();
            }
            None => {
                if let Some(pool) = Pool::find(self.0) {
                    let outside = &pool.outside;
                    let ended = if state == TaskState::Failed { &outside.failed } else { &outside.done };
                    // ORDERING: Release pairs with the Acquire in `stats`.
                    ended.fetch_add(1, Ordering::Release);
                    pool.observe(|observer| observer.task_ended(cell.id(), end_of(state)));
                }
            }
        });
    }

    fn failed(&self, cell: &Cell) {
        if let Some(pool) = Pool::find(self.0) {
            // ORDERING: Release pairs with the Acquire in `stats`.
            pool.outside.refused.fetch_add(1, Ordering::Release);
            pool.release_capacity();
            pool.observe(|observer| observer.task_ended(cell.id(), TaskEnd::Failed));
        }
    }

    fn cancelled(&self, cell: &Cell) {
        if let Some(pool) = Pool::find(self.0) {
            // ORDERING: Release pairs with the Acquire in `stats`.
            pool.outside.cancelled.fetch_add(1, Ordering::Release);
            pool.mark_queued_cancelled();
            pool.observe(|observer| observer.task_ended(cell.id(), TaskEnd::Cancelled));
        }
    }

    fn expired(&self, cell: &Cell) {
        if let Some(pool) = Pool::find(self.0) {
            // ORDERING: Release pairs with the Acquire in `stats`.
            pool.outside.expired.fetch_add(1, Ordering::Release);
            pool.mark_queued_cancelled();
            pool.observe(|observer| observer.task_ended(cell.id(), TaskEnd::Expired));
        }
    }

    fn needs_all_cores(&self) -> bool {
        let cores = sys::available_cpus();
        // With more workers, a thread that looks takes little time from each of them, and would wait for all of them.
        Pool::find(self.0).is_some_and(|pool| (cores..=2 * cores).contains(&pool.idle.awake()))
    }

    fn is_observed(&self) -> bool {
        Pool::find(self.0).is_some_and(|pool| pool.config.observer.is_some())
    }

    #[inline]
    fn take_back(&self, cell: &Cell) -> Option<TaskRef> {
        with_worker_of(self.0, |worker| worker?.take_back(cell))
    }
}
