//! Who sleeps, who looks for work, and whom a submit wakes: the protocol of README.md, with its loom models.

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

/// The lowest bits of the word: workers that look for work.
const SEARCHING: u64 = 1;
const SEARCHING_MASK: u64 = (1 << 24) - 1;
/// Then workers that are awake: they search or run a task, and do not block in one.
const AWAKE: u64 = 1 << 24;
const AWAKE_MASK: u64 = SEARCHING_MASK << 24;
/// More workers than any system starts, and few enough to be counted in the word, with those that stand in, and to be
/// reckoned with.
pub(super) const MOST_WORKERS: usize = 1 << 20;
/// No more tasks are taken.
const SHUT: u64 = 1 << 62;
/// No more tasks are run.
const BROKEN: u64 = 1 << 63;

/// What has come of the announcement of new tasks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// Somebody comes for them; so many workers are to be started to help, and count as awake and searching already.
    Seen { start: usize },
    /// The pool was closed before they were seen, perhaps, and perhaps nobody comes.
    Closed,
}

/// Why a sleep ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slept {
    /// Somebody wants this worker to look for work. It counts as awake and searching again.
    Called,
    /// The time is up. The worker does not count any more.
    TimedOut,
}

/// A worker that has lain down.
struct Asleep {
    sleeper: Arc<Sleeper>,
    /// Where it ran last.
    core: usize,
}

/// What whoever calls a worker does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    GoesOn,
    Blocks,
}

pub(super) struct Sleep {
    word: AtomicU64,
    /// How many may be awake.
    limit: AtomicU64,
    /// In the order in which they lay down. The last is called first: its caches are warm, and the others may leave in time.
    sleepers: Mutex<Vec<Asleep>>,
}

impl Sleep {
    pub(super) fn new(limit: usize) -> Self {
        Self { word: AtomicU64::new(0), limit: AtomicU64::new(limit as u64), sleepers: Mutex::new(Vec::new()) }
    }

    #[inline]
    pub(super) fn limit(&self) -> usize {
        // ORDERING: a number that stands for itself; who changes it announces work afterwards.
        usize::try_from(self.limit.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        // ORDERING: as in `limit`.
        self.limit.store(limit as u64, Ordering::Relaxed);
        // The pair of the fence in `announce`: either who submits sees the new limit, or the caller sees the task.
        fence(Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn is_shut(&self) -> bool {
        // ORDERING: a first look; what has to be exact is decided in `announce`.
        self.word.load(Ordering::Relaxed) & SHUT != 0
    }

    pub(super) fn is_closed(&self) -> bool {
        // ORDERING: as in `is_shut`.
        self.word.load(Ordering::Relaxed) & (SHUT | BROKEN) != 0
    }

    #[inline]
    pub(super) fn awake(&self) -> usize {
        // ORDERING: for those who watch.
        usize::try_from((self.word.load(Ordering::Relaxed) & AWAKE_MASK) / AWAKE).unwrap_or(usize::MAX)
    }

    pub(super) fn searching(&self) -> usize {
        // ORDERING: for those who watch.
        usize::try_from(self.word.load(Ordering::Relaxed) & SEARCHING_MASK).unwrap_or(usize::MAX)
    }

    /// Workers that sleep.
    pub(super) fn sleeping(&self) -> usize {
        lock(&self.sleepers).len()
    }

    /// Takes no more tasks. What was queued before is seen by who looks at the queues after this call.
    pub(super) fn shut(&self) {
        self.word.fetch_or(SHUT, Ordering::SeqCst);
        // The pair of the fence in `announce`.
        fence(Ordering::SeqCst);
    }

    /// Runs no more tasks; as [`shut`](Self::shut).
    pub(super) fn break_off(&self) {
        self.word.fetch_or(BROKEN, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// So many tasks were put into a queue: wakes as many workers as can be of use, unless somebody looks for work anyhow, or
    /// nobody `is_needed` for them any more.
    #[inline]
    pub(super) fn announce(&self, tasks: usize, is_needed: impl Fn() -> bool) -> Announced {
        // Either the one who falls asleep (or shuts the pool) sees the task, or this thread sees the change of the word.
        fence(Ordering::SeqCst);
        // ORDERING: ordered by the fence.
        let word = self.word.load(Ordering::Relaxed);
        if word & (SHUT | BROKEN) != 0 {
            return Announced::Closed;
        }
        if word & SEARCHING_MASK >= tasks as u64 || (word & AWAKE_MASK) / AWAKE >= self.limit() as u64 {
            return Announced::Seen { start: 0 };
        }
        Announced::Seen { start: self.call(tasks, is_needed, Caller::GoesOn) }
    }

    /// As [`announce`](Self::announce), from inside the pool: tasks that are queued are run even after a shutdown.
    pub(super) fn wake_for(&self, tasks: usize) -> usize {
        fence(Ordering::SeqCst);
        self.call(tasks, || true, Caller::GoesOn)
    }

    #[cold]
    fn call(&self, tasks: usize, is_needed: impl Fn() -> bool, caller: Caller) -> usize {
        // ORDERING: Acquire: who sees that a worker has stopped searching, because it has found the task, sees that it has.
        let mut word = self.word.load(Ordering::Acquire);
        let called = loop {
            let searching = word & SEARCHING_MASK;
            let awake = (word & AWAKE_MASK) / AWAKE;
            let wanted = (tasks as u64).saturating_sub(searching).min((self.limit() as u64).saturating_sub(awake));
            // After the look at the word: who takes the task from now on was not searching then, or changes the word first.
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

    /// As [`wake_for`](Self::wake_for), for one worker, from one whose task is about to block.
    pub(super) fn wake_stand_in(&self) -> usize {
        fence(Ordering::SeqCst);
        self.call(1, || true, Caller::Blocks)
    }

    /// A worker that was called could not be started.
    pub(super) fn note_failed_start(&self) {
        self.word.fetch_sub(AWAKE + SEARCHING, Ordering::SeqCst);
        // The pair of the fence in `announce`: who has counted on the call has queued what the caller now finds.
        fence(Ordering::SeqCst);
    }

    pub(super) fn begin_search(&self) {
        self.word.fetch_add(SEARCHING, Ordering::SeqCst);
    }

    /// The worker has found something. `true` when nobody searches now: then it has to look whether there is more, and
    /// call for it, because those who submitted meanwhile counted on the search.
    pub(super) fn end_search(&self) -> bool {
        let last = self.word.fetch_sub(SEARCHING, Ordering::SeqCst) & SEARCHING_MASK == SEARCHING;
        if last {
            // The pair of the fence in `announce`, as everywhere before a look at the queues.
            fence(Ordering::SeqCst);
        }
        last
    }

    /// To be called by a worker that searches. Afterwards it looks at all queues once more, and then either
    /// [gets up](Self::cancel_park) or [sleeps](Self::sleep).
    pub(super) fn prepare_to_park(&self, me: &Arc<Sleeper>) {
        let mut sleepers = lock(&self.sleepers);
        // ORDERING: only set by those who find it in the list, under the lock.
        me.called.store(false, Ordering::Relaxed);
        sleepers.push(Asleep { sleeper: Arc::clone(me), core: sys::current_core() });
        self.word.fetch_sub(AWAKE + SEARCHING, Ordering::SeqCst);
        drop(sleepers);
        fence(Ordering::SeqCst);
    }

    /// There is work after all: `true` when this worker is awake and searches again. Otherwise somebody else takes care of it:
    /// one who searches, one who has counted a call and is about to make it (perhaps to this worker, which therefore stays on
    /// the list), or as many are awake as may be, one of whom was called since.
    pub(super) fn cancel_park(&self, me: &Arc<Sleeper>) -> bool {
        let mut sleepers = lock(&self.sleepers);
        let Some(place) = sleepers.iter().rposition(|asleep| Arc::ptr_eq(&asleep.sleeper, me)) else {
            // Called, and counted.
            return true;
        };
        // ORDERING: what others change of the word later, they do before they look at the queues themselves.
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

    /// Sleeps until somebody calls.
    pub(super) fn sleep(&self, me: &Arc<Sleeper>, deadline: Option<Instant>) -> Slept {
        loop {
            // ORDERING: Acquire pairs with the Release of who called.
            if me.called.load(Ordering::Acquire) {
                return Slept::Called;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return if self.leave(me) { Slept::TimedOut } else { Slept::Called };
            }
            park_until(deadline);
        }
    }

    /// Takes a worker that has lain down out of the list for good; `false` when it was called meanwhile, counts as awake and
    /// searching, and is relied on.
    pub(super) fn leave(&self, me: &Arc<Sleeper>) -> bool {
        let mut sleepers = lock(&self.sleepers);
        let place = sleepers.iter().position(|asleep| Arc::ptr_eq(&asleep.sleeper, me));
        place.map(|place| sleepers.remove(place)).is_some()
    }

    /// Calls everybody who sleeps, over the limit if need be, so that they see what has changed.
    pub(super) fn wake_all(&self) {
        let mut sleepers = lock(&self.sleepers);
        let woken = std::mem::take(&mut *sleepers);
        for Asleep { sleeper, .. } in &woken {
            self.word.fetch_add(AWAKE + SEARCHING, Ordering::SeqCst);
            // ORDERING: as in `call`.
            sleeper.called.store(true, Ordering::Release);
        }
        drop(sleepers);
        for Asleep { sleeper, .. } in &woken {
            if let Some(thread) = &*lock(&sleeper.thread) {
                thread.unpark();
            }
        }
    }

    /// A worker's task blocks; another worker may be awake instead. The caller then looks whether there is work to call for.
    pub(super) fn begin_wait(&self) {
        let before = self.word.fetch_sub(AWAKE, Ordering::SeqCst);
        debug_assert!(before & AWAKE_MASK != 0, "who blocks was awake: below zero it would take the other bits along");
        fence(Ordering::SeqCst);
    }

    pub(super) fn end_wait(&self) {
        self.word.fetch_add(AWAKE, Ordering::SeqCst);
    }

    pub(super) fn is_over_limit(&self) -> bool {
        self.awake() > self.limit()
    }

    /// Lets a worker that does not search lie down if more are awake than may be. As after [`prepare_to_park`](Self::prepare_to_park), it
    /// then looks at all queues; but whatever is there is for others.
    pub(super) fn park_if_over_limit(&self, me: &Arc<Sleeper>) -> bool {
        let mut sleepers = lock(&self.sleepers);
        let mut word = self.word.load(Ordering::Relaxed);
        while (word & AWAKE_MASK) / AWAKE > self.limit() as u64 {
            match self.word.compare_exchange_weak(word, word - AWAKE, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    // ORDERING: as in `prepare_to_park`.
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

/// Takes the one off the list that fell asleep last on another core than the caller's (`here`), if he goes on; on his own, if
/// that is about to be free.
///
/// A scheduler wakes a thread on the core where it ran last, if it sees no other one idle. In a virtual machine it sees none:
/// a halted virtual core may not be there at once, and does not count as idle. Then a worker that last ran on the core of who
/// calls it waits behind him for milliseconds, while the other core sleeps.
fn take_sleeper(sleepers: &mut Vec<Asleep>, here: usize, caller: Caller) -> Option<Arc<Sleeper>> {
    let suits = |asleep: &Asleep| (asleep.core == here) == (caller == Caller::Blocks);
    let last = sleepers.len().checked_sub(1)?;
    let place = sleepers.iter().rposition(suits).unwrap_or(last);
    Some(sleepers.remove(place).sleeper)
}

/// Every interleaving of README.md's protocol with a queue that is only a number, by loom.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::{
        sync::{Arc as LoomArc, atomic::AtomicUsize},
        thread,
    };

    use super::*;

    struct Pool {
        idle: Sleep,
        queued: AtomicUsize,
        ran: AtomicUsize,
        /// Of workers that a submit has started.
        started: Mutex<Vec<thread::JoinHandle<()>>>,
    }

    impl Pool {
        fn new(limit: usize) -> LoomArc<Self> {
            LoomArc::new(Self {
                idle: Sleep::new(limit),
                queued: AtomicUsize::new(0),
                ran: AtomicUsize::new(0),
                started: Mutex::new(Vec::new()),
            })
        }

        /// As weak as the real queues are: what is not ordered here is ordered by the protocol, or by nothing.
        fn has_work(&self) -> bool {
            self.queued.load(Ordering::Relaxed) > 0
        }

        fn take(&self) -> bool {
            let take = |queued: usize| queued.checked_sub(1);
            self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
        }

        /// `false` when it was refused.
        fn submit(this: &LoomArc<Self>) -> bool {
            if this.idle.is_closed() {
                return false;
            }
            this.queued.fetch_add(1, Ordering::Relaxed);
            match this.idle.announce(1, || this.has_work()) {
                Announced::Seen { start } => {
                    assert!(start <= 1);
                    if start == 1 {
                        let pool = LoomArc::clone(this);
                        lock(&this.started).push(thread::spawn(move || Pool::serve(&pool)));
                    }
                    true
                }
                // Taken back, unless somebody has it already.
                Announced::Closed => !this.take(),
            }
        }

        /// The life of a worker, as in `worker.rs`. Each step is taken by the same rules.
        fn serve(this: &LoomArc<Self>) {
            let me = Arc::new(Sleeper::new());
            me.enter();
            let mut searching = true;
            loop {
                if this.take() {
                    if std::mem::take(&mut searching) && this.idle.end_search() && this.has_work() {
                        assert_eq!(this.idle.wake_for(1), 0, "the model starts one worker");
                    }
                    this.ran.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                if !searching {
                    this.idle.begin_search();
                    searching = true;
                    continue;
                }
                this.idle.prepare_to_park(&me);
                if this.has_work() && this.idle.cancel_park(&me) {
                    continue;
                }
                if this.idle.is_shut() {
                    if this.idle.leave(&me) {
                        return;
                    }
                    continue;
                }
                assert_eq!(this.idle.sleep(&me, None), Slept::Called);
            }
        }
    }

    /// With at most three preemptions: without a bound the two models take hours.
    fn check(model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    #[test]
    fn no_task_is_left_without_a_worker_to_take_it() {
        check(|| {
            let pool = Pool::new(1);
            assert_eq!(pool.idle.wake_for(1), 1);
            let serving = LoomArc::clone(&pool);
            let worker = thread::spawn(move || Pool::serve(&serving));
            assert!(Pool::submit(&pool));
            assert!(Pool::submit(&pool));
            pool.idle.shut();
            pool.idle.wake_all();
            worker.join().unwrap();
            assert_eq!((pool.ran.load(Ordering::Relaxed), pool.has_work()), (2, false));
        });
    }

    #[test]
    fn a_worker_that_falls_asleep_is_enough_for_one_task() {
        check(|| {
            let pool = Pool::new(2);
            assert_eq!(pool.idle.wake_for(1), 1);
            let serving = LoomArc::clone(&pool);
            let worker = thread::spawn(move || Pool::serve(&serving));
            assert!(Pool::submit(&pool));
            assert!(lock(&pool.started).is_empty(), "a second worker was started in vain");
            pool.idle.shut();
            pool.idle.wake_all();
            worker.join().unwrap();
            assert_eq!((pool.ran.load(Ordering::Relaxed), pool.has_work()), (1, false));
        });
    }

    #[test]
    fn a_task_that_comes_with_the_shutdown_is_run_or_refused() {
        check(|| {
            let pool = Pool::new(1);
            assert_eq!(pool.idle.wake_for(1), 1);
            let (serving, submitting) = (LoomArc::clone(&pool), LoomArc::clone(&pool));
            let worker = thread::spawn(move || Pool::serve(&serving));
            let submitter = thread::spawn(move || Pool::submit(&submitting));
            pool.idle.shut();
            pool.idle.wake_all();
            worker.join().unwrap();
            // As in `Pool::shut_down`: the submitter may not have come to its announcement yet.
            if pool.idle.awake() == 0 && pool.has_work() && pool.idle.wake_for(1) == 1 {
                Pool::serve(&pool);
            }
            let taken = submitter.join().unwrap();
            let started = std::mem::take(&mut *lock(&pool.started));
            started.into_iter().for_each(|worker| worker.join().unwrap());
            assert_eq!((pool.ran.load(Ordering::Relaxed), pool.has_work()), (usize::from(taken), false));
        });
    }
}
