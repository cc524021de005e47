//! What the handles, the threads and the tasks of a rayon executor share: its queue, and which thread comes for a task in it.

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
    /// Tasks that were submitted and have not been picked up, cancelled, or run in place: for cancellation, and for stand-ins. A job
    /// that rayon holds will come for each of them.
    pub(super) queue: BTreeMap<u64, TaskRef>,
    /// Tasks whose job has come to a thread where they could not begin: no job will come for them.
    pub(super) left: BTreeMap<u64, TaskRef>,
    /// Threads of the pool, other than stand-ins, that run a task that they have picked up. Changed together with `queue`.
    pub(super) busy: usize,
    /// Stand-ins that run a task that they have picked up.
    pub(super) busy_stand_ins: usize,
    /// Threads of this pool, stand-ins included, that wait in a task.
    pub(super) blocked: usize,
    /// Those of them that are in the middle of a job that is no task of this executor.
    pub(super) blocked_elsewhere: usize,
    /// Threads that stand in for waiting ones. There are no more of them than waiting ones, except for stand-ins that are about to
    /// notice that, and those that run tasks that are left.
    pub(super) stand_ins: usize,
    pub(super) next: u64,
    pub(super) queued: usize,
    pub(super) running: usize,
    /// Jobs that rayon holds, tombstones included.
    pub(super) jobs: usize,
    /// Threads to which tasks have come within one of rayon's operations, since there last were no such tasks.
    pub(super) within: BTreeSet<Option<usize>>,
    pub(super) shut_down: bool,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
}

impl State {
    /// No job is left, and no task is being ended by the thread that has noticed that the task waited for too long.
    pub(super) fn is_at_rest(&self) -> bool {
        self.jobs == 0 && self.queued == 0 && self.running == 0 && self.stand_ins == 0
    }

    /// Whether a stand-in is to be started: for tasks for which no thread is free, because a thread blocks without a stand-in; or
    /// for tasks that are left. The latter have as many stand-ins as threads have left tasks, or as threads run no task, if those
    /// are more, because rayon does not wake them for these tasks.
    pub(super) fn needs_stand_in(&self, max_workers: usize) -> bool {
        let taken = self.busy + self.busy_stand_ins + self.blocked_elsewhere;
        let free = (max_workers + self.stand_ins).saturating_sub(taken);
        let for_left = self.within.len().max(max_workers.saturating_sub(self.busy));
        self.stand_ins < self.blocked && self.queue.len() + self.left.len() > free
            || self.stand_ins < self.blocked + for_left && !self.left.is_empty()
    }

    /// Counts one more stand-in, which is to be started then, if one is needed.
    pub(super) fn reserve_stand_in(&mut self, max_workers: usize) -> bool {
        let is_needed = self.needs_stand_in(max_workers);
        self.stand_ins += usize::from(is_needed);
        is_needed
    }

    /// Picks the first task that is left.
    pub(super) fn pick_left(&mut self) -> Option<TaskRef> {
        let first = self.left.pop_first();
        if first.is_none() {
            self.within.clear();
        }
        first.map(|(_, task)| task)
    }

    /// The task with this number, wherever it waits.
    pub(super) fn take(&mut self, number: u64) -> Option<TaskRef> {
        self.queue.remove(&number).or_else(|| self.left.remove(&number))
    }
}

/// Wakes the threads that wait for the end if a change of the numbers panics.
pub(super) struct TellsPanic<'a>(&'a Condvar);

impl Drop for TellsPanic<'_> {
    fn drop(&mut self) {
        self.0.notify_all();
    }
}

/// A job that rayon holds.
pub(super) enum Job {
    /// Comes for a task.
    Come(Held, u64),
    /// Finds out where the bottom of a thread's stack is.
    Measure(mpsc::Sender<()>),
}

impl bottom::Job for Job {
    fn run(self, is_at_bottom: bool) {
        match self {
            Self::Come(held, number) => held.come_for(number, is_at_bottom),
            Self::Measure(sender) => _ = sender.send(()),
        }
    }
}

/// Counts as a job that rayon holds, until it is dropped or done.
pub(super) struct Held {
    shared: Arc<Shared>,
    is_done: bool,
}

impl Held {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, is_done: false }
    }

    /// Does the work of a job: runs its task, and tasks that are left. A job that is not at the bottom of its thread's stack leaves
    /// its task to a stand-in, unless no thread can be started for one.
    fn come_for(mut self, number: u64, is_at_bottom: bool) {
        let Self { shared, is_done } = &mut self;
        if !is_at_bottom || IN_TASK.get() {
            // Once more after each task that is run here: another thread may have left one and counted on the stand-in that could
            // not be started.
            while let Some(task) = shared.leave_to_stand_in(number) {
                shared.run(&task);
                drop(task);
                shared.lock().busy -= 1;
            }
            return;
        }
        let mut picked = {
            let mut state = shared.lock();
            // If the task is not in the queue, a stand-in has it, or it was cancelled.
            let picked = state.queue.remove(&number).or_else(|| state.pick_left());
            state.busy += usize::from(picked.is_some());
            picked
        };
        while let Some(task) = picked.take() {
            shared.run(&task);
            drop(task);
            shared.change(|state| {
                picked = state.pick_left();
                // Under the same lock: no thread counts on this one from now on.
                if picked.is_none() {
                    state.busy -= 1;
                    state.jobs -= 1;
                    *is_done = true;
                }
            });
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.change(|state| state.jobs -= 1);
        }
    }
}

thread_local! {
    /// Whether this thread runs a task of this crate.
    static IN_TASK: StdCell<bool> = const { StdCell::new(false) };
}

impl Shared {
    /// Makes a rayon pool whose threads work for this executor.
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

    /// For a job that is not at the bottom of its thread's stack: leaves its task, if it has not begun, to a stand-in, unless no thread
    /// can be started for one. Then this thread has to run what is returned, and counts as busy.
    fn leave_to_stand_in(self: &Arc<Self>, number: u64) -> Option<TaskRef> {
        {
            let mut state = self.lock();
            let task = state.queue.remove(&number);
            state.left.extend(task.map(|task| (number, task)));
            if !state.left.is_empty() {
                state.within.insert(rayon::current_thread_index());
            }
        }
        if self.call_stand_in() {
            return None;
        }
        let mut state = self.lock();
        let picked = state.take(number).or_else(|| state.pick_left());
        state.busy += usize::from(picked.is_some());
        picked
    }

    /// Runs a task that this thread has picked up; the thread counts as busy.
    pub(super) fn run(&self, task: &TaskRef) {
        let outer = IN_TASK.replace(true);
        task.run();
        end_if_elsewhere(self.id);
        IN_TASK.set(outer);
    }

    /// Starts a stand-in for a blocked thread, if one is needed. `false` if the system has no thread; a later call may find one.
    pub(super) fn call_stand_in(self: &Arc<Self>) -> bool {
        let is_needed = self.lock().reserve_stand_in(self.max_workers);
        !is_needed || self.start_stand_in()
    }

    /// Starts a stand-in, which is counted already. `false` if the system has no thread.
    pub(super) fn start_stand_in(self: &Arc<Self>) -> bool {
        let shared = Arc::clone(self);
        // The pool is dropped at once, and rayon ends its thread after the one job that it has.
        let started = self.threads(1, "executor-rayon-stand-in");
        let has_started = started.is_ok();
        match started {
            Ok(thread) => thread.spawn(move || shared.stand_in()),
            Err(_) => self.change(|state| state.stand_ins -= 1),
        }
        has_started
    }

    /// Does the work of a stand-in: runs tasks until there are none, or until no thread is left to stand in for.
    pub(super) fn stand_in(&self) {
        loop {
            let mut picked = None;
            self.change(|state| {
                picked = state.pick_left();
                if picked.is_none() && state.stand_ins <= state.blocked {
                    picked = state.queue.pop_first().map(|(_, task)| task);
                }
                match picked {
                    Some(_) => state.busy_stand_ins += 1,
                    // Under the lock: a submit or a wait from now on does not count on this stand-in.
                    None => state.stand_ins -= 1,
                }
            });
            let Some(task) = picked else { return };
            self.run(&task);
            drop(task);
            self.lock().busy_stand_ins -= 1;
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the numbers, and wakes the threads that wait for the end when it has come, or when the change panics.
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
            let mut queue = std::mem::take(&mut state.left);
            queue.append(&mut state.queue);
            drop(state);
            report.cancelled = queue.into_values().filter(TaskRef::cancel).count();
            if is_elsewhere(self.id) {
                // A destructor has forked, and this is the copy: there are no threads to wait for.
                return ShutdownReport::default();
            }
            state = self.lock();
        }
        // A worker that waits for the end of its own pool would wait for ever.
        if current_pool() != self.id {
            drop(state);
            // A worker of another pool has a stand-in there, and tasks of this pool may be waiting for that stand-in.
            let here = BlockingGuard::begin();
            loop {
                let until = here.until(end);
                let state = self.lock();
                // A thread that has panicked with the lock, which is a fault of this crate, may have left wrong numbers.
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

/// What a task knows of its executor: the shared state, and the task's place in the queue.
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
}

impl Place {
    /// Takes the task out of the queue, whatever its outcome.
    pub(super) fn leave(&self, change: impl FnOnce(&mut State)) {
        let mut task = None;
        self.shared.change(|state| {
            task = state.take(self.number);
            state.queued -= 1;
            change(state);
        });
        // Dropped without the lock.
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
