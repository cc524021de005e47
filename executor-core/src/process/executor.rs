//! The handles of a process pool: what users call.

use std::{
    fmt,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    config::Config,
    parent::{ledger::events, lifecycle::Lifecycle, pool::PoolShared, supervisor, workers::handle::WorkerHandle},
    wire::identity::Identity,
    worker::entry::EntryOf,
};
use crate::{
    cancel::CancelToken,
    error::{BuildError, SubmitError, TaskError},
    executor::Executor,
    future::{Promise, TaskFuture, TaskRef, WaitingHere},
    map::{ChunkInput, ChunkOutput},
    panic,
    portable::{
        answer::{Chunk, Decode, Single},
        job::{Encoded, Job, Owner, ProcessTask},
        request::Request,
    },
    shm::flags,
    shutdown::{Shutdown, ShutdownReport, shut_down_and_wait},
    span,
    stats::{PoolState, Stats},
    submit::Submit,
    sys,
    task::{Payload, Task, TaskOptions},
};

/// Runs tasks in worker processes: they can be killed, and when one crashes it takes nothing with it but the task that it
/// was running.
///
/// Workers are this program, started again ([`init`](crate::init) must be the first line of `main`), on demand and up to
/// `max_workers`. Each has one channel to the pool and nothing in common with the others. The pool keeps the queue; a worker
/// gets its next task when it has answered the last one, so a queued task can be cancelled until the moment it starts, and
/// [`running`](TaskFuture::running) is true only for tasks that run. When the program ends, however it ends, its workers
/// end too.
///
/// A task in a worker process may use thread pools. It may not build a process pool: that is
/// [`BuildError::InsideWorker`]. Futures, promises and executors cannot be sent to a worker.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ProcessPoolExecutor, TaskError};
///
/// fn crash(_: ()) { std::process::abort() }
/// fn square(x: u64) -> u64 { x * x }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     executor_core::init();
///     let pool = ProcessPoolExecutor::builder().max_workers(2).build()?;
///     let crashed = pool.submit(crash, ())?;
///     let future = pool.submit(square, 12)?;
///     assert!(matches!(crashed.result(), Err(TaskError::WorkerDied { .. })));
///     assert_eq!(future.result()?, 144);
///     Ok(())
/// }
/// ```
pub struct ProcessPoolExecutor {
    core: ProcessPoolCore,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// The part of a [`ProcessPoolExecutor`] that takes tasks ([`Submit`]), for who submits but does not own the pool: running maps,
/// callbacks, other threads. Cloning it is cheap, and it does not keep the pool from shutting down: then it refuses. It cannot
/// be sent to a worker.
#[derive(Clone)]
pub struct ProcessPoolCore {
    shared: Arc<PoolShared>,
    /// The same, as tasks hold on to it.
    owner: Arc<Owner>,
}

impl ProcessPoolExecutor {
    /// A pool of at most `max_workers` processes, with defaults for the rest.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; see [`ProcessPoolBuilder::build`](crate::ProcessPoolBuilder::build).
    pub fn new(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    pub(super) fn from_config(config: Config) -> Result<Self, BuildError> {
        let system = |action| move |cause| BuildError::System { action, cause };
        let identity = Identity::of_this_program().map_err(system("identify the program's own file"))?;
        // What stays for the program's lifetime is there from the first pool on. Where there is none for now, each start tries again.
        let _ = flags::table_file();
        let (doorbell, doorbell_rx) = UnixStream::pair().map_err(system("make a socket pair"))?;
        sys::be_quiet(&doorbell).map_err(system("make a socket pair"))?;
        for end in [&doorbell, &doorbell_rx] {
            end.set_nonblocking(true).map_err(system("make a socket pair"))?;
        }
        let shared = Arc::new(PoolShared::new(config, identity, doorbell));
        shared.note_self();
        let supervised = Arc::clone(&shared);
        let supervisor = thread::Builder::new()
            .name("executor-supervisor".to_owned())
            .spawn(move || supervisor::run(&supervised, &doorbell_rx))
            .map_err(system("start the supervisor thread"))?;
        let owner = Owner::new(Arc::clone(&shared) as _);
        Ok(Self { core: ProcessPoolCore { shared, owner }, supervisor: Mutex::new(Some(supervisor)) })
    }

    /// Starts all workers now, and waits until they are ready.
    ///
    /// # Errors
    ///
    /// [`TaskError::InitializerFailed`] or [`TaskError::NoWorker`] when they cannot be had; where that is because the system has
    /// no room for them at the moment, or because workers that were ready have died again and again for as long as one may take
    /// to start ([`startup_timeout`](crate::ProcessPoolBuilder::startup_timeout)), it can be tried again.
    /// [`TaskError::ShutDown`] after a shutdown.
    pub fn warm_up(&self) -> Result<(), TaskError> {
        let pool = &self.core.shared;
        if pool.is_elsewhere() {
            return Err(TaskError::Forked);
        }
        let mut state = pool.lock();
        state.staffing.begin_warm_up(pool.config.max_workers);
        state.sleep.call();
        pool.conclude(state);
        state = pool.lock();
        let outcome = loop {
            if let Some(error) = state.lifecycle.broken().or(state.staffing.warm_up_failure()) {
                break Err(error.clone());
            }
            if state.lifecycle.is_shut_down() {
                break Err(TaskError::ShutDown);
            }
            if state.workers.count(WorkerHandle::is_ready) >= pool.config.max_workers {
                break Ok(());
            }
            state = state.wait(&pool.changed, None);
        };
        state.staffing.end_warm_up();
        // From now on workers may leave again.
        state.sleep.call();
        pool.conclude(state);
        outcome
    }

    /// Process ids of the workers.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        if self.core.shared.is_elsewhere() {
            return Vec::new();
        }
        self.core.shared.lock().workers.iter().map(WorkerHandle::pid).collect()
    }

    /// Process id of the process that workers are forked from, while there is one; none after the end.
    #[must_use]
    pub fn fork_server_pid(&self) -> Option<u32> {
        if self.core.shared.is_elsewhere() {
            return None;
        }
        self.core.shared.lock().staffing.fork_server
    }

    /// Ends all workers by SIGTERM, and by SIGKILL those that are there after the grace time; cancels what is queued. Same
    /// as `shutdown(Shutdown::Kill, None)`.
    pub fn terminate_workers(&self) -> ShutdownReport {
        self.end(Shutdown::Kill, None, self.core.shared.config.grace)
    }

    /// Ends all workers by SIGKILL at once, whatever they do: also those that start, are idle, or have been told to stop before;
    /// cancels what is queued.
    pub fn kill_workers(&self) -> ShutdownReport {
        self.end(Shutdown::Kill, None, Duration::ZERO)
    }

    /// A token that [`Shutdown::Kill`] cancels, for tasks that watch one.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.core.shared.token.clone()
    }

    fn end(&self, how: Shutdown, deadline: Option<Duration>, grace: Duration) -> ShutdownReport {
        shut_down_and_wait(self.core.shared.id, deadline, || self.shut_down(how, deadline, grace))
    }

    fn shut_down(&self, how: Shutdown, deadline: Option<Duration>, grace: Duration) -> ShutdownReport {
        let pool = &self.core.shared;
        if pool.is_elsewhere() {
            return ShutdownReport::default();
        }
        let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        let mut report = ShutdownReport::default();
        let mut state = pool.lock();
        state.shut_down();
        if how != Shutdown::Drain {
            state.queue.begin_closing();
            state.take_all_back();
            loop {
                let cancelled = state.cancel_some();
                report.cancelled += cancelled;
                if cancelled == 0 {
                    break;
                }
                // A long queue does not keep others from the pool.
                pool.conclude(state);
                state = pool.lock();
            }
            if how == Shutdown::Kill {
                report.killed = state.stop_all(&TaskError::ShutDown, grace);
                state.stop_rest(grace);
                // The rests of chunks whose workers have died.
                report.killed += state.queue.len();
                state.fail_queue(&TaskError::ShutDown);
            }
            state.queue.end_closing();
            pool.conclude(state);
            if how == Shutdown::Kill {
                pool.token.cancel();
            }
            state = pool.lock();
        }
        pool.space.notify_all();
        pool.changed.notify_all();
        pool.wake_supervisor();
        drop(state);
        // A worker of a thread pool has a stand-in there, for whom an input or a callback may be waiting.
        let here = WaitingHere::begin();
        state = pool.lock();
        // A pool that is ended by its own supervisor ends when that one goes on.
        while !state.lifecycle.has_ended() && !pool.is_supervisor_here() && end.is_none_or(|end| end > Instant::now()) {
            // The pool of this thread has a worker, which is this thread: nothing of the user's is run there under this lock.
            let left = here.until(end).map(|until| until.saturating_duration_since(Instant::now()));
            state = state.wait(&pool.changed, left);
        }
        // The last that there is to tell.
        while state.lifecycle.has_ended()
            && !state.ledger.events.is_told()
            && !pool.is_supervisor_here()
            && !events::is_telling_here()
        {
            state = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => state.wait(&pool.changed, None),
                Some(Duration::ZERO) => break,
                left => state.wait(&pool.changed, left),
            };
        }
        report.running = state.running();
        report.queued = state.not_running(report.running);
        let ended = state.lifecycle.has_ended();
        drop(state);
        drop(here);
        if ended
            && !pool.is_supervisor_here()
            && let Some(supervisor) = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            // It has nothing left to do. What it may have panicked with is told by the pool's tasks.
            let _ = supervisor.join();
        }
        report
    }
}

/// Where arguments are encoded: memory that each submitting thread keeps.
fn with_scratch<R>(encode: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local! {
        static SCRATCH: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
    }
    // Taken out meanwhile: encoding an argument may submit something else.
    // In an exit handler, or the destructor of another thread-local, it may be gone; then the memory is for this call alone.
    let mut scratch = SCRATCH.try_with(std::cell::Cell::take).unwrap_or_default();
    scratch.clear();
    let result = encode(&mut scratch);
    scratch.shrink_to(1 << 20);
    let _ = SCRATCH.try_with(|place| place.set(scratch));
    result
}

impl ProcessPoolCore {
    fn enqueue<D: Decode>(
        &self,
        encoded: Result<Request, TaskError>,
        bytes: &mut Vec<u8>,
        options: TaskOptions,
    ) -> Result<TaskFuture<D::Output>, SubmitError> {
        let pool = &self.shared;
        if pool.is_elsewhere() {
            return Err(SubmitError::ShutDown);
        }
        // A time too long for the clock is no limit.
        let deadline = options.space_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // Not under the lock: it is kept by foreign code.
        let span = span::current();
        let mut state = pool.lock();
        if state.ledger.events.is_behind() {
            state = pool.let_observer_catch_up(state);
        }
        loop {
            if state.lifecycle.is_shut_down() {
                return Err(SubmitError::ShutDown);
            }
            let error = match (state.lifecycle.broken(), &encoded) {
                (Some(error), _) | (None, Err(error)) => Some(error),
                (None, Ok(_)) => None,
            };
            if let Some(error) = error {
                let (promise, future) = Promise::new();
                // Nobody can see it before it is counted: its handle is here.
                let _ = promise.set_error(error.clone());
                state.ledger.refuse(future.cell());
                pool.conclude(state);
                return Ok(future);
            }
            if pool.config.queue_capacity == usize::MAX || state.waiting() < pool.config.queue_capacity {
                break;
            }
            // There may be answers that nobody has received, and with them space.
            state.receive_all();
            state.refill();
            if state.waiting() < pool.config.queue_capacity {
                break;
            }
            if options.refuse_when_full {
                pool.conclude(state);
                return Err(SubmitError::Full);
            }
            state.begin_wait_for_space();
            pool.conclude(state);
            state = pool.lock();
            let mut is_late = false;
            while state.waiting() >= pool.config.queue_capacity && matches!(state.lifecycle, Lifecycle::Open) {
                state = match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
                    None => state.wait(&pool.space, None),
                    Some(Duration::ZERO) => {
                        is_late = true;
                        break;
                    }
                    left => state.wait(&pool.space, left),
                };
            }
            state.ledger.end_wait_for_space();
            if is_late {
                pool.conclude(state);
                return Err(SubmitError::Full);
            }
        }
        let mut request = encoded.map_err(|_| SubmitError::ShutDown)?;
        if let Some(limit) = options.timeout.or(pool.config.task_timeout) {
            request.extras().time_limit = Some(limit);
        }
        if pool.config.retries > 0 {
            request.extras().retries = pool.config.retries;
        }
        if options.priority != 0 {
            request.extras().priority = options.priority;
        }
        let (task, future) = TaskRef::allocate::<Encoded<D>>(ProcessTask::new(Arc::clone(&self.owner), span));
        let job = Job::new(task);
        state.ledger.events.queued(job.cell());
        if request.is_chunk() && request.items() == 0 {
            // No item could be encoded, so there is nothing to run.
            state.ledger.end_chunk(job, request);
        } else {
            if let Some(limit) = options.queue_timeout {
                state.expire_after(limit, &job, &mut request);
            }
            state.admit(job, request, bytes);
        }
        pool.conclude(state);
        Ok(future)
    }
}

impl Submit for ProcessPoolCore {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        with_scratch(|bytes| {
            let encoded = Request::single::<F, A, M>(EntryOf::<F, A, M>::ENTRY, &task, args, bytes);
            panic::drop_contained(task);
            self.enqueue::<Single<F::Output>>(encoded, bytes, options)
        })
    }

    fn submit_chunk<F, A, M>(
        &self,
        task: F,
        input: ChunkInput<A, F::Output>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<F::Output>>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        with_scratch(|bytes| {
            let encoded = Request::chunk::<F, A, M>(EntryOf::<F, A, M>::ENTRY, &task, input.into_items(), bytes);
            panic::drop_contained(task);
            self.enqueue::<Chunk<F::Output>>(encoded, bytes, options)
        })
    }

    fn max_workers(&self) -> usize {
        self.shared.config.max_workers
    }
}

impl Executor for ProcessPoolExecutor {
    type Core = ProcessPoolCore;

    fn core(&self) -> &ProcessPoolCore {
        &self.core
    }

    fn stats(&self) -> Stats {
        let pool = &self.core.shared;
        if pool.is_elsewhere() {
            return Stats::default();
        }
        let mut state = pool.lock();
        state.receive_all();
        state.refill();
        let running = state.running();
        let (died, respawned) = state.staffing.deaths();
        let stats = Stats {
            workers: state.workers.len(),
            idle: state.workers.idle(),
            queued: state.not_running(running),
            running,
            died,
            respawned,
            ..state.ledger.ended()
        };
        pool.conclude(state);
        stats
    }

    fn state(&self) -> PoolState {
        let pool = &self.core.shared;
        if pool.is_elsewhere() {
            return PoolState::Ended;
        }
        let state = pool.lock();
        state.lifecycle.pool_state()
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        self.end(how, deadline, self.core.shared.config.grace)
    }
}

impl Drop for ProcessPoolExecutor {
    fn drop(&mut self) {
        if self.core.shared.is_elsewhere() {
            // The workers are not this process's, nor is the thread behind the handle here.
            std::mem::forget(Arc::clone(&self.core.shared));
            std::mem::forget(self.supervisor.get_mut().unwrap_or_else(PoisonError::into_inner).take());
            return;
        }
        let how = if thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain };
        self.shutdown(how, None);
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ProcessPoolCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolCore").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[expect(unsafe_code, reason = "has a function called before `main`, as every test binary with workers")]
mod tests {
    use super::*;

    crate::test_worker!();

    /// For what must happen: a test that waits longer has failed.
    const LONG: Duration = Duration::from_secs(60);

    fn hang((): ()) {
        loop {
            thread::park();
        }
    }

    /// A panic with the pool's lock, by a thread that has something in its hands.
    fn panic_with<T>(shared: &PoolShared, take: impl FnOnce(&mut crate::process::parent::state::State) -> T) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut state = shared.lock();
            let _in_hands = take(&mut state);
            panic!("a test asks for it");
        }));
        assert!(outcome.is_err());
    }

    #[test]
    fn a_thread_that_panics_with_the_lock_leaves_nobody_waiting() {
        for takes_what_is_to_wake in [false, true] {
            let pool = ProcessPoolExecutor::builder().max_workers(1).grace(LONG).build().unwrap();
            let running = pool.submit(hang, ()).unwrap();
            while !running.running() {}
            let futures: Vec<_> = (0..3).map(|_| pool.submit(hang, ()).unwrap()).collect();
            let pids = pool.worker_pids();
            let waits: Vec<_> =
                futures.into_iter().map(|future| thread::spawn(move || future.result_timeout(LONG).unwrap())).collect();
            if takes_what_is_to_wake {
                // Asleep, most of the time.
                let shared = &pool.core.shared;
                while !shared.lock().is_awaited(3) {
                    thread::yield_now();
                }
                panic_with(shared, |state| {
                    assert_eq!(state.cancel_some(), 3);
                    state.take_to_wake()
                });
            } else {
                panic_with(&pool.core.shared, |state| state.take_one());
            }
            for wait in waits {
                let error = wait.join().unwrap().unwrap_err();
                assert_eq!(error == TaskError::Cancelled, takes_what_is_to_wake, "{error:?}");
            }
            let error = running.result_timeout(LONG).unwrap().unwrap_err();
            assert!(matches!(error, TaskError::NoWorker { .. }), "{error:?}");
            assert!(matches!(pool.state(), PoolState::Broken(_)), "{:?}", pool.state());
            assert!(pool.submit(hang, ()).unwrap().result().is_err());
            assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
            let is_there = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
            assert!(!pids.iter().any(is_there), "no worker is left");
        }
    }

    /// The thread that wakes others may be through with a task before this one lets go of it.
    #[test]
    fn what_a_panic_with_the_lock_loses_is_not_dropped_with_the_lock() {
        // One time in two or three is early enough.
        for _ in 0..10 {
            let pool = ProcessPoolExecutor::builder().max_workers(1).grace(LONG).build().unwrap();
            let running = pool.submit(hang, ()).unwrap();
            while !running.running() {}
            for _ in 0..1000 {
                drop(pool.submit(hang, ()).unwrap());
            }
            // Dropping one with the lock is an assertion that fails, and a second panic: the end of this program.
            panic_with(&pool.core.shared, |state| std::iter::from_fn(|| state.take_one()).collect::<Vec<_>>());
            assert!(running.result_timeout(LONG).unwrap().is_err());
            assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
        }
    }

    #[test]
    fn a_supervisor_that_panics_leaves_nobody_waiting() {
        for (is_shut_down, panics) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
            let builder = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(3).grace(LONG);
            let pool = builder.build().unwrap();
            let mut futures = vec![pool.submit(hang, ()).unwrap()];
            while !futures[0].running() {}
            let queue_time = TaskOptions::new().queue_timeout(LONG).timeout(LONG);
            futures.extend((0..3).map(|_| pool.submit_with(hang, (), queue_time).unwrap()));
            let pids = pool.worker_pids();
            let core = pool.core().clone();
            let waits_for_space = thread::spawn(move || core.submit_task(hang, (), TaskOptions::new()));
            if is_shut_down {
                pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
            }
            let mut state = pool.core.shared.lock();
            state.panics = panics;
            state.sleep.call();
            pool.core.shared.conclude(state);
            for future in futures {
                let error = future.result_timeout(LONG).unwrap().unwrap_err();
                assert!(matches!(error, TaskError::NoWorker { .. }), "{error:?}");
            }
            if let Ok(future) = waits_for_space.join().unwrap() {
                assert!(matches!(future.result(), Err(TaskError::NoWorker { .. })));
            }
            assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
            assert_eq!(pool.state(), PoolState::Ended);
            let is_there = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
            assert!(!pids.iter().any(is_there), "no worker is left");
        }
    }
}
