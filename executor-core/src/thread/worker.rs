//! A worker: where it looks for tasks, and in which order; how it falls asleep.

use std::{
    cell::{Cell as StdCell, RefCell},
    hint::spin_loop,
    iter, ptr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    front::BATCH,
    pool::{BEARABLE, Pool, release_task},
    queue::{Neighbor, insist, sort_out},
    sleep::Slept,
    threads::WorkerSlot,
    worker_shared::{Counters, count},
};
use crate::future::{Cell, TaskRef, end_if_elsewhere, note_asleep, note_awake, spin_for_work};

/// After so many tasks of its own deque a worker takes one from outside first, so that tasks that keep submitting do not starve
/// the others.
const FAIRNESS: u32 = 61;

/// Tasks in the deque of a worker that has begun none for this long go before tasks from outside. With less time, other workers
/// would take tasks that their submitter is about to run in place.
const STUCK: Duration = Duration::from_micros(100);

/// A worker that searches for work makes one look in so many turns.
const SEARCH_ROUNDS: u32 = 16;

/// A worker that has done its tasks waits for so many turns, about a microsecond, before it looks outside again, if several tasks
/// at once have come from there a few times in a row. Each search takes the queue's cache lines from the submitting thread; a thread
/// that is left alone for a moment gets ahead, and submits faster by up to a half.
const SPINS_BEFORE_SEARCH: u32 = 32;
const BURSTS_BEFORE_SPIN: u32 = 4;

/// So many workers sleep, beyond twice as many as may be awake, before a worker without tasks leaves at once.
const STAND_INS: usize = 16;

/// A worker as its own thread sees it.
pub(super) struct Worker {
    pub(super) pool: Arc<Pool>,
    slot: WorkerSlot,
    /// All workers, this one included.
    neighbors: RefCell<Vec<Neighbor>>,
    /// How many tasks each had put into its deque when the deque was last found empty.
    empty_at: RefCell<Vec<u64>>,
    /// Which of them this worker watches, to see whether it is stuck; how many tasks that one had begun, and since when.
    watched: StdCell<usize>,
    seen: StdCell<Option<(u64, Instant)>>,
    /// Where the next search begins. It moves, so that workers do not all search in the same order.
    first: StdCell<usize>,
    /// The number of tasks that run on this thread, nested in one another.
    depth: StdCell<u32>,
    /// Whether the last task left this worker counted as searching.
    searches_early: StdCell<bool>,
    /// Whether it runs a task from `run`, and not one in place in a hook or a destructor: only `run` reads `searches_early`.
    in_run: StdCell<bool>,
    /// How many times in a row several tasks had come from outside.
    bursts: StdCell<u32>,
    /// The length of its deque at which it searches for tasks that are over; it depends on how many were left the last time.
    bearable: StdCell<usize>,
    over_before: StdCell<u64>,
}

thread_local! {
    /// The worker that this thread is, for as long as it serves.
    static CURRENT: StdCell<*const Worker> = const { StdCell::new(ptr::null()) };
}

/// Shows the worker of `pool` that this thread is, if it is one.
#[inline]
pub(super) fn with_worker_of<R>(pool: u64, show: impl FnOnce(Option<&Worker>) -> R) -> R {
    // SAFETY: `serve` keeps the worker in its place until it has taken the pointer away again, and only this thread uses it.
    let worker = unsafe { CURRENT.get().as_ref() };
    show(worker.filter(|worker| worker.pool.id == pool))
}

/// Takes the pointer away, whatever way the worker ends.
struct Serving;

impl Drop for Serving {
    fn drop(&mut self) {
        note_asleep();
        CURRENT.set(ptr::null());
    }
}

impl Worker {
    /// The life of a worker between its initializer and its exit hook; returns its slot.
    pub(super) fn serve(pool: Arc<Pool>, slot: WorkerSlot, begin: impl FnOnce()) -> WorkerSlot {
        slot.member.sleeper.enter();
        let worker = Self {
            pool,
            slot,
            neighbors: RefCell::default(),
            empty_at: RefCell::default(),
            watched: StdCell::new(0),
            seen: StdCell::new(None),
            first: StdCell::new(0),
            depth: StdCell::new(0),
            searches_early: StdCell::new(false),
            in_run: StdCell::new(false),
            bursts: StdCell::new(0),
            bearable: StdCell::new(BEARABLE),
            over_before: StdCell::new(0),
        };
        CURRENT.set(&raw const worker);
        note_awake();
        let serving = Serving;
        worker.begin(begin);
        worker.work();
        drop(serving);
        worker.slot
    }

    #[inline]
    pub(super) fn counters(&self) -> &Counters {
        &self.slot.member.counters
    }

    /// Queues a task that this worker's task has submitted.
    #[inline]
    pub(super) fn push(&self, task: TaskRef) {
        self.slot.deque.push(task);
        count(&self.slot.member.pushed.0);
        if self.slot.deque.len() >= self.bearable.get() {
            self.sweep();
        }
    }

    /// Takes tasks that are over out of this worker's deque, if there may be as many of them as of tasks that can still be run.
    #[cold]
    fn sweep(&self) {
        let (deque, outside) = (&self.slot.deque, &self.pool.outside);
        let length = deque.len();
        // ORDERING: the numbers publish no other memory.
        let over = [&outside.cancelled, &outside.expired, &self.counters().tombstones_made];
        let over: u64 = over.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        if over - self.over_before.get() < length as u64 / 2 {
            self.bearable.set(2 * length);
            return;
        }
        self.over_before.set(over);
        let (mut left, mut found) = (Vec::new(), Vec::new());
        sort_out(iter::from_fn(|| deque.pop()), &mut left, &mut found);
        self.bearable.set((2 * left.len()).max(BEARABLE));
        let has_left = !left.is_empty();
        left.into_iter().rev().for_each(|task| deque.push(task));
        for _ in &found {
            count(&self.counters().tombstones_found);
            self.pool.unmark_cancelled();
        }
        found.into_iter().for_each(release_task);
        if has_left {
            // They were in no queue for a moment, so a worker that has looked meanwhile has to look again.
            count(&self.slot.member.pushed.0);
            self.pool.call(1);
        }
    }

    /// Takes a task out of this worker's deque if it is the one that came last. It is if a task waits for the one that it has just
    /// submitted.
    #[inline]
    pub(super) fn take_back(&self, cell: &Cell) -> Option<TaskRef> {
        let last = self.slot.deque.pop()?;
        if ptr::eq(last.cell(), cell) {
            count(&self.counters().tombstones_found);
            self.pool.unmark_cancelled();
            return Some(last);
        }
        // Counted again, and a worker is called: one that has looked meanwhile has found the deque empty, and may have fallen
        // asleep.
        self.push(last);
        self.pool.call(1);
        None
    }

    /// Runs the user's code that comes before the first task. It may take its time, and may wait for another worker or for a task:
    /// no thread may count on this worker's search meanwhile.
    fn begin(&self, begin: impl FnOnce()) {
        let (pool, idle) = (&self.pool, &self.pool.idle);
        if !pool.config.has_beginning() {
            return begin();
        }
        pool.beginning.fetch_add(1, Ordering::SeqCst);
        // Each worker that begins will search for a task; tasks beyond that number are for other workers, and so are all of them if one
        // has fallen asleep because this one counted as searching.
        let is_for_others = || {
            pool.queues.len() > pool.beginning.load(Ordering::SeqCst)
                || idle.sleeping() > 0 && pool.queues.has_any_work()
        };
        if idle.end_search() && is_for_others() {
            pool.call(1);
        }
        begin();
        idle.begin_search();
        pool.beginning.fetch_sub(1, Ordering::SeqCst);
    }

    fn work(&self) {
        let idle = &self.pool.idle;
        // The thread that started this worker has counted it as searching.
        let mut searching = true;
        let mut since_outside = 0;
        loop {
            if idle.is_over_limit() {
                if std::mem::take(&mut searching) {
                    idle.end_search();
                }
                if self.step_back() {
                    if !self.sleep() {
                        return;
                    }
                    searching = true;
                }
                continue;
            }
            let Some(task) = self.next(&mut searching, &mut since_outside) else {
                if self.rest() { continue } else { return }
            };
            if std::mem::take(&mut searching) && idle.end_search() && self.has_work() {
                self.pool.call(1);
            }
            searching = self.run(task);
        }
    }

    /// Runs a task; returns whether this worker has counted as searching since its end.
    fn run(&self, task: TaskRef) -> bool {
        self.in_run.set(true);
        let ran = self.pool.run(&task);
        // The user's code that was told of the task may have forked.
        end_if_elsewhere(self.pool.id);
        self.in_run.set(false);
        if !ran {
            count(&self.counters().tombstones_found);
            self.pool.unmark_cancelled();
        }
        if !self.searches_early.take() {
            return false;
        }
        let Some(task) = task.release_unless_last() else { return true };
        if task.is_unwanted() {
            // Its destructor may take its time, and a submitter must not count on this worker meanwhile.
            if self.pool.idle.end_search() && self.has_work() {
                self.pool.call(1);
            }
            return false;
        }
        true
    }

    /// A task begins on this worker's thread.
    #[inline]
    pub(super) fn begins(&self) {
        if self.depth.get() > 0 || !self.in_run.get() {
            // It runs in place of a wait for it.
            count(&self.counters().tombstones_made);
            self.pool.mark_cancelled();
        } else {
            self.pool.release_capacity();
        }
        self.depth.set(self.depth.get() + 1);
    }

    /// A task of this worker is about to be done, and its waiter may submit the next one at once. If there is no other work, this
    /// worker counts as searching from now on, so that no other worker is woken in its place.
    #[inline]
    pub(super) fn ends(&self) {
        self.depth.set(self.depth.get() - 1);
        if self.depth.get() == 0
            && self.in_run.get()
            && !self.searches_early.get()
            && self.slot.deque.is_empty()
            && !self.pool.queues.has_front()
        {
            self.pool.idle.begin_search();
            self.searches_early.set(true);
        }
    }

    /// The user's code runs after the task's end, and may wait for a task that no worker comes for as long as this one counts as
    /// searching. Returns whether it did.
    pub(super) fn stop_search(&self) -> bool {
        // A task that the code runs in place does not begin a search either.
        self.depth.set(self.depth.get() + 1);
        let searched = self.searches_early.take();
        if searched && self.pool.idle.end_search() && self.has_work() {
            self.pool.call(1);
        }
        searched
    }

    pub(super) fn resume_search(&self, searched: bool) {
        self.depth.set(self.depth.get() - 1);
        if searched {
            self.pool.idle.begin_search();
            self.searches_early.set(true);
        }
    }

    /// The next task; `None` if there is none, and then this worker counts as searching.
    fn next(&self, searching: &mut bool, since_outside: &mut u32) -> Option<TaskRef> {
        let queues = &self.pool.queues;
        let deque = &self.slot.deque;
        if let Some(task) = queues.pop_urgent() {
            return Some(task);
        }
        if *since_outside < FAIRNESS {
            if let Some(task) = deque.pop() {
                *since_outside += 1;
                return Some(task);
            }
            if let Some(task) = self.relieve() {
                *since_outside += 1;
                return Some(task);
            }
        }
        *since_outside = 0;
        if let Some(task) = queues.pop_front() {
            return Some(task);
        }
        if !deque.is_empty() && !queues.has_outside() {
            return deque.pop();
        }
        if !std::mem::replace(searching, true) {
            self.pool.idle.begin_search();
        }
        if self.bursts.get() >= BURSTS_BEFORE_SPIN && deque.is_empty() {
            (0..SPINS_BEFORE_SEARCH).for_each(|_| spin_loop());
        }
        self.pop_outside()
            .or_else(|| deque.pop())
            .or_else(|| self.steal())
            .or_else(|| queues.pop_urgent())
            .or_else(|| queues.pop_patient())
    }

    /// The task from outside that came first.
    fn pop_outside(&self) -> Option<TaskRef> {
        let (first, moved) = self.pool.queues.pop_outside()?;
        if moved > 0 {
            // If there is more than can be moved at once, the submitter is far ahead.
            let is_burst = (2..BATCH).contains(&moved);
            self.bursts.set(if is_burst { self.bursts.get().saturating_add(1) } else { 0 });
        }
        Some(first)
    }

    /// A task in the deque of a stuck worker, which would otherwise have its turn when no more tasks come from outside. Looks at
    /// one worker at a time, so that it costs the same for any number of workers.
    fn relieve(&self) -> Option<TaskRef> {
        let mut neighbors = self.neighbors.borrow_mut();
        self.pool.queues.refresh(&mut neighbors);
        let mut empty_at = self.empty_at.borrow_mut();
        empty_at.resize(neighbors.len(), 0);
        let watched = self.watched.get();
        let next = || {
            self.watched.set((watched + 1) % neighbors.len().max(1));
            self.seen.set(None);
        };
        let neighbor = neighbors.get(watched)?;
        // ORDERING: Acquire: a task that is counted is in the deque. The deque is looked at again when the count has changed.
        let pushed = neighbor.member.pushed.0.load(Ordering::Acquire);
        if empty_at[watched] == pushed || neighbor.deque.is_empty() {
            empty_at[watched] = pushed;
            next();
            return None;
        }
        // ORDERING: the number is only compared with its earlier value.
        let begun = neighbor.member.counters.started.load(Ordering::Relaxed);
        match self.seen.get() {
            Some((before, since)) if before == begun => {
                if since.elapsed() >= STUCK {
                    insist(|| neighbor.deque.steal())
                } else {
                    None
                }
            }
            Some(_) => {
                next();
                None
            }
            None => {
                self.seen.set(Some((begun, Instant::now())));
                None
            }
        }
    }

    /// Steals from the workers in turn, the oldest task of one: if tasks split, that is the largest.
    fn steal(&self) -> Option<TaskRef> {
        let mut neighbors = self.neighbors.borrow_mut();
        self.pool.queues.refresh(&mut neighbors);
        let first = self.first.get() + 1;
        self.first.set(first % neighbors.len().max(1));
        let (before, after) = neighbors.split_at(first % neighbors.len().max(1));
        after.iter().chain(before).find_map(|neighbor| insist(|| neighbor.deque.steal()))
    }

    fn has_work(&self) -> bool {
        let mut neighbors = self.neighbors.borrow_mut();
        self.pool.queues.refresh(&mut neighbors);
        self.pool.queues.has_work(&neighbors)
    }

    /// Searches for a while, then sleeps until it is called; `false` if this worker is to end.
    fn rest(&self) -> bool {
        let pool = &*self.pool;
        let (idle, sleeper) = (&pool.idle, &self.slot.member.sleeper);
        // One worker of the pool spins; the others sleep at once.
        if pool.begin_spin() {
            // Not at every turn: each look takes the queue's cache line from the submitting thread, and a later look finds more
            // tasks at once.
            let mut turn = 0_u32;
            let found = spin_for_work(|| {
                turn += 1;
                turn.is_multiple_of(SEARCH_ROUNDS) && (self.has_work() || idle.is_shut())
            });
            pool.end_spin();
            if found && !idle.is_shut() {
                return true;
            }
        }
        idle.prepare_to_park(sleeper);
        (self.has_work() && idle.cancel_park(sleeper)) || self.sleep()
    }

    /// Sleeps after it has put itself on the list; `false` if this worker is to end.
    fn sleep(&self) -> bool {
        let pool = &*self.pool;
        let (idle, sleeper) = (&pool.idle, &self.slot.member.sleeper);
        // Stand-ins stay for a while as well: waits come in numbers, and a thread that starts costs more than one that wakes, and
        // starts on any core.
        if idle.is_shut() || idle.sleeping() > 2 * idle.limit() + STAND_INS {
            return !idle.leave(sleeper);
        }
        let deadline = pool.config.idle_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        note_asleep();
        let slept = idle.sleep(sleeper, deadline);
        note_awake();
        slept == Slept::Called
    }

    /// Lies down if more workers are awake than may be, and leaves its tasks to the others.
    fn step_back(&self) -> bool {
        while let Some(task) = self.slot.deque.pop() {
            self.pool.queues.push(task);
        }
        let steps_back = self.pool.idle.park_if_over_limit(&self.slot.member.sleeper);
        if steps_back && self.has_work() {
            self.pool.call(1);
        }
        steps_back
    }
}
