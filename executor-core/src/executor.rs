//! The portable interface of every executor.

use std::time::Duration;

use crate::{
    error::SubmitError,
    future::TaskFuture,
    map::{Map, TryMap},
    shutdown::{Shutdown, ShutdownReport},
    stats::{PoolState, Stats},
    submit::Submit,
    task::{Payload, Task, TaskOptions},
};

/// Runs tasks on an executor: on threads, in processes, on rayon, or on the calling thread. Code written against this trait runs
/// unchanged on every executor.
///
/// Dropping an executor waits for all its tasks and their callbacks, like leaving a `with` block in Python. When the dropping
/// thread is panicking, tasks that have not started are cancelled first.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, SerialExecutor, TaskError, ThreadPoolExecutor};
///
/// fn square(x: u64) -> u64 { x * x }
///
/// fn sum_of_squares(executor: &impl Executor) -> Result<u64, TaskError> {
///     executor.map(square, 0..100).sum()
/// }
///
/// assert_eq!(sum_of_squares(&SerialExecutor::new())?, sum_of_squares(&ThreadPoolExecutor::new(2)?)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Executor {
    /// A cloneable handle that submits tasks without owning the executor. A running map holds on to one.
    type Handle: Submit;

    /// The handle that takes tasks.
    fn handle(&self) -> &Self::Handle;

    /// The former name of [`handle`](Self::handle).
    #[doc(hidden)]
    #[deprecated(note = "use `handle`")]
    fn core(&self) -> &Self::Handle {
        self.handle()
    }

    /// Returns a snapshot of what the executor does.
    fn stats(&self) -> Stats;

    /// Returns whether the executor takes tasks, and if not, why. The state may have changed by the time this call returns.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, PoolState, Shutdown, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1)?;
    /// assert_eq!(pool.state(), PoolState::Active);
    /// pool.shutdown(Shutdown::Drain, None);
    /// assert_eq!(pool.state(), PoolState::Ended);
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(|| Err::<(), _>("no license")).build()?;
    /// assert!(pool.submit(|x: u64| x, 1)?.result().is_err());
    /// assert!(matches!(pool.state(), PoolState::Broken(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn state(&self) -> PoolState;

    /// Ends the executor: see [`Shutdown`]. Waits for at most `deadline` until the executor and the callbacks of its tasks have
    /// ended, and returns what was left. It can be called again, also with a stronger kind: `Drain` with a deadline, then `Kill`.
    ///
    /// A call from one of the executor's own workers does not wait, because it would wait for itself. For the same reason a call
    /// from a callback, of whatever executor, does not wait for callbacks, and a call on a serial executor does not wait for other
    /// threads when it is made in a task of any serial executor. When the observer of a process pool ends the pool on the thread
    /// that looks after its workers, the call does not wait either, and the pool ends soon after.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, Shutdown, SubmitError, ThreadPoolExecutor};
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// let future = pool.submit(|x: u64| x + 1, 41)?;
    /// let mut report = pool.shutdown(Shutdown::Drain, Some(Duration::from_secs(5)));
    /// if !report.is_complete() {
    ///     report = pool.shutdown(Shutdown::Kill, None);
    /// }
    /// assert_eq!((report.running, future.result()), (0, Ok(42)));
    /// assert!(matches!(pool.submit(|x: u64| x, 1), Err(SubmitError::ShutDown)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport;

    /// Submits `task` to be called with `args`: one value, or a tuple for a function of several parameters. Waits for space
    /// if the executor's queue is bounded and full.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] when the executor takes no more tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, ThreadPoolExecutor};
    ///
    /// fn power(base: u64, exponent: u32) -> u64 { base.pow(exponent) }
    ///
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// assert_eq!(pool.submit(power, (2, 10))?.result()?, 1024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn submit<F, A, M>(&self, task: F, args: A) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.submit_with(task, args, TaskOptions::new())
    }

    /// Like [`submit`](Self::submit), but never waits.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Full`] when the queue is at its capacity, [`SubmitError::ShutDown`] when the executor takes no more
    /// tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, SubmitError, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build()?;
    /// let (release, wait) = std::sync::mpsc::channel::<()>();
    /// let (running, runs) = std::sync::mpsc::channel();
    /// pool.spawn(move || { running.send(()).ok(); wait.recv().ok() })?.add_done_callback(|_| ());
    /// runs.recv()?;
    /// let queued = pool.try_submit(|x: u64| x, 1)?;
    /// assert!(matches!(pool.try_submit(|x: u64| x, 2), Err(SubmitError::Full)));
    /// drop(release);
    /// assert_eq!(queued.result()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn try_submit<F, A, M>(&self, task: F, args: A) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.submit_with(task, args, TaskOptions::new().refuse_when_full(true))
    }

    /// Like [`submit`](Self::submit), but waits for at most `timeout` for space in a bounded queue that is full. This is no limit
    /// for the task: [`TaskOptions::timeout`] is.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Full`] when there was no space in time, [`SubmitError::ShutDown`] when the executor takes no more tasks.
    fn submit_timeout<F, A, M>(&self, task: F, args: A, timeout: Duration) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.submit_with(task, args, TaskOptions::new().space_timeout(timeout))
    }

    /// Submits one task for each of `args`, and wakes as many workers as they can use at once. The futures are in the order of
    /// the arguments.
    ///
    /// # Errors
    ///
    /// [`SubmitError::ShutDown`] when the executor takes no more tasks; tasks of this call that it had taken before are cancelled
    /// if they have not started.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// let futures = pool.submit_many(|x: u64| x * x, 0..4)?;
    /// let squares: Result<Vec<u64>, _> = futures.into_iter().map(|future| future.result()).collect();
    /// assert_eq!(squares?, [0, 1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn submit_many<F, A, M>(
        &self,
        task: F,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Vec<TaskFuture<F::Output>>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        const { F::PORTABLE };
        self.handle().submit_tasks(task, args, TaskOptions::new())
    }

    /// Like [`submit`](Self::submit), with options for this task.
    ///
    /// # Errors
    ///
    /// As the options say: [`SubmitError::Full`] when the queue is full, [`SubmitError::ShutDown`] when the executor takes no more
    /// tasks.
    fn submit_with<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        const { F::PORTABLE };
        self.handle().submit_task(task, args, options)
    }

    /// Calls `task` with each item, and yields the results in the order of the items. See [`Map`] for what can be set.
    ///
    /// No task is submitted before the first result is asked for ([`Map::start`] submits at once). When the executor is shut
    /// down meanwhile, the last item of the iterator is [`TaskError::ShutDown`](crate::TaskError::ShutDown).
    ///
    /// A task of several parameters takes tuples: Python's `map(f, a, b)` is `map(f, a.zip(b))`.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// for (x, square) in pool.map(|x: u64| x * x, 0..100).enumerate() {
    ///     assert_eq!(square?, (x * x) as u64);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn map<F, A, M, I>(&self, task: F, items: I) -> Map<Self::Handle, F, M, I::IntoIter>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        I: IntoIterator<Item = A>,
        M: 'static,
    {
        const { F::PORTABLE };
        Map::new(self.handle().clone(), task, items.into_iter())
    }

    /// Like [`map`](Self::map) for tasks that return `Result`: ends at the first error of either kind, and cancels tasks that have
    /// not started. Yields [`TryMapError`](crate::TryMapError)s.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, ThreadPoolExecutor, TryMapError};
    ///
    /// let parse = |text: String| text.parse::<u8>().map_err(|error| error.to_string());
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// let texts = ["1", "2", "many"].map(str::to_owned);
    /// let outcome: Result<Vec<u8>, _> = pool.try_map(parse, texts).collect();
    /// assert!(matches!(outcome, Err(TryMapError::Output(text)) if text.contains("invalid digit")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn try_map<F, A, M, I, T, E>(&self, task: F, items: I) -> TryMap<Self::Handle, F, M, I::IntoIter>
    where
        F: Task<A, M, Output = Result<T, E>>,
        A: Payload,
        T: Payload,
        E: Payload,
        I: IntoIterator<Item = A>,
        M: 'static,
    {
        TryMap::new(self.map(task, items))
    }

    /// Returns the largest number of workers that run tasks at the same time.
    fn max_workers(&self) -> usize {
        self.handle().max_workers()
    }
}

impl<E: Executor + ?Sized> Executor for &E {
    type Handle = E::Handle;

    fn handle(&self) -> &Self::Handle {
        (**self).handle()
    }

    fn stats(&self) -> Stats {
        (**self).stats()
    }

    fn state(&self) -> PoolState {
        (**self).state()
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        (**self).shutdown(how, deadline)
    }
}
