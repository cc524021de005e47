//! Which workers sleep, which search for work, and which one a submit wakes: the protocol of README.md, with its loom models.

use std::{sync::Arc, time::Instant};

use crate::{
    sync::{AtomicBool, AtomicU64, Mutex, Ordering, Thread, current_thread, fence, lock, park_until},
    sys,
};

/// How one worker sleeps and is called.
pub(super) struct Sleeper {
    called: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Sleeper {
    pub(super) fn new() -> Self {
        Self { called: AtomicBool::new(false), thread: Mutex::new(None) }
    }

    /// To be called by the worker's thread before it first sleeps.
    pub(super) fn enter(&self) {
        *lock(&self.thread) = Some(current_thread());
    }
}

/// The lowest bits of the word: workers that search for work.
const SEARCHING: u64 = 1;
const SEARCHING_MASK: u64 = (1 << 24) - 1;
/// The next bits: workers that are awake. They search or run a task, and do not block in one.
const AWAKE: u64 = 1 << 24;
const AWAKE_MASK: u64 = SEARCHING_MASK << 24;
/// More workers than any system starts, and few enough to be counted in the word, together with stand-ins, and to be
/// calculated with.
pub(super) const MOST_WORKERS: usize = 1 << 20;
/// The bit that says that no more tasks are taken.
const SHUT: u64 = 1 << 62;
/// The bit that says that no more tasks are run.
const BROKEN: u64 = 1 << 63;

/// The result of announcing new tasks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// A worker comes for them. The caller starts so many workers to help; they count as awake and searching already.
    Seen { start: usize },
    /// The pool was closed, perhaps before the tasks were seen, so that perhaps no worker comes.
    Closed,
}

/// Why a sleep ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slept {
    /// A thread wants this worker to search for work. It counts as awake and searching again.
    Called,
    /// The time is up. The worker does not count any more.
    TimedOut,
}

/// A worker that is on the list of sleepers.
struct Asleep {
    sleeper: Arc<Sleeper>,
    /// The core on which it ran last.
    core: usize,
}

/// What the thread that calls a worker does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    GoesOn,
    Blocks,
}

pub(super) struct Sleep {
    word: AtomicU64,
    /// How many workers may be awake.
    limit: AtomicU64,
    /// In the order in which they fell asleep. The last is called first: its caches are warm, and the others may leave in time.
    sleepers: Mutex<Vec<Asleep>>,
}

impl Sleep {
    pub(super) fn new(limit: usize) -> Self {
        Self { word: AtomicU64::new(0), limit: AtomicU64::new(limit as u64), sleepers: Mutex::new(Vec::new()) }
    }

    #[inline]
    pub(super) fn limit(&self) -> usize {
        // ORDERING: the number publishes no other memory; a thread that changes it announces work afterwards.
        usize::try_from(self.limit.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        // ORDERING: the number publishes no other memory; the fence below orders it.
        self.limit.store(limit as u64, Ordering::Relaxed);
        // Pairs with the fence in `announce`: either a submitter sees the new limit, or the caller sees the task.
        fence(Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn is_shut(&self) -> bool {
        // ORDERING: a first look; `announce` decides what has to be exact.
        self.word.load(Ordering::Relaxed) & SHUT != 0
    }

    pub(super) fn is_closed(&self) -> bool {
        // ORDERING: a first look; `announce` decides what has to be exact.
        self.word.load(Ordering::Relaxed) & (SHUT | BROKEN) != 0
    }

    #[inline]
    pub(super) fn awake(&self) -> usize {
        // ORDERING: a number for statistics, which publishes nothing.
        usize::try_from((self.word.load(Ordering::Relaxed) & AWAKE_MASK) / AWAKE).unwrap_or(usize::MAX)
    }

    pub(super) fn searching(&self) -> usize {
        // ORDERING: a number for statistics, which publishes nothing.
        usize::try_from(self.word.load(Ordering::Relaxed) & SEARCHING_MASK).unwrap_or(usize::MAX)
    }

    /// Workers that sleep.
    pub(super) fn sleeping(&self) -> usize {
        lock(&self.sleepers).len()
    }

    /// Takes no more tasks. A thread that looks at the queues after this call sees the tasks that were queued before.
    pub(super) fn shut(&self) {
        self.word.fetch_or(SHUT, Ordering::SeqCst);
        // Pairs with the fence in `announce`.
        fence(Ordering::SeqCst);
    }

    /// Runs no more tasks; a look at the queues afterwards sees what was queued before, as after [`shut`](Self::shut).
    pub(super) fn break_off(&self) {
        self.word.fetch_or(BROKEN, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// So many tasks were put into a queue: wakes as many workers as can be of use, unless a worker is searching anyhow, or no
    /// worker `is_needed` for them any more.
    #[inline]
    pub(super) fn announce(&self, tasks: usize, is_needed: impl Fn() -> bool) -> Announced {
        // Either the worker that falls asleep (or the thread that shuts the pool) sees the task, or this thread sees the changed
        // word.
        fence(Ordering::SeqCst);
        // ORDERING: the fence orders it.
        let word = self.word.load(Ordering::Relaxed);
        if word & (SHUT | BROKEN) != 0 {
            return Announced::Closed;
        }
        if word & SEARCHING_MASK >= tasks as u64 || (word & AWAKE_MASK) / AWAKE >= self.limit() as u64 {
            return Announced::Seen { start: 0 };
        }
        Announced::Seen { start: self.call(tasks, is_needed, Caller::GoesOn) }
    }

    /// Like [`announce`](Self::announce), from inside the pool: queued tasks are run even after a shutdown.
    pub(super) fn wake_for(&self, tasks: usize) -> usize {
        fence(Ordering::SeqCst);
        self.call(tasks, || true, Caller::GoesOn)
    }

    #[cold]
    fn call(&self, tasks: usize, is_needed: impl Fn() -> bool, caller: Caller) -> usize {
        // ORDERING: Acquire: a thread that sees that a worker has stopped searching, because it has found the task, sees that it
        // has it.
        let mut word = self.word.load(Ordering::Acquire);
        let called = loop {
            let searching = word & SEARCHING_MASK;
            let awake = (word & AWAKE_MASK) / AWAKE;
            let wanted = (tasks as u64).saturating_sub(searching).min((self.limit() as u64).saturating_sub(awake));
            // After the look at the word: a worker that takes the task from now on was not searching, or changes the word first.
            if wanted == 0 || !is_needed() {
                return 0;
            }
            let more = word + wanted * (AWAKE + SEARCHING);
            match self.word.compare_exchange_weak(word, more, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => break usize::try_from(wanted).unwrap_or(usize::MAX),
                Err(other) => word = other,
            }
        };
        let here = sys::current_core();
        let mut sleepers = lock(&self.sleepers);
        let woken: Vec<_> = (0..called).map_while(|_| take_sleeper(&mut sleepers, here, caller)).collect();
        for sleeper in &woken {
            // ORDERING: Release hands over what this thread has queued; the sleeper looks with Acquire.
            sleeper.called.store(true, Ordering::Release);
        }
        drop(sleepers);
        for sleeper in &woken {
            if let Some(thread) = &*lock(&sleeper.thread) {
                thread.unpark();
            }
        }
        called - woken.len()
    }

    /// Like [`wake_for`](Self::wake_for), for one task, called by a worker whose task is about to block.
    pub(super) fn wake_stand_in(&self) -> usize {
        fence(Ordering::SeqCst);
        self.call(1, || true, Caller::Blocks)
    }

    /// A worker that was called could not be started.
    pub(super) fn note_failed_start(&self) {
        self.word.fetch_sub(AWAKE + SEARCHING, Ordering::SeqCst);
        // Pairs with the fence in `announce`: a thread that has counted on the call has queued the task that the caller now finds.
        fence(Ordering::SeqCst);
    }

    pub(super) fn begin_search(&self) {
        self.word.fetch_add(SEARCHING, Ordering::SeqCst);
    }

    /// The worker has found a task. `true` if no worker searches now: then it has to look whether there is more work, and call a
    /// worker for it, because submitters counted on the search meanwhile.
    pub(super) fn end_search(&self) -> bool {
        let last = self.word.fetch_sub(SEARCHING, Ordering::SeqCst) & SEARCHING_MASK == SEARCHING;
        if last {
            // Pairs with the fence in `announce`; every look at the queues has one before it.
            fence(Ordering::SeqCst);
        }
        last
    }

    /// To be called by a worker that searches. Afterwards it looks at all queues once more, and then either
    /// [gets up](Self::cancel_park) or [sleeps](Self::sleep).
    pub(super) fn prepare_to_park(&self, me: &Arc<Sleeper>) {
        let mut sleepers = lock(&self.sleepers);
        // ORDERING: only threads that find it in the list, under the lock, set it.
        me.called.store(false, Ordering::Relaxed);
        sleepers.push(Asleep { sleeper: Arc::clone(me), core: sys::current_core() });
        self.word.fetch_sub(AWAKE + SEARCHING, Ordering::SeqCst);
        drop(sleepers);
        fence(Ordering::SeqCst);
    }

    /// There is work after all: `true` if this worker is awake and searches again. Otherwise another thread takes care of the work:
    /// a worker that searches, a thread that has counted a call and is about to make it (perhaps to this worker, which therefore
    /// stays on the list), or, if as many workers are awake as may be, one that was called since.
    pub(super) fn cancel_park(&self, me: &Arc<Sleeper>) -> bool {
        let mut sleepers = lock(&self.sleepers);
        let Some(place) = sleepers.iter().rposition(|asleep| Arc::ptr_eq(&asleep.sleeper, me)) else {
            // The worker was called, and is counted.
            return true;
        };
        // ORDERING: threads that change the word later look at the queues themselves after the change.
        let mut word = self.word.load(Ordering::Relaxed);
        while word & SEARCHING_MASK == 0 && (word & AWAKE_MASK) / AWAKE < self.limit() as u64 {
            let more = word + AWAKE + SEARCHING;
            match self.word.compare_exchange_weak(word, more, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    sleepers.remove(place);
                    return true;
                }
                Err(other) => word = other,
            }
        }
        false
    }

    /// Sleeps until a thread calls this worker.
    pub(super) fn sleep(&self, me: &Arc<Sleeper>, deadline: Option<Instant>) -> Slept {
        loop {
            // ORDERING: Acquire pairs with the Release of the thread that called.
            if me.called.load(Ordering::Acquire) {
                return Slept::Called;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return if self.leave(me) { Slept::TimedOut } else { Slept::Called };
            }
            park_until(deadline);
        }
    }

    /// Takes a sleeping worker out of the list for good; `false` if it was called meanwhile: then it counts as awake and searching,
    /// and other threads rely on it.
    pub(super) fn leave(&self, me: &Arc<Sleeper>) -> bool {
        let mut sleepers = lock(&self.sleepers);
        let place = sleepers.iter().position(|asleep| Arc::ptr_eq(&asleep.sleeper, me));
        place.map(|place| sleepers.remove(place)).is_some()
    }

    /// Calls all sleeping workers, over the limit if need be, so that they see what has changed.
    pub(super) fn wake_all(&self) {
        let mut sleepers = lock(&self.sleepers);
        let woken = std::mem::take(&mut *sleepers);
        for Asleep { sleeper, .. } in &woken {
            self.word.fetch_add(AWAKE + SEARCHING, Ordering::SeqCst);
            // ORDERING: Release hands over what this thread has changed; the sleeper looks with Acquire.
            sleeper.called.store(true, Ordering::Release);
        }
        drop(sleepers);
        for Asleep { sleeper, .. } in &woken {
            if let Some(thread) = &*lock(&sleeper.thread) {
                thread.unpark();
            }
        }
    }

    /// A worker's task blocks; another worker may be awake instead. The caller then looks whether there is work to call one for.
    pub(super) fn begin_wait(&self) {
        let before = self.word.fetch_sub(AWAKE, Ordering::SeqCst);
        debug_assert!(
            before & AWAKE_MASK != 0,
            "a worker that blocks was awake: below zero it would take the other bits along"
        );
        fence(Ordering::SeqCst);
    }

    pub(super) fn end_wait(&self) {
        self.word.fetch_add(AWAKE, Ordering::SeqCst);
    }

    pub(super) fn is_over_limit(&self) -> bool {
        self.awake() > self.limit()
    }

    /// Lets a worker that does not search lie down if more workers are awake than may be. As after
    /// [`prepare_to_park`](Self::prepare_to_park), the worker then looks at all queues, but leaves the tasks there to the others.
    pub(super) fn park_if_over_limit(&self, me: &Arc<Sleeper>) -> bool {
        let mut sleepers = lock(&self.sleepers);
        let mut word = self.word.load(Ordering::Relaxed);
        while (word & AWAKE_MASK) / AWAKE > self.limit() as u64 {
            match self.word.compare_exchange_weak(word, word - AWAKE, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    // ORDERING: only threads that find it in the list, under the lock, set it.
                    me.called.store(false, Ordering::Relaxed);
                    sleepers.push(Asleep { sleeper: Arc::clone(me), core: sys::current_core() });
                    drop(sleepers);
                    fence(Ordering::SeqCst);
                    return true;
                }
                Err(other) => word = other,
            }
        }
        false
    }
}

/// Takes a worker off the list. If the caller continues, takes the worker that fell asleep last on another core than the caller's
/// (`here`); if the caller's core is about to be free, one that ran on that core.
///
/// A scheduler wakes a thread on the core where it ran last, if it sees no other core idle. In a virtual machine it sees none:
/// a halted virtual core may not be there at once, and does not count as idle. Then a worker that last ran on the caller's core
/// waits behind the caller for milliseconds, while the other core sleeps.
fn take_sleeper(sleepers: &mut Vec<Asleep>, here: usize, caller: Caller) -> Option<Arc<Sleeper>> {
    let suits = |asleep: &Asleep| (asleep.core == here) == (caller == Caller::Blocks);
    let last = sleepers.len().checked_sub(1)?;
    let place = sleepers.iter().rposition(suits).unwrap_or(last);
    Some(sleepers.remove(place).sleeper)
}

/// All interleavings of README.md's protocol with a queue that is only a number, by loom.
#[cfg(all(test, loom))]
mod loom_models;
