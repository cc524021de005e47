//! [`RayonExecutor`] (feature `rayon`): this crate's futures over a rayon thread pool of its own.

use std::{
    cell::Cell as StdCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use rayon::{ThreadPool, ThreadPoolBuilder};

mod bottom;

use crate::{
    error::{BuildError, SubmitError},
    executor::Executor,
    future::{
        BlockingGuard, Cell, InProcess, Owner, PoolContext, State as TaskState, TaskFuture, TaskRef, current_pool,
        end_if_elsewhere, enter_pool, is_elsewhere, new_pool_id,
    },
    shutdown::{Shutdown, ShutdownReport, shut_down_and_wait},
    span,
    stats::{PoolState, Stats},
    submit::Submit,
    sync::sleep_until,
    sys,
    task::{Payload, Task, TaskOptions},
    thread::LEAST_STACK,
};

/// Runs tasks in a rayon thread pool of its own, where they may use rayon's own operations as well.
///
/// rayon starts all its threads at once, and has no bound on its queue. A task that waits for another one, of this pool or of
/// any other, has a stand-in meanwhile where there are tasks to be run: one more thread, with a rayon pool of its own. So pools
/// may wait for each other. What a task has given to rayon itself (`rayon::spawn`) is for the pool's own threads alone.
///
/// A thread that waits within one of rayon's operations (`join`, `scope`, a parallel iterator) runs whatever rayon has, on the stack of
/// what waits. A task that began there could wait for the one below it, and neither would ever end. So tasks do not begin there: what
/// comes to such a thread is for stand-ins, which may go on beside all threads of the pool until there are no such tasks. But the parts of
/// rayon's own operations do run there: one that waits for another task may do so on the stack of that task, for ever. Wait before
/// the operation, or after it.
///
/// Dropping the executor waits for its tasks, and not for its threads, which end soon after. A task that is cancelled leaves some
/// 50 bytes with rayon until a thread comes for it.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, RayonExecutor};
///
/// let executor = RayonExecutor::builder().max_workers(2).build()?;
/// assert_eq!(executor.submit(|x: u64| x * 2, 21)?.result()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RayonExecutor {
    handle: RayonHandle,
}

/// A cloneable handle that submits tasks to a [`RayonExecutor`].
#[derive(Clone)]
pub struct RayonHandle {
    shared: Arc<Shared>,
    threads: Arc<ThreadPool>,
}

struct Shared {
    id: u64,
    max_workers: usize,
    stack_size: Option<usize>,
    state: Mutex<State>,
    at_rest: Condvar,
}

#[derive(Default)]
struct State {
    /// Tasks that were submitted and have not been picked up, cancelled, or run in place; to cancel them by, and for stand-ins.
    queue: BTreeMap<u64, TaskRef>,
    /// Threads that have picked up a task and are not back. Changed together with `queue`.
    busy: usize,
    /// Threads of this pool, stand-ins included, that wait for something.
    blocked: usize,
    /// Those of them that are in the middle of a job that is none of our tasks.
    blocked_elsewhere: usize,
    /// Threads that stand in for those that wait. There are no more than these, but for those that are about to notice it, and those
    /// that run what is left.
    stand_ins: usize,
    next: u64,
    queued: usize,
    running: usize,
    /// Jobs that rayon holds, tombstones included.
    jobs: usize,
    /// Those of them that have not begun, each of which comes for a task.
    coming: usize,
    /// Threads to which tasks have come within one of rayon's operations, since there was last none of these tasks.
    within: BTreeSet<Option<usize>>,
    shut_down: bool,
    done: u64,
    failed: u64,
    cancelled: u64,
}

/// Builds a [`RayonExecutor`].
#[derive(Debug, Default)]
#[must_use]
pub struct RayonBuilder {
    max_workers: Option<usize>,
    stack_size: Option<usize>,
}

impl RayonBuilder {
    /// Number of threads. Default: one per CPU that this process may use.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// Stack size of each thread in bytes. Default: std's. Chains of tasks that wait for one another need a larger one, as in
    /// [`ThreadPoolBuilder::stack_size`](crate::ThreadPoolBuilder::stack_size).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes.max(LEAST_STACK));
        self
    }

    /// Builds the executor and starts its threads.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the number of workers is zero or a thread cannot be started.
    pub fn build(self) -> Result<RayonExecutor, BuildError> {
        let max_workers = self.max_workers.unwrap_or_else(sys::available_cpus);
        if max_workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        let shared = Arc::new(Shared {
            id: new_pool_id(),
            max_workers,
            stack_size: self.stack_size,
            state: Mutex::default(),
            at_rest: Condvar::new(),
        });
        let threads = shared.threads(max_workers, "executor-rayon").map_err(|cause| BuildError::System {
            action: "start rayon's threads",
            cause: std::io::Error::other(cause),
        })?;
        if !bottom::is_known() {
            let (sender, receiver) = mpsc::channel();
            bottom::spawn(&threads, Job::Measure(sender));
            // It runs, because there is nothing else that could.
            let _ = receiver.recv();
        }
        Ok(RayonExecutor { handle: RayonHandle { shared, threads: Arc::new(threads) } })
    }
}

impl RayonExecutor {
    /// An executor with so many threads.
    ///
    /// # Errors
    ///
    /// As [`RayonBuilder::build`].
    pub fn new(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// For what can be set.
    pub fn builder() -> RayonBuilder {
        RayonBuilder::default()
    }

    /// Runs any closure in the pool, also one that captures.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] when the executor takes no more tasks.
    pub fn spawn<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<TaskFuture<R>, SubmitError> {
        self.handle.enqueue(work, TaskOptions::new())
    }
}

impl RayonHandle {
    fn enqueue<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        options: TaskOptions,
    ) -> Result<TaskFuture<R>, SubmitError> {
        if is_elsewhere(self.shared.id) {
            return Err(SubmitError::ShutDown);
        }
        let shared = Arc::clone(&self.shared);
        // Asks a subscriber, which is the user's code: not under the lock.
        let work = span::carry(work);
        let (future, number) = {
            let mut state = shared.lock();
            if state.shut_down {
                return Err(SubmitError::ShutDown);
            }
            state.next += 1;
            let number = state.next;
            // Not before: with a queue time the task may end by itself, and only one that was counted may.
            let owner = Place { shared: Arc::clone(&shared), number };
            let (task, future) = InProcess::task(owner, &options, work, |_| ());
            state.queue.insert(number, task);
            state.queued += 1;
            state.jobs += 1;
            state.coming += 1;
            (future, number)
        };
        bottom::spawn(&self.threads, Job::Come(Held(Arc::clone(&shared)), number));
        shared.call_stand_in();
        Ok(future)
    }
}

impl State {
    /// No job is left, and no task is being ended by somebody else: by the one who has noticed that it waited for too long.
    fn is_at_rest(&self) -> bool {
        self.jobs == 0 && self.queued == 0 && self.running == 0 && self.stand_ins == 0
    }

    /// Whether tasks wait in the queue that no thread is free for, because somebody blocks for whom nobody stands in, or that no
    /// thread comes for.
    fn needs_stand_in(&self, max_workers: usize) -> bool {
        let free = (max_workers + self.stand_ins).saturating_sub(self.busy + self.blocked_elsewhere);
        self.stand_ins < self.blocked && self.queue.len() > free
            || self.stand_ins < self.blocked + self.within.len() && self.has_left()
    }

    /// Whether there are more tasks than jobs that come for them: one came to a thread where it could not begin.
    fn has_left(&self) -> bool {
        self.queue.len() > self.coming
    }

    /// The first task, if one is left for whoever is there.
    fn pick_left(&mut self) -> Option<TaskRef> {
        if !self.has_left() {
            self.within.clear();
            return None;
        }
        self.queue.pop_first().map(|(_, task)| task)
    }
}

/// Wakes those who wait for the end where the numbers were not changed to the end.
struct TellsPanic<'a>(&'a Condvar);

impl Drop for TellsPanic<'_> {
    fn drop(&mut self) {
        self.0.notify_all();
    }
}

/// What rayon holds.
enum Job {
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
struct Held(Arc<Shared>);

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
    fn threads(self: &Arc<Self>, count: usize, name: &'static str) -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
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
    fn come_for(self: &Arc<Self>, number: u64, is_at_bottom: bool) {
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
    fn run(&self, task: &TaskRef) {
        let outer = IN_TASK.replace(true);
        task.run();
        end_if_elsewhere(self.id);
        IN_TASK.set(outer);
    }

    /// Starts a thread that stands in for one that blocks, if it takes one. `false` if the system has none: then a later call may
    /// find one.
    fn call_stand_in(self: &Arc<Self>) -> bool {
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
    fn stand_in(&self) {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the numbers, and tells those who wait for the end when it has come, or when there is no telling any more.
    fn change(&self, change: impl FnOnce(&mut State)) {
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

    fn shut_down(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
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
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Place {
    /// The task stands in the queue no longer, whatever has become of it.
    fn leave(&self, change: impl FnOnce(&mut State)) {
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

impl Submit for RayonHandle {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.enqueue(move || task.call(args), options)
    }

    fn max_workers(&self) -> usize {
        self.shared.max_workers
    }
}

impl Executor for RayonExecutor {
    type Handle = RayonHandle;

    fn handle(&self) -> &RayonHandle {
        &self.handle
    }

    fn stats(&self) -> Stats {
        if is_elsewhere(self.handle.shared.id) {
            return Stats::default();
        }
        let state = self.handle.shared.lock();
        Stats {
            workers: self.handle.shared.max_workers,
            idle: self.handle.shared.max_workers.saturating_sub(state.running),
            queued: state.queued,
            running: state.running,
            done: state.done,
            failed: state.failed,
            cancelled: state.cancelled,
            ..Stats::default()
        }
    }

    fn state(&self) -> PoolState {
        if is_elsewhere(self.handle.shared.id) {
            return PoolState::Ended;
        }
        let state = self.handle.shared.lock();
        PoolState::new(None, state.shut_down, state.queued + state.running == 0)
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        shut_down_and_wait(self.handle.shared.id, deadline, || self.handle.shared.shut_down(how, deadline))
    }
}

impl Drop for RayonExecutor {
    fn drop(&mut self) {
        if is_elsewhere(self.handle.shared.id) {
            // rayon would call threads that are not here.
            std::mem::forget(Arc::clone(&self.handle.threads));
            return;
        }
        let how = if std::thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain };
        self.shutdown(how, None);
    }
}

impl fmt::Debug for RayonExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RayonExecutor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RayonHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RayonHandle").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
        thread,
    };

    use super::*;

    /// Whatever rayon and the compiler make of the way there.
    #[test]
    fn at_the_bottom_of_a_stack_tasks_run_on_the_threads_of_the_pool() {
        let executor = RayonExecutor::new(2).unwrap();
        let work = || thread::current().name().map(str::to_owned);
        for _ in 0..50 {
            let futures: Vec<_> = (0..20).map(|_| executor.spawn(work).unwrap()).collect();
            for future in futures {
                let name = future.result().unwrap().unwrap();
                assert!(["executor-rayon-0", "executor-rayon-1"].contains(&name.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn a_panic_with_the_lock_leaves_nobody_waiting() {
        let executor = RayonExecutor::new(1).unwrap();
        let shared = Arc::clone(&executor.handle.shared);
        shared.change(|state| state.jobs += 1);
        let (sender, receiver) = std::sync::mpsc::channel();
        let ends = thread::spawn(move || {
            drop(executor);
            sender.send(()).unwrap();
        });
        // Whether the other one waits already or not.
        let panics = |_: &mut State| resume_unwind(Box::new("a test asks for it"));
        assert!(catch_unwind(AssertUnwindSafe(|| shared.change(panics))).is_err());
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(()));
        ends.join().unwrap();
    }
}
