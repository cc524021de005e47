//! What can be set on a thread pool.

use std::{fmt, io, rc::Rc, sync::Arc, time::Duration};

use super::{ThreadPoolExecutor, pool::Config, sleep::MOST_WORKERS};
use crate::{error::BuildError, initializer::InitializerResult, stats::Observer, sys};

/// What this crate itself does on a worker's stack has room there, also without optimizations.
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
    /// For everything that can be set.
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

    /// The largest number of threads that run tasks at once; those that stand in for threads whose tasks wait are extra.
    /// Default: `min(32, CPUs + 4)`, where affinity and cgroup quota count. More than 2^20 are taken as so many.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// Threads are named `prefix-0`, `prefix-1`, ... Default: `executor`.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.config.name_prefix = prefix.into();
        self
    }

    /// Runs in each new thread before its first task. When it panics or returns an error the pool is broken: every task,
    /// queued or submitted later, resolves with [`TaskError::InitializerFailed`](crate::TaskError::InitializerFailed).
    pub fn initializer<R: InitializerResult>(mut self, hook: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.config.initializer = Some(Arc::new(move || hook().into_cause()));
        self
    }

    /// Makes something that each worker keeps for its tasks, such as a connection or a buffer, after the initializer. A panic
    /// breaks the pool, as the initializer's does. It is dropped, on its own thread, after the exit hook.
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

    /// Is told of every task and every worker; see [`Observer`] for when. Default: nobody.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.config.observer = Some(Box::new(observer));
        self
    }

    /// Runs in each thread before it ends. Panics are reported by the program's panic hook and ignored.
    pub fn exit_hook(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.exit_hook = Some(Arc::new(hook));
        self
    }

    /// The largest number of tasks that wait for a thread. `submit` then waits for space, `try_submit` refuses. Default: no
    /// limit. A task that is cancelled or expires makes room at once, unless the queue holds on to more than this number of
    /// such tasks (and more than 64), which tasks have submitted to their own pool: then room is made by the threads that find them.
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.config.queue_capacity = tasks;
        self
    }

    /// How long a thread without work stays; `None` for ever. Default: 30 s.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Stack size of each thread in bytes. Default: std's. A task that waits for a task of its own pool may run it in place, on
    /// its own stack: chains of such waits, a thousand and more deep, take a larger one. Less than 256 KiB are taken as so many.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stack_size = Some(bytes.max(LEAST_STACK));
        self
    }

    /// Builds the pool. Threads start when tasks come.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when a number is zero, or the thread's name is one that no thread can have.
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
