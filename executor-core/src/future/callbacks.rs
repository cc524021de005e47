//! Where done-callbacks run: on threads of their own, so that a slow or panicking one delays no task and no other callback.
//!
//! One thread runs callbacks; one stands by. When callbacks wait and none has been taken for [`STALLED_AFTER`], the thread that
//! stands by joins in and a new one stands by, up to [`MAX_THREADS`]. Threads with nothing to do for [`IDLE`] leave. The wait for
//! a stall happens only while callbacks are queued, so no thread wakes up in an idle program.
//!
//! A second set of such threads calls wakers and observers, and drops the user's values, where that would hold up a thread that
//! other threads rely on. The sets are separate because a callback may wait for as long as it likes: for example for a task whose
//! time limit an observer has to be told of first.
//!
//! An executor that ends waits until the callbacks of its tasks have run, or a program would lose the last ones. It does not wait
//! where it could wait for itself: in a callback, and in one of its own workers, for which a callback may be waiting.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use super::{
    pool_context::{BlockingGuard, current_pool, run_user_code},
    shortage,
    state::Completed,
};
use crate::{
    panic,
    sync::sleep_until,
    sys::{self, PerProcess},
};

/// A callback of a pool, counted from when it is added until it has run.
pub(crate) struct Callback {
    pool: u64,
    call: Option<Box<dyn FnOnce(Completed) + Send>>,
}

/// How many callbacks of each pool have not run. Callbacks of promises without a pool are not counted.
static PENDING: PerProcess<Pending> = PerProcess::new(Pending::default);

#[derive(Default)]
struct Pending {
    count: Mutex<BTreeMap<u64, usize>>,
    /// Notified when a pool has no callbacks left.
    all_run: Condvar,
}

thread_local! {
    /// The pool whose callback this thread is running.
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
}

fn pending() -> MutexGuard<'static, BTreeMap<u64, usize>> {
    PENDING.get().count.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Callback {
    pub(super) fn new(pool: u64, call: impl FnOnce(Completed) + Send + 'static) -> Self {
        if pool != 0 {
            *pending().entry(pool).or_default() += 1;
        }
        Self { pool, call: Some(Box::new(call)) }
    }

    fn run(mut self, completed: Completed) {
        let outer = RUNNING.replace(Some(self.pool));
        if let Some(call) = self.call.take() {
            // Contained, so that the next callback and the thread continue.
            panic::contain(|| call(completed));
        }
        RUNNING.set(outer);
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if self.pool == 0 {
            return;
        }
        let mut pending = pending();
        if let Some(count) = pending.get_mut(&self.pool) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.pool);
                PENDING.get().all_run.notify_all();
            }
        }
    }
}

/// Waits until the callbacks of a pool's tasks have run, at the latest until `end`; returns how many have not.
pub(crate) fn wait_for_all(pool: u64, end: Option<Instant>) -> usize {
    let own = RUNNING.get();
    // The callback that makes this call is about to end, and does not count.
    let left = |pending: &BTreeMap<u64, usize>| {
        pending.get(&pool).copied().unwrap_or(0).saturating_sub((own == Some(pool)).into())
    };
    let now = left(&pending());
    if now == 0 || own.is_some() || current_pool() == pool || thread::panicking() {
        return now;
    }
    // A callback may be waiting for the pool whose worker this thread is.
    let here = BlockingGuard::begin();
    loop {
        let pending = pending();
        let left = left(&pending);
        if left == 0 || end.is_some_and(|end| end <= Instant::now()) {
            return left;
        }
        drop(sleep_until(&PENDING.get().all_run, pending, here.until(end)));
    }
}

const STALLED_AFTER: Duration = Duration::from_millis(2);
const IDLE: Duration = Duration::from_secs(5);
const MAX_THREADS: usize = 128;

enum Job {
    Call(Vec<Callback>, Completed),
    Wake(Waker),
    Drop(Box<dyn Send>),
    Run(Box<dyn FnOnce() + Send>),
    /// Stands for a fault of this crate.
    #[cfg(all(test, not(loom)))]
    Panic,
}

impl Job {
    fn run(self) {
        match self {
            Self::Call(callbacks, completed) => callbacks.into_iter().for_each(|callback| callback.run(completed)),
            Self::Wake(waker) => as_callback_of_no_pool(|| run_user_code(|| waker.wake())),
            Self::Drop(what) => as_callback_of_no_pool(|| panic::contain(|| drop(what))),
            Self::Run(code) => as_callback_of_no_pool(|| panic::contain(code)),
            #[cfg(all(test, not(loom)))]
            Self::Panic => std::panic::resume_unwind(Box::new("a test asks for it")),
        }
    }
}

/// Runs code that may end an executor: that executor then does not wait for callbacks.
fn as_callback_of_no_pool(run: impl FnOnce()) {
    let outer = RUNNING.replace(Some(0));
    run();
    RUNNING.set(outer);
}

/// Whether this thread is running a job of the callback threads.
pub(super) fn is_running_here() -> bool {
    RUNNING.get().is_some()
}

/// For a thread that other threads rely on: until it ends, it never waits for callbacks, whatever it ends.
pub(crate) fn wait_for_none_here() {
    RUNNING.set(Some(0));
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Jobs taken so far. The number does not change while every running callback is a slow one.
    taken: u64,
    threads: usize,
    waiting: usize,
    /// Threads with nothing to do leave at once.
    are_dismissed: bool,
}

/// Each process has its own: a forked copy has no thread that would run what was queued before.
type Threads = PerProcess<Calls>;

/// The threads of the callbacks.
static CALLS: Threads = PerProcess::new(Calls::default);
/// The threads of everything else.
static OTHERS: Threads = PerProcess::new(Calls::default);

#[derive(Default)]
struct Calls {
    queue: Mutex<Queue>,
    changed: Condvar,
}

fn lock(threads: &'static Threads) -> MutexGuard<'static, Queue> {
    threads.get().queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one future's callbacks in the order in which they were added.
pub(super) fn dispatch(callbacks: Vec<Callback>, completed: Completed) {
    push(&CALLS, Job::Call(callbacks, completed));
}

/// Calls a waker on another thread, where it delays no work of this crate; for threads that other threads rely on.
pub(super) fn wake_elsewhere(waker: Waker) {
    push(&OTHERS, Job::Wake(waker));
}

/// Drops a value of the user's on another thread, where its destructor delays no work of this crate; for threads that other threads
/// rely on.
pub(crate) fn drop_elsewhere<T: Send + 'static>(what: T) {
    if std::mem::needs_drop::<T>() {
        push(&OTHERS, Job::Drop(Box::new(what)));
    }
}

/// Runs code that may call the user's code on another thread, where it delays no work of this crate.
pub(crate) fn run_elsewhere(code: impl FnOnce() + Send + 'static) {
    push(&OTHERS, Job::Run(Box::new(code)));
}

/// Has threads with nothing to do leave, also those that have something to do now and none later; or, with `false`, stay for a while.
#[cfg(target_os = "linux")]
pub(super) fn dismiss(are_dismissed: bool) {
    for threads in [&CALLS, &OTHERS] {
        lock(threads).are_dismissed = are_dismissed;
        threads.get().changed.notify_all();
    }
}

fn push(threads: &'static Threads, job: Job) {
    let mut queue = lock(threads);
    queue.jobs.push_back(job);
    if queue.waiting > 0 {
        threads.get().changed.notify_one();
    } else if queue.threads < MAX_THREADS {
        start(threads, queue);
    }
}

fn start(threads: &'static Threads, mut queue: MutexGuard<'static, Queue>) {
    queue.threads += 1;
    drop(queue);
    if !spawn(move || serve(threads)) {
        // The system has no more threads. A callback must not be lost, so the calling thread runs what is queued, unless there is a
        // thread that will. If what that one is running waits for what is queued, it needs another thread all the same.
        shortage::note(start_missing);
        let mut queue = lock(threads);
        queue.threads -= 1;
        if queue.threads == 0 {
            while let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // This thread may be a worker, and the job may wait for its pool.
                run_user_code(|| job.run());
                queue = lock(threads);
            }
        }
    }
}

fn spawn(serve: impl FnOnce() + Send + 'static) -> bool {
    thread::Builder::new().name("executor-callback".to_owned()).spawn(serve).is_ok()
}

/// Starts a thread for jobs for which none could be started before. It counts itself: if it cannot be started either, no other thread
/// has taken it for one that would run its job.
fn start_missing() {
    for threads in [&CALLS, &OTHERS] {
        let queue = lock(threads);
        let is_needed = !queue.jobs.is_empty() && queue.waiting == 0 && queue.threads < MAX_THREADS;
        drop(queue);
        let serve_as_well = move || {
            lock(threads).threads += 1;
            serve(threads);
        };
        if is_needed && !spawn(serve_as_well) {
            shortage::note(start_missing);
        }
    }
}

/// A thread that is counted. If it ends by a panic, which is a fault of this crate, another one takes its place.
struct Serving {
    threads: &'static Threads,
    is_waiting: bool,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut queue = lock(self.threads);
        queue.threads -= 1;
        queue.waiting -= usize::from(self.is_waiting);
        if thread::panicking() && !queue.jobs.is_empty() {
            start(self.threads, queue);
        }
    }
}

fn serve(threads: &'static Threads) {
    let mut serving = Serving { threads, is_waiting: false };
    let (generation, calls) = (sys::generation(), threads.get());
    let mut queue = lock(threads);
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            queue.taken += 1;
            if !queue.jobs.is_empty() && queue.waiting == 0 && queue.threads < MAX_THREADS {
                // Another thread has to notice if this job is a slow one.
                start(threads, queue);
            } else {
                if !queue.jobs.is_empty() {
                    calls.changed.notify_one();
                }
                drop(queue);
            }
            job.run();
            if sys::generation() != generation {
                sys::end_copy();
            }
            queue = lock(threads);
            continue;
        }
        queue.waiting += 1;
        serving.is_waiting = true;
        let mut is_idle = queue.are_dismissed;
        if !is_idle {
            let (after, timeout) = calls.changed.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            is_idle = timeout.timed_out() || after.are_dismissed;
            queue = after;
        }
        // Other threads may be running callbacks: they get the chance to take what is queued before this one joins in.
        // The arrival of more jobs must not put the end off.
        let (mut taken, mut end) = (queue.taken, Instant::now() + STALLED_AFTER);
        while !queue.jobs.is_empty() && queue.threads > queue.waiting {
            let now = Instant::now();
            if queue.taken != taken {
                (taken, end) = (queue.taken, now + STALLED_AFTER);
            }
            if now >= end {
                break;
            }
            queue = calls.changed.wait_timeout(queue, end - now).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.waiting -= 1;
        serving.is_waiting = false;
        if queue.jobs.is_empty() && is_idle {
            queue.threads -= 1;
            drop(queue);
            // The thread is counted out already: a push from now on does not count on it.
            std::mem::forget(serving);
            return;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn threads_that_panic_are_not_missed() {
        static THREADS: Threads = PerProcess::new(Calls::default);
        for _ in 0..2 * MAX_THREADS {
            push(&THREADS, Job::Panic);
        }
        let (sender, receiver) = mpsc::channel();
        push(&THREADS, Job::Run(Box::new(move || sender.send(7).expect("the test waits"))));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(7));
    }
}
