//! What can be set on a thread pool.

use std::{fmt, io, rc::Rc, sync::Arc, time::Duration};

use super::{ThreadPoolExecutor, pool::Config, sleep::MOST_WORKERS};
use crate::{error::BuildError, initializer::InitializerResult, stats::Observer, sys};

/// Enough for this crate's own code on a worker's stack, also without optimizations.
pub(crate) const LEAST_STACK: usize = 256 << 10;

/// Builds a [`ThreadPoolExecutor`].
///
/// # Examples
///
/// ```
/// use executor_core::ThreadPoolExecutor;
///
/// let pool = ThreadPoolExecutor::builder()
///     .max_workers(4)
///     .thread_name_prefix("fetch")
///     .queue_capacity(1000)
///     .initializer(|| println!("a thread starts"))
///     .build()?;
/// let name = pool.spawn(|| std::thread::current().name().map(str::to_owned))?.result()?;
/// assert_eq!(name.as_deref(), Some("fetch-0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct ThreadPoolBuilder {
    max_workers: Option<usize>,
    config: Config,
}

impl ThreadPoolExecutor {
    /// Returns a builder, for everything that can be set.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }
}

impl ThreadPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            config: Config {
                max_workers: 0,
                name_prefix: "executor".to_owned(),
                initializer: None,
                exit_hook: None,
                queue_capacity: usize::MAX,
                idle_timeout: Some(Duration::from_secs(30)),
                stack_size: None,
                observer: None,
                state: None,
            },
        }
    }

    /// Sets the largest number of threads that run tasks at once. Threads that stand in for others whose tasks wait are extra.
    /// Default: `min(32, CPUs + 4)`, where affinity and cgroup quota count. A number above 2^20 is taken as 2^20.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// Sets the prefix of the threads' names: `prefix-0`, `prefix-1`, ... Default: `executor`.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.config.name_prefix = prefix.into();
        self
    }

    /// Sets a function that runs in each new thread before its first task. If it panics or returns an error, the pool is broken:
    /// every task, queued or submitted later, resolves with [`TaskError::InitializerFailed`](crate::TaskError::InitializerFailed).
    pub fn initializer<R: InitializerResult>(mut self, hook: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.config.initializer = Some(Arc::new(move || hook().into_cause()));
        self
    }

    /// Sets a function that makes a value which each worker keeps for its tasks, such as a connection or a buffer. It runs after
    /// the initializer. A panic breaks the pool, as the initializer's does. The value is dropped, on its own thread, after the exit
    /// hook.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{ThreadPoolExecutor, with_worker_state};
    /// use std::cell::Cell;
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).worker_state(|| Cell::new(0_u32)).build()?;
    /// let count = || with_worker_state(|count: &Cell<u32>| { count.set(count.get() + 1); count.get() });
    /// assert_eq!(pool.spawn(count)?.result()?, Some(1));
    /// assert_eq!(pool.spawn(count)?.result()?, Some(2));
    /// assert_eq!(count(), None);                          // this thread is no worker
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker_state<T: 'static>(mut self, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.config.state = Some(Box::new(move || Rc::new(make())));
        self
    }

    /// Sets an observer, which is told of every task and every worker; see [`Observer`] for when. Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.config.observer = Some(Box::new(observer));
        self
    }

    /// Sets a function that runs in each thread before it ends. A panic is reported by the program's panic hook and ignored.
    pub fn exit_hook(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.exit_hook = Some(Arc::new(hook));
        self
    }

    /// Sets the largest number of tasks that wait for a thread. When the queue is full, `submit` waits for space and `try_submit`
    /// refuses. Default: no limit. A task that is cancelled or expires makes room at once, as long as the queue holds no more than
    /// this number of such tasks (or 64) that were submitted by tasks to their own pool; beyond that, room is made by the threads
    /// that find them.
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.config.queue_capacity = tasks;
        self
    }

    /// Sets how long a thread without work stays; `None` for ever. Default: 30 s.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Sets the stack size of each thread in bytes. Default: std's. A task that waits for a task of its own pool may run it in
    /// place, on its own stack: chains of such waits that are a thousand and more deep need a larger one. Less than 256 KiB is
    /// taken as 256 KiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stack_size = Some(bytes.max(LEAST_STACK));
        self
    }

    /// Builds the pool. Threads start when tasks are submitted.
    ///
    /// # Errors
    ///
    /// [`BuildError`] if a number is zero, or if the prefix cannot be part of a thread's name.
    pub fn build(mut self) -> Result<ThreadPoolExecutor, BuildError> {
        self.config.max_workers = self.max_workers.unwrap_or_else(|| (sys::available_cpus() + 4).min(32));
        if self.config.max_workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        self.config.max_workers = self.config.max_workers.min(MOST_WORKERS);
        if self.config.queue_capacity == 0 {
            return Err(BuildError::NoCapacity);
        }
        if self.config.name_prefix.contains('\0') {
            let cause = io::Error::new(io::ErrorKind::InvalidInput, "thread_name_prefix contains a NUL character");
            return Err(BuildError::System { action: "name the threads", cause });
        }
        Ok(ThreadPoolExecutor::from_config(self.config))
    }
}

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder").field("max_workers", &self.max_workers).finish_non_exhaustive()
    }
}
