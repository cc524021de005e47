//! The owner of a process pool, which builds it, inspects it and ends it.

use std::{
    fmt,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    config::Config,
    handle::ProcessPoolHandle,
    parent::{ledger::events, pool::PoolShared, supervisor, workers::handle::WorkerHandle},
    wire::identity::Identity,
};
use crate::{
    cancel::CancelToken,
    error::{BuildError, TaskError},
    executor::Executor,
    future::BlockingGuard,
    portable::job::Owner,
    shm::flags,
    shutdown::{Shutdown, ShutdownReport, shut_down_and_wait},
    stats::{PoolState, Stats},
    sys,
};

/// Runs tasks in worker processes. They can be killed, and when a worker crashes, only the task that it was running fails.
///
/// Workers are this program, started again ([`init`](crate::init) must be the first line of `main`), on demand and up to
/// `max_workers`. Each has one channel to the pool and nothing in common with the others. The pool keeps the queue; a worker
/// gets its next task when it has answered the last one, so a queued task can be cancelled until the moment it starts, and
/// [`running`](crate::TaskFuture::running) is true only for tasks that run. When the program ends, however it ends, its workers
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
    handle: ProcessPoolHandle,
    supervisor: Mutex<Option<JoinHandle<()>>>,
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
        // The shared memory that stays for the program's lifetime is there from the first pool on. Where there is none for now,
        // each start tries again.
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
        Ok(Self { handle: ProcessPoolHandle { shared, owner }, supervisor: Mutex::new(Some(supervisor)) })
    }

    /// Starts all workers now, and waits until they are ready.
    ///
    /// # Errors
    ///
    /// [`TaskError::InitializerFailed`] or [`TaskError::NoWorker`] when they cannot be started; where that is because the system
    /// has no room for them at the moment, or because workers that were ready have died again and again for as long as one may take
    /// to start ([`startup_timeout`](crate::ProcessPoolBuilder::startup_timeout)), it can be tried again. [`TaskError::ShutDown`]
    /// after a shutdown.
    pub fn warm_up(&self) -> Result<(), TaskError> {
        let pool = &self.handle.shared;
        if pool.is_elsewhere() {
            return Err(TaskError::Forked);
        }
        let mut state = pool.lock();
        state.staffing.begin_warm_up(pool.config.max_workers);
        state.sleep.call();
        pool.conclude(state);
        if pool.is_elsewhere() {
            return Err(TaskError::Forked);
        }
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
        if self.handle.shared.is_elsewhere() {
            return Vec::new();
        }
        self.handle.shared.lock().workers.iter().map(WorkerHandle::pid).collect()
    }

    /// Process id of the fork server, from which workers are forked, while there is one; `None` after the end of the pool.
    #[must_use]
    pub fn fork_server_pid(&self) -> Option<u32> {
        if self.handle.shared.is_elsewhere() {
            return None;
        }
        self.handle.shared.lock().staffing.fork_server
    }

    /// Ends all workers by SIGTERM, and by SIGKILL those that still live after the grace time; cancels what is queued. Same as
    /// `shutdown(Shutdown::Kill, None)`.
    pub fn terminate_workers(&self) -> ShutdownReport {
        self.end(Shutdown::Kill, None, self.handle.shared.config.grace)
    }

    /// Ends all workers by SIGKILL at once, whatever they do: also those that start, are idle, or have been told to stop before;
    /// cancels what is queued.
    pub fn kill_workers(&self) -> ShutdownReport {
        self.end(Shutdown::Kill, None, Duration::ZERO)
    }

    /// A token that [`Shutdown::Kill`] cancels, for tasks that watch one.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.handle.shared.token.clone()
    }

    fn end(&self, how: Shutdown, deadline: Option<Duration>, grace: Duration) -> ShutdownReport {
        shut_down_and_wait(self.handle.shared.id, deadline, || self.shut_down(how, deadline, grace))
    }

    fn shut_down(&self, how: Shutdown, deadline: Option<Duration>, grace: Duration) -> ShutdownReport {
        let pool = &self.handle.shared;
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
                // The lock is released between turns, so a long queue does not keep other threads from the pool.
                pool.conclude(state);
                if pool.is_elsewhere() {
                    return ShutdownReport::default();
                }
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
            if pool.is_elsewhere() {
                return ShutdownReport::default();
            }
            if how == Shutdown::Kill {
                pool.token.cancel();
            }
            state = pool.lock();
        }
        pool.space.notify_all();
        pool.changed.notify_all();
        pool.wake_supervisor();
        drop(state);
        // A worker of a thread pool has a stand-in meanwhile, since an input or a callback may be waiting for that worker.
        let here = BlockingGuard::begin();
        state = pool.lock();
        // A pool that is ended by its own supervisor ends when the supervisor goes on.
        while !state.lifecycle.has_ended() && !pool.is_supervisor_here() && end.is_none_or(|end| end > Instant::now()) {
            // The pool of this thread has a worker, which is this thread: nothing of the user's is run there under this lock.
            let left = here.until(end).map(|until| until.saturating_duration_since(Instant::now()));
            state = state.wait(&pool.changed, left);
        }
        // Wait until the last events are told.
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
            // The supervisor has nothing left to do. If it has panicked, the outcomes of the pool's tasks say so.
            let _ = supervisor.join();
        }
        report
    }
}

impl Executor for ProcessPoolExecutor {
    type Handle = ProcessPoolHandle;

    fn handle(&self) -> &ProcessPoolHandle {
        &self.handle
    }

    fn stats(&self) -> Stats {
        let pool = &self.handle.shared;
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
        let pool = &self.handle.shared;
        if pool.is_elsewhere() {
            return PoolState::Ended;
        }
        let state = pool.lock();
        state.lifecycle.pool_state()
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        self.end(how, deadline, self.handle.shared.config.grace)
    }
}

impl Drop for ProcessPoolExecutor {
    fn drop(&mut self) {
        if !self.handle.shared.is_elsewhere() {
            let how = if thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain };
            self.shutdown(how, None);
        }
        // Also where what the shutdown has called has made the copy.
        if self.handle.shared.is_elsewhere() {
            // The workers are not this process's, nor is the thread behind the handle here.
            std::mem::forget(Arc::clone(&self.handle.shared));
            std::mem::forget(self.supervisor.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[expect(unsafe_code, reason = "has a function called before `main`, as every test binary with workers")]
mod panic_tests;
