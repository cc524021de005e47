//! Where queued tasks are: a line for tasks from outside, a deque for each worker, and two heaps for tasks with a priority.

use std::{
    cmp::Ordering as Order,
    collections::{BinaryHeap, VecDeque},
    iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};

use super::{
    front::{BATCH, Front},
    worker_shared::WorkerShared,
};
use crate::future::{State, TaskRef};

/// First come, first served, also if several workers take at the same time: a worker takes the one task that it runs next, and no
/// other, because it is unknown what a task waits for. If a running task waited for one that its worker had taken as well, both
/// would wait for ever.
///
/// Threads that push and workers that take would contend for cache lines with each task. So tasks move from the end to the front in
/// batches, and a worker that takes from the front touches no line that a pushing thread does.
///
/// Invariant: the tasks in `front` came before all tasks in the middle, and those before all tasks in `injector`. Only the thread
/// that has `refill` moves tasks; it moves them to the front only if none is there, and no more than [`BATCH`].
pub(super) struct Line {
    injector: Injector<TaskRef>,
    front: Front<TaskRef>,
    refill: Mutex<Refill>,
    /// The number of tasks in the middle. Changed under the lock.
    middle: AtomicUsize,
}

struct Refill {
    /// Tasks from the injector pass through this deque, which is empty otherwise.
    passage: Deque<TaskRef>,
    /// Tasks that were left when a thread had searched for those that are over.
    middle: VecDeque<TaskRef>,
}

impl Line {
    fn new() -> Self {
        Self {
            injector: Injector::new(),
            front: Front::new(),
            refill: Mutex::new(Refill { passage: Deque::new_fifo(), middle: VecDeque::new() }),
            middle: AtomicUsize::new(0),
        }
    }

    fn push(&self, task: TaskRef) {
        self.injector.push(task);
    }

    /// The first task, if it is at the front already.
    #[inline]
    fn pop_front(&self) -> Option<TaskRef> {
        self.front.pop()
    }

    /// The first task, and how many it was moved with: 0 if it was at the front already.
    ///
    /// A task is in neither part while it is moved. So the caller counts as searching: then a worker looks at the queues again
    /// afterwards.
    fn pop(&self) -> Option<(TaskRef, usize)> {
        for round in 1_u32.. {
            // In the tests other threads come in between.
            #[cfg(all(test, not(loom)))]
            std::thread::yield_now();
            let mut refill = match self.refill.try_lock() {
                Ok(refill) => refill,
                Err(TryLockError::Poisoned(refill)) => refill.into_inner(),
                // Another thread is moving tasks; that takes a few instructions, unless the thread was preempted.
                Err(TryLockError::WouldBlock) => {
                    pause(round);
                    match self.pop_front() {
                        Some(task) => return Some((task, 0)),
                        None => continue,
                    }
                }
            };
            // Another thread may have moved tasks meanwhile.
            if let Some(task) = self.front.pop() {
                return Some((task, 0));
            }
            if !refill.middle.is_empty() {
                return self.pop_middle(&mut refill);
            }
            let passage = &refill.passage;
            let first = insist(|| self.injector.steal_batch_with_limit_and_pop(passage, BATCH))?;
            let moved = 1 + passage.len();
            if moved > 1 {
                self.front.fill(iter::from_fn(|| passage.pop()));
            }
            return Some((first, moved));
        }
        None
    }

    #[cold]
    fn pop_middle(&self, refill: &mut Refill) -> Option<(TaskRef, usize)> {
        let first = refill.middle.pop_front()?;
        let others = refill.middle.len().min(BATCH - 1);
        self.front.fill(refill.middle.drain(..others));
        // ORDERING: a look for work has a fence before it; Release and Acquire cost nothing.
        self.middle.store(refill.middle.len(), Ordering::Release);
        Some((first, 1 + others))
    }

    /// Takes out tasks that are not pending any more, except for the few at the front; returns how many are left. Workers that come
    /// for a task meanwhile, and find none at the front, wait. So the caller counts as searching.
    fn sweep(&self, over: &mut Vec<TaskRef>) -> usize {
        let mut refill = self.refill.lock().unwrap_or_else(PoisonError::into_inner);
        let middle = std::mem::take(&mut refill.middle);
        // Tasks that come from now on stay behind all that are here, so that a thread that submits all the time does not keep this
        // one.
        let behind = self.injector.len();
        let behind = iter::from_fn(|| insist(|| self.injector.steal())).take(behind);
        let mut left = Vec::new();
        sort_out(middle.into_iter().chain(behind), &mut left, over);
        let number = left.len();
        refill.middle = left.into();
        // ORDERING: a look for work has a fence before it; Release and Acquire cost nothing.
        self.middle.store(number, Ordering::Release);
        number
    }

    fn is_empty(&self) -> bool {
        // ORDERING: a look for work has a fence before it; Release and Acquire cost nothing.
        self.front.len() == 0 && self.injector.is_empty() && self.middle.load(Ordering::Acquire) == 0
    }

    /// Counts the tasks while no thread moves any: they would all be missing.
    fn len(&self) -> usize {
        let refill = self.refill.lock().unwrap_or_else(PoisonError::into_inner);
        self.front.len() + refill.middle.len() + self.injector.len()
    }
}

/// A worker as the other workers see it that look for tasks in its deque.
#[derive(Clone)]
pub(super) struct Neighbor {
    pub(super) deque: Stealer<TaskRef>,
    pub(super) member: Arc<WorkerShared>,
}

pub(super) struct Queues {
    /// Tasks from outside. Tasks that were cancelled or run in place meanwhile are tombstones.
    line: Line,
    /// Tasks with a priority above 0, which come before all others.
    urgent: Heap,
    /// Tasks with a priority below 0, which come after all others.
    patient: Heap,
    /// One for each deque that was ever made; grows with the largest number of workers.
    neighbors: RwLock<Vec<Neighbor>>,
    /// The length of `neighbors`, for workers that keep a copy.
    version: AtomicUsize,
}

impl Queues {
    pub(super) fn new() -> Self {
        Self {
            line: Line::new(),
            urgent: Heap::default(),
            patient: Heap::default(),
            neighbors: RwLock::default(),
            version: AtomicUsize::new(0),
        }
    }

    /// Makes a deque for a worker, from which all other workers can steal. Its owner takes the task that came last: that task's
    /// data is in the owner's cache, and it is the task that the owner will wait for first.
    pub(super) fn new_deque(&self, member: &Arc<WorkerShared>) -> Deque<TaskRef> {
        let deque = Deque::new_lifo();
        let mut neighbors = self.neighbors.write().unwrap_or_else(PoisonError::into_inner);
        neighbors.push(Neighbor { deque: deque.stealer(), member: Arc::clone(member) });
        // ORDERING: Release pairs with the Acquire in `refresh`; the list itself is under the lock.
        self.version.store(neighbors.len(), Ordering::Release);
        deque
    }

    /// Brings a worker's copy of the list up to date.
    #[inline]
    pub(super) fn refresh(&self, copy: &mut Vec<Neighbor>) {
        // ORDERING: Acquire pairs with the Release in `new_deque`.
        if self.version.load(Ordering::Acquire) != copy.len() {
            copy.clone_from(&self.neighbors.read().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(super) fn push(&self, task: TaskRef) {
        self.line.push(task);
    }

    pub(super) fn push_with_priority(&self, task: TaskRef, priority: i32) {
        if priority > 0 { self.urgent.push(task, priority) } else { self.patient.push(task, priority) }
    }

    #[inline]
    pub(super) fn pop_urgent(&self) -> Option<TaskRef> {
        self.urgent.pop()
    }

    pub(super) fn pop_patient(&self) -> Option<TaskRef> {
        self.patient.pop()
    }

    /// The task from outside that came first, if it can be taken quickly. `None` does not mean that there is none.
    #[inline]
    pub(super) fn pop_front(&self) -> Option<TaskRef> {
        self.line.pop_front()
    }

    /// The task from outside that came first, and how many moved to the front with it. The caller counts as searching.
    pub(super) fn pop_outside(&self) -> Option<(TaskRef, usize)> {
        self.line.pop()
    }

    /// Whether a task from outside stands at the front of the line.
    #[inline]
    pub(super) fn has_front(&self) -> bool {
        self.line.front.len() > 0
    }

    /// Whether there is a task from outside, except for those that are being moved to the front.
    pub(super) fn has_outside(&self) -> bool {
        !self.line.is_empty()
    }

    /// Whether any task is queued. Not exact while that changes, but exact for changes that a fence orders before the call.
    pub(super) fn has_work(&self, neighbors: &[Neighbor]) -> bool {
        self.has_outside()
            || self.urgent.len() > 0
            || self.patient.len() > 0
            || neighbors.iter().any(|neighbor| !neighbor.deque.is_empty())
    }

    /// Like [`has_work`](Self::has_work), for threads that have no copy of the list.
    pub(super) fn has_any_work(&self) -> bool {
        self.has_work(&self.neighbors.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Entries in all queues, tombstones included.
    pub(super) fn len(&self) -> usize {
        let neighbors = self.neighbors.read().unwrap_or_else(PoisonError::into_inner);
        let deques: usize = neighbors.iter().map(|neighbor| neighbor.deque.len()).sum();
        self.line.len() + self.urgent.len() + self.patient.len() + deques
    }

    /// Takes out tasks that are over from the queues that every thread may take from; returns how many tasks are left there. The
    /// caller counts as searching.
    pub(super) fn sweep(&self, over: &mut Vec<TaskRef>) -> usize {
        self.line.sweep(over) + self.urgent.sweep(over) + self.patient.sweep(over)
    }

    /// Takes all queued tasks, oldest first within each queue.
    pub(super) fn drain(&self) -> Vec<TaskRef> {
        let mut neighbors = Vec::new();
        self.refresh(&mut neighbors);
        let mut tasks = Vec::new();
        tasks.extend(iter::from_fn(|| self.urgent.pop()));
        tasks.extend(iter::from_fn(|| Some(self.line.pop()?.0)));
        for neighbor in &neighbors {
            tasks.extend(iter::from_fn(|| insist(|| neighbor.deque.steal())));
        }
        tasks.extend(iter::from_fn(|| self.patient.pop()));
        tasks
    }
}

/// Separates tasks that can still be run from those that cannot, because they were cancelled or run elsewhere.
pub(super) fn sort_out(tasks: impl Iterator<Item = TaskRef>, left: &mut Vec<TaskRef>, over: &mut Vec<TaskRef>) {
    for task in tasks {
        if task.cell().state() == State::Pending { left.push(task) } else { over.push(task) }
    }
}

/// Makes what all deques of the program share, which the first steal would make. A copy of the program that is forked in the middle of
/// that waits for it for ever when it steals, so it is done before there is anything to steal.
pub(crate) fn prepare_deques() {
    let _ = Deque::<()>::new_lifo().stealer().steal();
}

/// Steals until it has a task or there is none. Other threads only interfere for a few instructions, unless they were preempted: it
/// lets them run.
pub(super) fn insist<T>(steal: impl Fn() -> Steal<T>) -> Option<T> {
    for round in 0_u32.. {
        match steal() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            Steal::Retry => pause(round),
        }
    }
    None
}

fn pause(round: u32) {
    if round % 16 == 15 { std::thread::yield_now() } else { std::hint::spin_loop() }
}

/// Tasks by priority, and first come, first served among equals.
#[derive(Default)]
struct Heap {
    length: AtomicUsize,
    next: AtomicU64,
    tasks: Mutex<BinaryHeap<Ranked>>,
}

impl Heap {
    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Ranked>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        // ORDERING: the fences of the sleep protocol order it where that matters.
        self.length.load(Ordering::Relaxed)
    }

    fn push(&self, task: TaskRef, priority: i32) {
        let mut tasks = self.lock();
        // ORDERING: both numbers are changed under the lock.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        tasks.push(Ranked { priority, number, task });
        self.length.store(tasks.len(), Ordering::Relaxed);
    }

    fn sweep(&self, over: &mut Vec<TaskRef>) -> usize {
        if self.len() == 0 {
            return 0;
        }
        let mut tasks = self.lock();
        let (left, gone) = tasks.drain().partition::<Vec<_>, _>(|ranked| ranked.task.cell().state() == State::Pending);
        *tasks = left.into();
        let left = tasks.len();
        // ORDERING: changed under the lock.
        self.length.store(left, Ordering::Relaxed);
        drop(tasks);
        over.extend(gone.into_iter().map(|ranked| ranked.task));
        left
    }

    #[inline]
    fn pop(&self) -> Option<TaskRef> {
        if self.len() == 0 { None } else { self.pop_locked() }
    }

    #[cold]
    fn pop_locked(&self) -> Option<TaskRef> {
        let mut tasks = self.lock();
        let task = tasks.pop();
        // ORDERING: changed under the lock.
        self.length.store(tasks.len(), Ordering::Relaxed);
        task.map(|ranked| ranked.task)
    }
}

struct Ranked {
    priority: i32,
    number: u64,
    task: TaskRef,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Order {
        self.priority.cmp(&other.priority).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl Eq for Ranked {}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        collections::HashMap,
        sync::atomic::{AtomicBool, AtomicU64, Ordering},
        thread,
    };

    use super::*;
    use crate::{
        future::{Cell, InProcess, Owner, TaskId},
        task::TaskOptions,
    };

    struct NoOwner;

    impl Owner for NoOwner {
        fn pool_id(&self) -> u64 {
            0
        }
        fn started(&self, _: &Cell) {}
        fn ended(&self, _: &Cell, _: State) {}
        fn cancelled(&self, _: &Cell) {}
    }

    /// A worker that takes a task has begun to take it before another one has taken a later task: so at every moment the workers
    /// have the tasks that came first, as many as there are workers that take.
    #[test]
    fn no_task_is_taken_after_one_that_came_later() {
        const TASKS: usize = 200_000;
        let (line, clock, has_ended) = (Line::new(), AtomicU64::new(0), AtomicBool::new(false));
        let now = || clock.fetch_add(1, Ordering::SeqCst);
        let (order, taken) = thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut taken: Vec<(TaskId, u64, u64)> = Vec::new();
                        loop {
                            let (ended, begun) = (has_ended.load(Ordering::SeqCst), now());
                            match line.pop_front().or_else(|| Some(line.pop()?.0)) {
                                Some(task) => taken.push((task.cell().id(), begun, now())),
                                None if ended => break,
                                None => thread::yield_now(),
                            }
                        }
                        taken
                    })
                })
                .collect();
            let mut order = HashMap::new();
            for number in 0..TASKS {
                let (task, future) = InProcess::task(NoOwner, &TaskOptions::new(), || (), |_| ());
                order.insert(future.id(), number);
                line.push(task);
                if number % 10_000 == 0 {
                    line.sweep(&mut Vec::new());
                }
            }
            // None of these tasks is over, and none is lost or comes out of its turn.
            let mut over = Vec::new();
            (0..20).for_each(|_| _ = line.sweep(&mut over));
            assert!(over.is_empty());
            has_ended.store(true, Ordering::SeqCst);
            let taken: Vec<_> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
            (order, taken)
        });
        assert_eq!(taken.len(), TASKS);
        let mut taken: Vec<_> = taken.into_iter().map(|(id, begun, ended)| (order[&id], begun, ended)).collect();
        taken.sort_unstable();
        // From the last one back: the earliest end of the tasks that came later.
        let mut earliest = u64::MAX;
        for (number, begun, ended) in taken.into_iter().rev() {
            assert!(begun < earliest, "{number} was taken after one that came later");
            earliest = earliest.min(ended);
        }
    }
}
