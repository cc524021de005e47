//! What the handles, the threads and the tasks of a rayon executor share: its queue, and who comes for what is in it.

use std::{
    cell::Cell as StdCell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::bottom;
use crate::{
    future::{
        BlockingGuard, Cell, Owner, PoolContext, State as TaskState, TaskRef, current_pool, end_if_elsewhere,
        enter_pool, is_elsewhere,
    },
    shutdown::{Shutdown, ShutdownReport},
    sync::sleep_until,
};

pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) max_workers: usize,
    pub(super) stack_size: Option<usize>,
    pub(super) state: Mutex<State>,
    pub(super) at_rest: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    /// Tasks that were submitted and have not been picked up, cancelled, or run in place; to cancel them by, and for stand-ins.
    pub(super) queue: BTreeMap<u64, TaskRef>,
    /// Threads that have picked up a task and are not back. Changed together with `queue`.
    pub(super) busy: usize,
    /// Threads of this pool, stand-ins included, that wait for something.
    pub(super) blocked: usize,
    /// Those of them that are in the middle of a job that is none of our tasks.
    pub(super) blocked_elsewhere: usize,
    /// Threads that stand in for those that wait. There are no more than these, but for those that are about to notice it, and those
    /// that run what is left.
    pub(super) stand_ins: usize,
    pub(super) next: u64,
    pub(super) queued: usize,
    pub(super) running: usize,
    /// Jobs that rayon holds, tombstones included.
    pub(super) jobs: usize,
    /// Those of them that have not begun, each of which comes for a task.
    pub(super) coming: usize,
    /// Threads to which tasks have come within one of rayon's operations, since there was last none of these tasks.
    pub(super) within: BTreeSet<Option<usize>>,
    pub(super) shut_down: bool,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
}

impl State {
    /// No job is left, and no task is being ended by somebody else: by the one who has noticed that it waited for too long.
    pub(super) fn is_at_rest(&self) -> bool {
        self.jobs == 0 && self.queued == 0 && self.running == 0 && self.stand_ins == 0
    }

    /// Whether tasks wait in the queue that no thread is free for, because somebody blocks for whom nobody stands in, or that no
    /// thread comes for.
    pub(super) fn needs_stand_in(&self, max_workers: usize) -> bool {
        let free = (max_workers + self.stand_ins).saturating_sub(self.busy + self.blocked_elsewhere);
        self.stand_ins < self.blocked && self.queue.len() > free
            || self.stand_ins < self.blocked + self.within.len() && self.has_left()
    }

    /// Whether there are more tasks than jobs that come for them: one came to a thread where it could not begin.
    pub(super) fn has_left(&self) -> bool {
        self.queue.len() > self.coming
    }

    /// The first task, if one is left for whoever is there.
    pub(super) fn pick_left(&mut self) -> Option<TaskRef> {
        if !self.has_left() {
            self.within.clear();
            return None;
        }
        self.queue.pop_first().map(|(_, task)| task)
    }
}

/// Wakes those who wait for the end where the numbers were not changed to the end.
pub(super) struct TellsPanic<'a>(&'a Condvar);

impl Drop for TellsPanic<'_> {
    fn drop(&mut self) {
        self.0.notify_all();
    }
}

/// What rayon holds.
pub(super) enum Job {
    /// To come for a task.
    Come(Held, u64),
    /// To find out where the bottom of a thread's stack is.
    Measure(mpsc::Sender<()>),
}

impl bottom::Job for Job {
    fn run(self, is_at_bottom: bool) {
        match self {
            Self::Come(held, number) => held.0.come_for(number, is_at_bottom),
            Self::Measure(sender) => _ = sender.send(()),
        }
    }
}

/// Counts as a job that rayon holds, until it is dropped.
pub(super) struct Held(pub(super) Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.change(|state| state.jobs -= 1);
    }
}

thread_local! {
    /// Whether this thread runs one of our tasks.
    static IN_TASK: StdCell<bool> = const { StdCell::new(false) };
}

impl Shared {
    /// A rayon pool whose threads work for this one.
    pub(super) fn threads(
        self: &Arc<Self>,
        count: usize,
        name: &'static str,
    ) -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
        let host = Arc::clone(self);
        let builder = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(move |number| format!("{name}-{number}"))
            .start_handler(move |_| {
                bottom::mark();
                enter_pool(Arc::<Self>::clone(&host));
            });
        match self.stack_size {
            Some(bytes) => builder.stack_size(bytes).build(),
            None => builder.build(),
        }
    }

    /// What a job does: runs its task, and what is left of others. Where it is not `at the bottom` of its thread's stack, it leaves its
    /// own to a stand-in, unless there is no thread for one.
    pub(super) fn come_for(self: &Arc<Self>, number: u64, is_at_bottom: bool) {
        let is_at_bottom = is_at_bottom && !IN_TASK.get();
        let mut picked = {
            let mut state = self.lock();
            state.coming -= 1;
            if is_at_bottom {
                // Otherwise a stand-in has it, or it was cancelled.
                let picked = state.queue.remove(&number).or_else(|| state.pick_left());
                state.busy += usize::from(picked.is_some());
                picked
            } else {
                if state.has_left() {
                    state.within.insert(rayon::current_thread_index());
                }
                None
            }
        };
        if !is_at_bottom && !self.call_stand_in() {
            let mut state = self.lock();
            picked = state.queue.remove(&number).or_else(|| state.pick_left());
            state.busy += usize::from(picked.is_some());
        }
        while let Some(task) = picked {
            self.run(&task);
            drop(task);
            let mut state = self.lock();
            picked = if is_at_bottom { state.pick_left() } else { None };
            state.busy -= usize::from(picked.is_none());
        }
    }

    /// Runs a task that this thread has picked up, and that counts as one that keeps it busy.
    pub(super) fn run(&self, task: &TaskRef) {
        let outer = IN_TASK.replace(true);
        task.run();
        end_if_elsewhere(self.id);
        IN_TASK.set(outer);
    }

    /// Starts a thread that stands in for one that blocks, if it takes one. `false` if the system has none: then a later call may
    /// find one.
    pub(super) fn call_stand_in(self: &Arc<Self>) -> bool {
        {
            let mut state = self.lock();
            if !state.needs_stand_in(self.max_workers) {
                return true;
            }
            state.stand_ins += 1;
        }
        let shared = Arc::clone(self);
        // rayon ends the thread after the one job that it has, when the pool is dropped, which is at once.
        let started = self.threads(1, "executor-rayon-stand-in");
        let has_started = started.is_ok();
        match started {
            Ok(thread) => thread.spawn(move || shared.stand_in()),
            Err(_) => self.change(|state| state.stand_ins -= 1),
        }
        has_started
    }

    /// What a stand-in does: runs tasks until there are none, or nobody is left to stand in for.
    pub(super) fn stand_in(&self) {
        loop {
            let mut picked = None;
            self.change(|state| {
                picked = state.pick_left();
                if picked.is_none() && state.stand_ins <= state.blocked {
                    picked = state.queue.pop_first().map(|(_, task)| task);
                }
                match picked {
                    Some(_) => state.busy += 1,
                    // At once: who submits or blocks from now on does not count on this one.
                    None => state.stand_ins -= 1,
                }
            });
            let Some(task) = picked else { return };
            self.run(&task);
            drop(task);
            self.lock().busy -= 1;
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the numbers, and tells those who wait for the end when it has come, or when there is no telling any more.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let telling = TellsPanic(&self.at_rest);
        let mut state = self.lock();
        change(&mut state);
        let at_rest = state.is_at_rest();
        drop(state);
        std::mem::forget(telling);
        if at_rest {
            self.at_rest.notify_all();
        }
    }

    pub(super) fn shut_down(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        if is_elsewhere(self.id) {
            return ShutdownReport::default();
        }
        let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        let mut state = self.lock();
        state.shut_down = true;
        let mut report = ShutdownReport::default();
        if how != Shutdown::Drain {
            let queue = std::mem::take(&mut state.queue);
            drop(state);
            report.cancelled = queue.into_values().filter(TaskRef::cancel).count();
            state = self.lock();
        }
        // A worker that waits for its own end would wait for ever.
        if current_pool() != self.id {
            drop(state);
            // One of another pool has a stand-in there, for whom tasks of this one may be waiting.
            let here = BlockingGuard::begin();
            loop {
                let until = here.until(end);
                let state = self.lock();
                // Who has panicked with the lock, which nothing but a fault of this crate makes, may have left wrong numbers.
                if state.is_at_rest() || self.state.is_poisoned() || end.is_some_and(|end| end <= Instant::now()) {
                    break;
                }
                drop(sleep_until(&self.at_rest, state, until));
            }
            drop(here);
            state = self.lock();
        }
        report.running = state.running;
        report.queued = state.queued;
        report
    }
}

/// What a task knows: its pool, and its place in the queue.
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
}

impl Place {
    /// The task stands in the queue no longer, whatever has become of it.
    pub(super) fn leave(&self, change: impl FnOnce(&mut State)) {
        let mut task = None;
        self.shared.change(|state| {
            task = state.queue.remove(&self.number);
            state.queued -= 1;
            change(state);
        });
        // Not under the lock.
        drop(task);
    }
}

impl Owner for Place {
    fn pool_id(&self) -> u64 {
        self.shared.id
    }

    fn started(&self, _: &Cell) {
        self.leave(|state| state.running += 1);
    }

    fn ended(&self, _: &Cell, outcome: TaskState) {
        self.shared.change(|state| {
            state.running -= 1;
            if outcome == TaskState::Failed { state.failed += 1 } else { state.done += 1 }
        });
    }

    fn cancelled(&self, _: &Cell) {
        self.leave(|state| state.cancelled += 1);
    }
}

impl PoolContext for Shared {
    fn pool_id(&self) -> u64 {
        self.id
    }

    fn begin_wait(self: Arc<Self>) -> bool {
        {
            let mut state = self.lock();
            state.blocked += 1;
            state.blocked_elsewhere += usize::from(!IN_TASK.get());
        }
        self.call_stand_in()
    }

    fn start_stand_ins(self: Arc<Self>) {
        self.call_stand_in();
    }

    fn end_wait(&self) {
        let mut state = self.lock();
        state.blocked -= 1;
        state.blocked_elsewhere -= usize::from(!IN_TASK.get());
    }
}
