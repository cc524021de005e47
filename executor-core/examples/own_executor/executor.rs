//! An executor that is built outside of the crate: a new thread for each task, no more than so many at the same time.
//!
//! Everything that futures promise comes from [`Promises`]: cancellation, callbacks that a shutdown waits for, waiting for several,
//! `await`. Only what is this executor's own is here: where its tasks wait, and which threads run them.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use executor_core::{
    CancelHook, Executor, Payload, PoolState, Promise, Promises, Shutdown, ShutdownReport, Stats, Submit, SubmitError,
    Task, TaskError, TaskFuture, TaskId, TaskOptions,
};

/// Runs each task in a new thread. Of [`TaskOptions`] it knows none.
pub(crate) struct ThreadPerTask {
    handle: Handle,
}

/// The part that takes tasks; a map keeps it alive.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Shared>);

struct Shared {
    promises: Promises,
    max_threads: usize,
    state: Mutex<State>,
    /// A thread has ended.
    at_rest: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(TaskId, Box<dyn Job>)>,
    threads: usize,
    is_shut_down: bool,
    done: u64,
    failed: u64,
    cancelled: u64,
}

thread_local! {
    /// The address of the executor whose task this thread runs, or 0.
    static WORKS_FOR: Cell<usize> = const { Cell::new(0) };
}

/// A task whose types are forgotten.
trait Job: Send {
    /// Runs it; whether that gave a result. What is returned resolves its future, after it was counted.
    fn run(self: Box<Self>) -> (Option<bool>, Box<dyn FnOnce()>);
    /// Ends it with this error; `false` when it has ended already.
    fn end(self: Box<Self>, error: TaskError) -> bool;
}

impl<T: Send + 'static, W: FnOnce() -> T + Send> Job for (Promise<T>, W) {
    fn run(self: Box<Self>) -> (Option<bool>, Box<dyn FnOnce()>) {
        let (promise, work) = *self;
        let Some(outcome) = promise.run(work) else { return (None, Box::new(|| ())) };
        // No other code resolves it once it runs.
        (Some(outcome.is_ok()), Box::new(move || _ = promise.set_outcome(outcome)))
    }

    fn end(self: Box<Self>, error: TaskError) -> bool {
        self.0.set_error(error).is_ok()
    }
}

/// Takes a cancelled task out of the queue. Weak, because the promises are a part of what it leads to.
struct Forget(Weak<Shared>);

impl CancelHook for Forget {
    fn cancelled(&self, task: TaskId) {
        let Some(shared) = self.0.upgrade() else { return };
        let mut state = shared.lock();
        state.cancelled += 1;
        let place = state.queue.iter().position(|(other, _)| *other == task);
        let job = place.and_then(|place| state.queue.remove(place));
        drop(state);
        // What the task has captured is the user's: its destructors run without the lock.
        drop(job);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread: one task, and then a successor for the next one.
    fn run(self: &Arc<Self>, job: Box<dyn Job>) {
        WORKS_FOR.set(Arc::as_ptr(self).addr());
        let (outcome, resolve) = job.run();
        let mut state = self.lock();
        match outcome {
            Some(true) => state.done += 1,
            Some(false) => state.failed += 1,
            // Counted where it was cancelled.
            None => {}
        }
        drop(state);
        resolve();
        if let Some(next) = self.next() {
            self.start(next);
        }
    }

    /// The next task, for which a thread that has ended makes room.
    fn next(&self) -> Option<Box<dyn Job>> {
        let mut state = self.lock();
        let next = state.queue.pop_front();
        if next.is_none() {
            state.threads -= 1;
            self.at_rest.notify_all();
        }
        next.map(|(_, job)| job)
    }

    /// Starts a thread for a task; it is counted already.
    fn start(self: &Arc<Self>, job: Box<dyn Job>) {
        let mut next = Some(job);
        while let Some(job) = next {
            let shared = Arc::clone(self);
            // A task whose thread cannot be started is dropped with its promise, which wakes the threads that wait for it.
            match thread::Builder::new().spawn(move || shared.run(job)) {
                Ok(_) => return,
                Err(_) => self.lock().failed += 1,
            }
            next = self.next();
        }
    }
}

impl ThreadPerTask {
    /// No more than `max_threads` tasks run at the same time.
    pub(crate) fn new(max_threads: usize) -> Self {
        let shared = Arc::new_cyclic(|weak| Shared {
            promises: Promises::new(Forget(Weak::clone(weak))),
            max_threads: max_threads.max(1),
            state: Mutex::default(),
            at_rest: Condvar::new(),
        });
        Self { handle: Handle(shared) }
    }
}

impl Submit for Handle {
    fn submit_task<F, A, M>(&self, task: F, args: A, _: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        let (promise, future) = self.0.promises.promise();
        let id = promise.id();
        let job: Box<dyn Job> = Box::new((promise, move || task.call(args)));
        let mut state = self.0.lock();
        if state.is_shut_down {
            // Not under the lock: what the task has captured is the user's.
            drop(state);
            return Err(SubmitError::ShutDown);
        }
        if state.threads < self.0.max_threads {
            state.threads += 1;
            drop(state);
            self.0.start(job);
        } else {
            state.queue.push_back((id, job));
        }
        Ok(future)
    }

    fn max_workers(&self) -> usize {
        self.0.max_threads
    }
}

impl Executor for ThreadPerTask {
    type Handle = Handle;

    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn stats(&self) -> Stats {
        let state = self.handle.0.lock();
        let mut stats = Stats::default();
        (stats.workers, stats.running, stats.queued) = (state.threads, state.threads, state.queue.len());
        (stats.done, stats.failed, stats.cancelled) = (state.done, state.failed, state.cancelled);
        stats
    }

    fn state(&self) -> PoolState {
        let state = self.handle.0.lock();
        match (state.is_shut_down, state.threads) {
            (false, _) => PoolState::Active,
            (true, 0) => PoolState::Ended,
            (true, _) => PoolState::Ending,
        }
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        let shared = &self.handle.0;
        let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        let left = || end.map(|end| end.saturating_duration_since(Instant::now()));
        let mut report = ShutdownReport::default();
        let mut state = shared.lock();
        state.is_shut_down = true;
        if how != Shutdown::Drain {
            let queue = std::mem::take(&mut state.queue);
            drop(state);
            // Another thread may cancel one of them at this moment, and counts it then.
            report.cancelled =
                queue.into_iter().filter_map(|(_, job)| job.end(TaskError::Cancelled).then_some(())).count();
            state = shared.lock();
            state.cancelled += report.cancelled as u64;
        }
        // One of its own tasks would wait for itself.
        let is_own = WORKS_FOR.get() == Arc::as_ptr(shared).addr();
        while state.threads > 0 && !is_own && left() != Some(Duration::ZERO) {
            let wait = left().unwrap_or(Duration::from_secs(3600));
            (state, _) = shared.at_rest.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        }
        (report.running, report.queued) = (state.threads, state.queue.len());
        drop(state);
        report.callbacks = shared.promises.wait_for_callbacks(if is_own { Some(Duration::ZERO) } else { left() });
        report
    }
}

impl Drop for ThreadPerTask {
    fn drop(&mut self) {
        self.shutdown(if thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain }, None);
    }
}
