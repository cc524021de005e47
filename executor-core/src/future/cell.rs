//! The task cell: one atomic state, and under one lock the outcome and who waits for it. See README.md.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{Arc, atomic::AtomicU64},
    task::Waker,
};

use super::callbacks;
use crate::{
    error::TaskError,
    sync::{AtomicU8, Condvar, Mutex, Ordering, lock},
    wait::CompletionSet,
};

/// Names a task for as long as the program runs; hashable, so it can be a map's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // ORDERING: only uniqueness matters. 2^64 tasks are not reached.
        let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX))
    }

    /// The number behind the id.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a callback is told: which task is done, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    id: TaskId,
    state: State,
}

impl Completed {
    /// The task.
    #[must_use]
    pub fn id(self) -> TaskId {
        self.id
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn cancelled(self) -> bool {
        self.state == State::Cancelled
    }

    /// Whether it ended with a [`TaskError`] other than cancellation.
    #[must_use]
    pub fn failed(self) -> bool {
        self.state == State::Failed
    }
}

/// The states of a cell; the last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Pending = 0,
    Running = 1,
    Finished = 2,
    Failed = 3,
    Cancelled = 4,
}

impl State {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Pending,
            1 => Self::Running,
            2 => Self::Finished,
            3 => Self::Failed,
            _ => Self::Cancelled,
        }
    }

    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

/// How a task ended, as it is kept until somebody asks.
pub(crate) enum Outcome<T> {
    /// The result itself.
    Ready(Result<T, TaskError>),
    /// A result from another process, decoded by whoever asks for it and not by the thread that received it.
    Encoded(Box<dyn FnOnce() -> Result<T, TaskError> + Send>),
}

/// Somebody who wants to know when the cell is done.
pub(crate) enum Waiter {
    Thread(Arc<Parker>),
    Waker(Waker),
    Callback(Box<dyn FnOnce(Completed) + Send>),
    Set(Arc<CompletionSet>, usize),
}

/// A blocked thread's own flag.
pub(crate) struct Parker {
    pub(crate) woken: Mutex<bool>,
    pub(crate) wake: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self { woken: Mutex::new(false), wake: Condvar::new() }
    }

    fn unpark(&self) {
        *lock(&self.woken) = true;
        self.wake.notify_one();
    }
}

/// Names a registered waiter, so that it can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaiterKey(u64);

struct Inner<T> {
    outcome: Option<Outcome<T>>,
    waiters: Vec<(WaiterKey, Waiter)>,
    next_key: u64,
}

/// A task's state, outcome and waiters.
pub(crate) struct Cell<T> {
    id: TaskId,
    state: AtomicU8,
    inner: Mutex<Inner<T>>,
}

impl<T> Cell<T> {
    pub(crate) fn new() -> Self {
        Self {
            id: TaskId::next(),
            state: AtomicU8::new(State::Pending as u8),
            inner: Mutex::new(Inner { outcome: None, waiters: Vec::new(), next_key: 0 }),
        }
    }

    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    pub(crate) fn state(&self) -> State {
        // ORDERING: Acquire pairs with the Release in `finish`: who sees a final state sees what led to it.
        State::from_u8(self.state.load(Ordering::Acquire))
    }

    /// Pending -> Running. Who gets `true` is the only one who may run the task.
    pub(crate) fn claim(&self) -> bool {
        self.exchange(State::Pending, State::Running)
    }

    /// Pending -> Cancelled. `true` also when it was cancelled before.
    pub(crate) fn cancel(&self) -> bool {
        let inner = lock(&self.inner);
        if self.exchange(State::Pending, State::Cancelled) {
            self.notify(inner, State::Cancelled);
            true
        } else {
            self.state() == State::Cancelled
        }
    }

    /// Pending or Running -> a final state. The outcome comes back when the cell was already done.
    pub(crate) fn complete(&self, outcome: Outcome<T>) -> Result<(), Outcome<T>> {
        let state = match &outcome {
            Outcome::Ready(Err(TaskError::Cancelled)) => State::Cancelled,
            Outcome::Ready(Err(_)) => State::Failed,
            Outcome::Ready(Ok(_)) | Outcome::Encoded(_) => State::Finished,
        };
        let mut inner = lock(&self.inner);
        loop {
            let now = self.state();
            if now.is_final() {
                return Err(outcome);
            }
            // Only a claim can come between, for every final state is entered under the lock.
            if self.exchange(now, state) {
                break;
            }
        }
        inner.outcome = Some(outcome);
        self.notify(inner, state);
        Ok(())
    }

    fn exchange(&self, from: State, to: State) -> bool {
        // ORDERING: AcqRel. Release publishes what this thread did before the change, Acquire (pairing with it) lets the
        // thread that makes the next change see it. On failure nothing is concluded but that the state differs.
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn notify(&self, mut inner: crate::sync::MutexGuard<'_, Inner<T>>, state: State) {
        if inner.waiters.is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut inner.waiters);
        drop(inner);
        let completed = Completed { id: self.id, state };
        let mut callbacks = Vec::new();
        for (_, waiter) in waiters {
            match waiter {
                Waiter::Thread(parker) => parker.unpark(),
                Waiter::Waker(waker) => waker.wake(),
                Waiter::Set(set, index) => set.push(index),
                Waiter::Callback(callback) => callbacks.push(callback),
            }
        }
        if !callbacks.is_empty() {
            callbacks::dispatch(callbacks, completed);
        }
    }

    /// Registers a waiter; it comes back when the cell is already done and nobody would ever wake it.
    pub(crate) fn subscribe(&self, waiter: Waiter) -> Result<WaiterKey, Waiter> {
        let mut inner = lock(&self.inner);
        // Final states are entered under the lock, so this answer holds until it is released.
        if self.state().is_final() {
            return Err(waiter);
        }
        let key = WaiterKey(inner.next_key);
        inner.next_key += 1;
        inner.waiters.push((key, waiter));
        Ok(key)
    }

    /// Replaces the waker registered under `key`; `false` when the cell is done.
    pub(crate) fn update_waker(&self, key: WaiterKey, waker: &Waker) -> bool {
        let mut inner = lock(&self.inner);
        match inner.waiters.iter_mut().find(|(k, _)| *k == key) {
            Some((_, Waiter::Waker(old))) => {
                old.clone_from(waker);
                true
            }
            _ => false,
        }
    }

    /// Removes a waiter that is still registered.
    pub(crate) fn unsubscribe(&self, key: WaiterKey) {
        let removed = {
            let mut inner = lock(&self.inner);
            let position = inner.waiters.iter().position(|(k, _)| *k == key);
            position.map(|position| inner.waiters.swap_remove(position))
        };
        // Dropped outside the lock: a waker's destructor is somebody else's code.
        drop(removed);
    }

    /// Calls `callback` off this thread once the cell is done; at once when it is.
    pub(crate) fn add_callback(&self, callback: Box<dyn FnOnce(Completed) + Send>) {
        if let Err(Waiter::Callback(callback)) = self.subscribe(Waiter::Callback(callback)) {
            callbacks::dispatch(vec![callback], Completed { id: self.id, state: self.state() });
        }
    }

    /// The outcome of a cell that is done; the second call finds nothing.
    pub(crate) fn take(&self) -> Option<Result<T, TaskError>> {
        let outcome = lock(&self.inner).outcome.take();
        match outcome {
            Some(Outcome::Ready(result)) => Some(result),
            Some(Outcome::Encoded(decode)) => Some(decode()),
            None if self.state() == State::Cancelled => Some(Err(TaskError::Cancelled)),
            None => None,
        }
    }

    /// Whether the cell is done with an error; decodes a result from another process to find out.
    pub(crate) fn is_error(&self) -> bool {
        let mut inner = lock(&self.inner);
        if let Some(Outcome::Encoded(_)) = inner.outcome
            && let Some(Outcome::Encoded(decode)) = inner.outcome.take()
        {
            drop(inner);
            let result = decode();
            inner = lock(&self.inner);
            inner.outcome = Some(Outcome::Ready(result));
        }
        matches!(inner.outcome, Some(Outcome::Ready(Err(ref error))) if *error != TaskError::Cancelled)
    }
}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("id", &self.id).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A cell with the work that fills it, as the future sees it.
pub(crate) trait Shared<T>: Send + Sync {
    fn cell(&self) -> &Cell<T>;

    /// Cancels the task if it has not started; `true` when it is cancelled.
    fn cancel(&self) -> bool {
        self.cell().cancel()
    }

    /// Stops the task even if it runs; `false` where that cannot be done.
    fn kill(&self) -> bool {
        self.cancel()
    }

    /// Which pool will run the task; 0 when none can be told.
    fn pool(&self) -> u64 {
        0
    }

    /// Runs the task on this thread unless somebody has started it.
    fn run_here(self: Arc<Self>) {}
}

/// Every interleaving of the protocol in README.md, by loom: `RUSTFLAGS="--cfg loom" cargo test -p executor-core --lib`.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::{sync::Arc as LoomArc, thread};

    use super::*;
    use crate::sync::wait;

    fn ready(value: u32) -> Outcome<u32> {
        Outcome::Ready(Ok(value))
    }

    /// A thread that blocks as `TaskFuture::block` does; returns what it then finds.
    fn block_on(cell: &Cell<u32>) -> Result<u32, TaskError> {
        let parker = Arc::new(Parker::new());
        if cell.subscribe(Waiter::Thread(Arc::clone(&parker))).is_ok() {
            let mut woken = lock(&parker.woken);
            while !*woken {
                woken = wait(&parker.wake, woken);
            }
        }
        cell.take().expect("who was woken finds the outcome")
    }

    #[test]
    fn a_waiter_is_woken_by_completion_whenever_it_comes() {
        loom::model(|| {
            let cell = LoomArc::new(Cell::new());
            let worker = LoomArc::clone(&cell);
            let worker = thread::spawn(move || {
                assert!(worker.claim());
                assert!(worker.complete(ready(7)).is_ok());
            });
            assert_eq!(block_on(&cell), Ok(7));
            worker.join().unwrap();
        });
    }

    #[test]
    fn of_run_and_cancel_exactly_one_wins_and_the_waiter_learns_which() {
        loom::model(|| {
            let cell = LoomArc::new(Cell::new());
            let (worker, canceller) = (LoomArc::clone(&cell), LoomArc::clone(&cell));
            let worker = thread::spawn(move || worker.claim() && worker.complete(ready(7)).is_ok());
            let canceller = thread::spawn(move || canceller.cancel());
            let outcome = block_on(&cell);
            let (ran, cancelled) = (worker.join().unwrap(), canceller.join().unwrap());
            assert!(ran != cancelled);
            assert_eq!(outcome, if ran { Ok(7) } else { Err(TaskError::Cancelled) });
        });
    }

    #[test]
    fn of_two_outcomes_the_first_stays() {
        loom::model(|| {
            let cell = LoomArc::new(Cell::new());
            let other = LoomArc::clone(&cell);
            let other = thread::spawn(move || other.complete(ready(1)).is_ok());
            let mine = cell.complete(Outcome::Ready(Err(TaskError::ShutDown))).is_ok();
            let others = other.join().unwrap();
            assert!(mine != others);
            assert_eq!(cell.take(), Some(if mine { Err(TaskError::ShutDown) } else { Ok(1) }));
            assert_eq!(cell.take(), None);
        });
    }

    #[test]
    fn a_set_hears_of_every_cell_once() {
        loom::model(|| {
            let set = Arc::new(CompletionSet::new());
            let cells = LoomArc::new([Cell::new(), Cell::new()]);
            let theirs = LoomArc::clone(&cells);
            let worker = thread::spawn(move || {
                assert!(theirs[1].complete(ready(1)).is_ok());
                assert!(theirs[0].cancel());
            });
            for (index, cell) in cells.iter().enumerate() {
                if cell.subscribe(Waiter::Set(Arc::clone(&set), index)).is_err() {
                    set.push(index);
                }
            }
            let mut heard = [set.pop(None), set.pop(None)];
            heard.sort_unstable();
            assert_eq!(heard, [Some(0), Some(1)]);
            assert_eq!(set.try_pop(), None);
            worker.join().unwrap();
        });
    }

    #[test]
    fn a_waiter_that_leaves_misses_nothing_and_breaks_nothing() {
        loom::model(|| {
            let cell = LoomArc::new(Cell::new());
            let worker = LoomArc::clone(&cell);
            let worker = thread::spawn(move || assert!(worker.complete(ready(7)).is_ok()));
            // A wait whose time has run out at once.
            if let Ok(key) = cell.subscribe(Waiter::Thread(Arc::new(Parker::new()))) {
                cell.unsubscribe(key);
            }
            assert_eq!(block_on(&cell), Ok(7));
            worker.join().unwrap();
        });
    }
}
