//! Where queued tasks are: an injector for what comes from outside, a deque for each worker, and two heaps for tasks with a
//! priority.

use std::{
    cmp::Ordering as Order,
    collections::BinaryHeap,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};

use crate::future::TaskRef;

/// A worker that finds the injector full takes so many tasks at once; others may steal them from it.
pub(super) const BATCH: usize = 32;

pub(super) struct Queues {
    /// Tasks from outside, first come, first served. Those that were cancelled or run in place meanwhile are tombstones.
    injector: Injector<TaskRef>,
    /// Tasks with a priority above 0: before all others.
    urgent: Heap,
    /// Tasks with a priority below 0: when there is nothing else.
    patient: Heap,
    /// One for each deque that was ever made; grows with the largest number of workers.
    stealers: RwLock<Vec<Stealer<TaskRef>>>,
    /// Their number, for those who keep a copy.
    version: AtomicUsize,
}

impl Queues {
    pub(super) fn new() -> Self {
        Self {
            injector: Injector::new(),
            urgent: Heap::default(),
            patient: Heap::default(),
            stealers: RwLock::default(),
            version: AtomicUsize::new(0),
        }
    }

    /// A new deque, from which all other workers can steal. Its owner takes the task that came last, which is the one whose
    /// data is in its cache and the one that it will wait for first.
    pub(super) fn new_deque(&self) -> Deque<TaskRef> {
        let deque = Deque::new_lifo();
        let mut stealers = self.stealers.write().unwrap_or_else(PoisonError::into_inner);
        stealers.push(deque.stealer());
        // ORDERING: Release, with the Acquire in `refresh`; the list itself is under the lock.
        self.version.store(stealers.len(), Ordering::Release);
        deque
    }

    /// Brings a worker's copy of the list of stealers up to date.
    pub(super) fn refresh(&self, copy: &mut Vec<Stealer<TaskRef>>) {
        // ORDERING: as in `new_deque`.
        if self.version.load(Ordering::Acquire) != copy.len() {
            copy.clone_from(&self.stealers.read().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(super) fn push(&self, task: TaskRef) {
        self.injector.push(task);
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

    /// The oldest task from outside; more of them are moved into `deque`.
    pub(super) fn pop_injected(&self, deque: &Deque<TaskRef>) -> Option<TaskRef> {
        insist(|| self.injector.steal_batch_with_limit_and_pop(deque, BATCH))
    }

    /// The oldest task from outside, and no more.
    pub(super) fn pop_one_injected(&self) -> Option<TaskRef> {
        insist(|| self.injector.steal())
    }

    /// Whether anything is queued; not exact while it changes, but exact for what is ordered before by a fence.
    pub(super) fn has_work(&self, stealers: &[Stealer<TaskRef>]) -> bool {
        !self.injector.is_empty()
            || self.urgent.len() > 0
            || self.patient.len() > 0
            || stealers.iter().any(|stealer| !stealer.is_empty())
    }

    /// The same, for those who have no copy of the list.
    pub(super) fn has_any_work(&self) -> bool {
        self.has_work(&self.stealers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Entries in all queues, tombstones included.
    pub(super) fn len(&self) -> usize {
        let stealers = self.stealers.read().unwrap_or_else(PoisonError::into_inner);
        let deques: usize = stealers.iter().map(Stealer::len).sum();
        self.injector.len() + self.urgent.len() + self.patient.len() + deques
    }

    /// Takes everything that is queued, oldest first within each queue.
    pub(super) fn drain(&self) -> Vec<TaskRef> {
        let mut stealers = Vec::new();
        self.refresh(&mut stealers);
        let mut tasks = Vec::new();
        tasks.extend(std::iter::from_fn(|| self.urgent.pop()));
        tasks.extend(std::iter::from_fn(|| self.pop_one_injected()));
        for stealer in &stealers {
            tasks.extend(std::iter::from_fn(|| insist(|| stealer.steal())));
        }
        tasks.extend(std::iter::from_fn(|| self.patient.pop()));
        tasks
    }
}

/// Until it has or there is nothing. Others are in between a few instructions, unless they were preempted: let them run.
pub(super) fn insist<T>(steal: impl Fn() -> Steal<T>) -> Option<T> {
    for round in 0_u32.. {
        match steal() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            Steal::Retry if round % 16 == 15 => std::thread::yield_now(),
            Steal::Retry => std::hint::spin_loop(),
        }
    }
    None
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
        // ORDERING: ordered by the fences of the sleep protocol where that matters.
        self.length.load(Ordering::Relaxed)
    }

    fn push(&self, task: TaskRef, priority: i32) {
        let mut tasks = self.lock();
        // ORDERING: both numbers are changed under the lock.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        tasks.push(Ranked { priority, number, task });
        self.length.store(tasks.len(), Ordering::Relaxed);
    }

    #[inline]
    fn pop(&self) -> Option<TaskRef> {
        if self.len() == 0 { None } else { self.pop_locked() }
    }

    #[cold]
    fn pop_locked(&self) -> Option<TaskRef> {
        let mut tasks = self.lock();
        let task = tasks.pop();
        // ORDERING: as in `push`.
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
