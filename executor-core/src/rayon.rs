//! [`RayonExecutor`] (feature `rayon`): this crate's futures over a rayon thread pool of its own.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, mpsc},
    time::Duration,
};

use rayon::ThreadPool;

mod bottom;
mod shared;

use shared::{Held, Job, Place, Shared};

use crate::{
    error::{BuildError, SubmitError},
    executor::Executor,
    future::{InProcess, TaskFuture, is_elsewhere, new_pool_id},
    shutdown::{Shutdown, ShutdownReport, shut_down_and_wait},
    span,
    stats::{PoolState, Stats},
    submit::Submit,
    sys,
    task::{Payload, Task, TaskOptions},
    thread::{LEAST_STACK, prepare_deques},
};

/// Runs tasks in its own rayon thread pool, where they may use rayon's own operations as well.
///
/// rayon starts all its threads at once, and has no bound on its queue. While a task waits for another one, of this pool or of any
/// other, it has a stand-in if there are tasks to be run: one more thread, with its own rayon pool. So pools may wait for each
/// other. Work that a task has given to rayon itself (`rayon::spawn`) is only run by the pool's own threads.
///
/// A thread that waits within one of rayon's operations (`join`, `scope`, a parallel iterator) runs any work that rayon has, on the
/// stack of the waiting task. A task that began there could wait for the one below it, and neither would ever end. So tasks do not
/// begin there: a task that comes to such a thread is left to stand-ins, of which there may be at least as many as threads that run
/// no task, and which may continue beside all threads of the pool until there are no such tasks. But the parts of rayon's own
/// operations do run there: one that waits for another task may do so on the stack of that task, for ever. Wait before the
/// operation, or after it.
///
/// Dropping the executor waits for its tasks, and not for its threads, which end soon after. A cancelled task leaves some 50 bytes
/// with rayon until a thread comes for it.
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

/// Builds a [`RayonExecutor`].
#[derive(Debug, Default)]
#[must_use]
pub struct RayonBuilder {
    max_workers: Option<usize>,
    stack_size: Option<usize>,
}

impl RayonBuilder {
    /// Sets the number of threads. Default: one per CPU that this process may use.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// Sets the stack size of each thread in bytes. Default: std's. Chains of tasks that wait for one another need a larger one, as
    /// in [`ThreadPoolBuilder::stack_size`](crate::ThreadPoolBuilder::stack_size).
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
        // rayon's deques are of the same kind.
        prepare_deques();
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
            // The job runs, because rayon's threads have no other work yet.
            let _ = receiver.recv();
        }
        Ok(RayonExecutor { handle: RayonHandle { shared, threads: Arc::new(threads) } })
    }
}

impl RayonExecutor {
    /// Creates an executor with so many threads.
    ///
    /// # Errors
    ///
    /// As for [`RayonBuilder::build`].
    pub fn new(max_workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Returns a builder, for everything that can be set.
    pub fn builder() -> RayonBuilder {
        RayonBuilder::default()
    }

    /// Runs any closure in the pool, including one that captures.
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
        let shared = &self.shared;
        // Not under the lock: this calls a subscriber, which is the user's code.
        let work = span::carry(work);
        let (future, number, needs_stand_in) = {
            let mut state = shared.lock();
            if state.shut_down {
                return Err(SubmitError::ShutDown);
            }
            state.next += 1;
            let number = state.next;
            // Not before the task is counted: with a queue time it may end by itself, and only a counted task may.
            let owner = Place { shared: Arc::clone(shared), number };
            let (task, future) = InProcess::task(owner, &options, work, |_| ());
            state.queue.insert(number, task);
            state.queued += 1;
            state.jobs += 1;
            (future, number, state.reserve_stand_in(shared.max_workers))
        };
        if needs_stand_in {
            // If that fails, a task that was left because this stand-in was counted already is for the job that comes now.
            shared.start_stand_in();
        }
        bottom::spawn(&self.threads, Job::Come(Held::new(Arc::clone(shared)), number));
        Ok(future)
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
            return;
        }
        let how = if std::thread::panicking() { Shutdown::CancelQueued } else { Shutdown::Drain };
        self.shutdown(how, None);
    }
}

impl Drop for RayonHandle {
    fn drop(&mut self) {
        if is_elsewhere(self.shared.id) {
            // Dropping rayon's pool would wake threads that are not in this process, under locks that they may have held.
            std::mem::forget(Arc::clone(&self.threads));
        }
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

    /// Holds whatever rayon and the compiler make of the frames in between.
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

    /// Another thread leaves a task as well while the stand-in is counted already, and starts none.
    #[test]
    fn what_was_left_to_a_stand_in_that_gets_no_thread_is_run_all_the_same() {
        let shared = Arc::new(Shared {
            id: new_pool_id(),
            max_workers: 1,
            // No thread has such a stack.
            stack_size: Some(1 << 46),
            state: Mutex::default(),
            at_rest: Condvar::new(),
        });
        let [own, of_another] = [1, 2].map(|number| {
            let owner = Place { shared: Arc::clone(&shared), number };
            let (task, future) = InProcess::task(owner, &TaskOptions::new(), move || number, |_| ());
            shared.change(|state| {
                state.queued += 1;
                _ = if number == 1 { state.queue.insert(number, task) } else { state.left.insert(number, task) };
            });
            future
        });
        shared.change(|state| state.jobs += 1);
        bottom::Job::run(Job::Come(Held::new(Arc::clone(&shared)), 1), false);
        assert_eq!(
            [own, of_another].map(|future| future.result_timeout(Duration::ZERO).ok()),
            [Some(Ok(1)), Some(Ok(2))]
        );
        let state = shared.lock();
        assert!(state.is_at_rest() && state.busy == 0);
    }

    #[test]
    fn a_panic_with_the_lock_leaves_no_thread_waiting() {
        let executor = RayonExecutor::new(1).unwrap();
        let shared = Arc::clone(&executor.handle.shared);
        shared.change(|state| state.jobs += 1);
        let (sender, receiver) = std::sync::mpsc::channel();
        let ends = thread::spawn(move || {
            drop(executor);
            sender.send(()).unwrap();
        });
        // Whether the other thread waits already or not.
        let panics = |_: &mut shared::State| resume_unwind(Box::new("a test asks for it"));
        assert!(catch_unwind(AssertUnwindSafe(|| shared.change(panics))).is_err());
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(()));
        ends.join().unwrap();
    }
}
