//! Everything that can go wrong, in one place: a task ([`TaskError`]), a submit ([`SubmitError`]), building a pool
//! ([`BuildError`]), waiting ([`WaitTimeout`]), `try_map` ([`TryMapError`]) and setting a promise twice ([`AlreadyDone`]).

use std::{error::Error, fmt, io, iter, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

/// Why a task has no result.
///
/// A task's own `Result` is not in here: a task that returns `Err` finished, and its `Err` is its output.
///
/// `Display` says everything but a panic's backtrace, including the text of a codec or an initializer. That cause is the error's
/// [`source`](std::error::Error::source) as well, so code that prints the chain of causes prints it twice. `Debug` leaves out the
/// backtrace too; `{error:#?}` has it.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(1)?;
/// match pool.submit(|x: u64| 10 / x, 0)?.result() {
///     Err(TaskError::Panicked { message, .. }) => assert_eq!(message, "attempt to divide by zero"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked. The worker continues.
    ///
    /// A panic hook notes the contents of this error. It is set up when the first task runs. It hands panics of all other code to
    /// the hook that was there before; it keeps those of tasks, and a program that wants them in its log finds them here. A hook
    /// that the program sets later replaces it: then `location` and `backtrace` are unknown. So set your own hook first.
    #[error("task panicked at {location}: {message}")]
    Panicked {
        /// The panic's message, or a placeholder if its payload was not a string.
        message: String,
        /// `file:line:column` of the panic.
        location: String,
        /// The stack at the panic, as text. Empty unless the environment variable `RUST_LIB_BACKTRACE` or `RUST_BACKTRACE`
        /// asked for it when the process that ran the task panicked first, as with [`std::backtrace::Backtrace::capture`].
        backtrace: String,
    },
    /// The task was cancelled before it started, or [`TaskFuture::kill`](crate::TaskFuture::kill) stopped it while it ran.
    /// (A task that [`Shutdown::Kill`](crate::Shutdown::Kill) stops while it runs has [`ShutDown`](Self::ShutDown).)
    #[error("task was cancelled")]
    Cancelled,
    /// The task ran longer than its time limit. (A *wait* that runs out is not an error of the task.)
    #[error("task ran longer than its time limit: it had run for {ran_for:?}")]
    TimedOut {
        /// How long the task had been running.
        ran_for: Duration,
    },
    /// The task waited longer to be started than its queue time allows
    /// ([`TaskOptions::queue_timeout`](crate::TaskOptions::queue_timeout)); it did not run.
    #[error("task was not started within its queue time: it had waited for {waited:?}")]
    Expired {
        /// How long the task had been waiting.
        waited: Duration,
    },
    /// The worker process died while it ran this task.
    #[error("worker process {pid} died while running the task: {exit}")]
    WorkerDied {
        /// Process id of the worker.
        pid: u32,
        /// How it ended.
        exit: WorkerExit,
    },
    /// The worker could not allocate memory within its limit.
    #[error("task exceeded its worker's memory limit")]
    MemoryLimit,
    /// An argument or a result could not be encoded.
    #[error("failed to encode the {what}: {cause}")]
    Encode {
        /// `argument`, `configuration` or `result`.
        what: String,
        /// The error of the type's own `Serialize` or of the codec, with the type's name.
        #[source]
        cause: Cause,
    },
    /// An argument or a result could not be decoded.
    #[error("failed to decode the {what}: {cause}")]
    Decode {
        /// `argument`, `configuration` or `result`.
        what: String,
        /// The error of the type's own `Deserialize` or of the codec, with the type's name.
        #[source]
        cause: Cause,
    },
    /// The pool's initializer failed, so the pool runs no tasks.
    #[error("the pool's initializer failed: {cause}")]
    InitializerFailed {
        /// The text of the initializer's error or panic.
        #[source]
        cause: Cause,
    },
    /// No worker could be started to run the task.
    #[error("no worker could be started: {cause}")]
    NoWorker {
        /// Why not.
        #[source]
        cause: Cause,
    },
    /// A worker of a pool with [`OnWorkerDeath::BreakPool`](crate::OnWorkerDeath::BreakPool) has died, and with it the pool.
    #[error("the pool is broken: {cause}")]
    PoolBroken {
        /// How the worker ended.
        #[source]
        cause: Cause,
    },
    /// The whole map's time limit ([`Map::timeout`](crate::Map::timeout)) passed before this item was done.
    #[error("the time limit of the whole map has passed")]
    DeadlineExceeded,
    /// The executor shut down, or its promise was dropped, before the task had a result. A task that a worker process runs at a
    /// [`Shutdown::Kill`](crate::Shutdown::Kill) ends with this; a task that had not started is [`Cancelled`](Self::Cancelled).
    #[error("the executor was shut down before the task had a result")]
    ShutDown,
    /// This process is a forked copy of the one that has built the executor. The task continues there; no worker of this process
    /// runs it, and it will have no result here. A copy may build executors of its own; see
    /// [the chapter on fork](crate::host#fork).
    #[error("this process is a forked copy of the one that built the executor, which has no workers here")]
    Forked,
}

impl TaskError {
    pub(crate) fn encode(what: &str, cause: impl fmt::Display) -> Self {
        Self::Encode { what: what.to_owned(), cause: Cause::new(cause) }
    }

    pub(crate) fn decode(what: &str, cause: impl fmt::Display) -> Self {
        Self::Decode { what: what.to_owned(), cause: Cause::new(cause) }
    }

    /// The name of the variant.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Panicked { .. } => "Panicked",
            Self::Cancelled => "Cancelled",
            Self::TimedOut { .. } => "TimedOut",
            Self::Expired { .. } => "Expired",
            Self::WorkerDied { .. } => "WorkerDied",
            Self::MemoryLimit => "MemoryLimit",
            Self::Encode { .. } => "Encode",
            Self::Decode { .. } => "Decode",
            Self::InitializerFailed { .. } => "InitializerFailed",
            Self::NoWorker { .. } => "NoWorker",
            Self::PoolBroken { .. } => "PoolBroken",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::ShutDown => "ShutDown",
            Self::Forked => "Forked",
        }
    }
}

/// As if derived, but without the backtrace: `main` and `unwrap` would show kilobytes of it in one line.
impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_backtrace = f.alternate();
        let mut shown = f.debug_struct(self.kind());
        match self {
            Self::Panicked { message, location, backtrace } => {
                shown.field("message", message).field("location", location);
                if !with_backtrace {
                    return shown.finish_non_exhaustive();
                }
                shown.field("backtrace", &format_args!("{backtrace}"))
            }
            Self::TimedOut { ran_for } => shown.field("ran_for", ran_for),
            Self::Expired { waited } => shown.field("waited", waited),
            Self::WorkerDied { pid, exit } => shown.field("pid", pid).field("exit", exit),
            Self::Encode { what, cause } | Self::Decode { what, cause } => {
                shown.field("what", what).field("cause", cause)
            }
            Self::InitializerFailed { cause } | Self::NoWorker { cause } | Self::PoolBroken { cause } => {
                shown.field("cause", cause)
            }
            Self::Cancelled | Self::MemoryLimit | Self::DeadlineExceeded | Self::ShutDown | Self::Forked => &mut shown,
        }
        .finish()
    }
}

/// How a worker process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WorkerExit {
    /// Ended by this signal.
    Signal(i32),
    /// Ended by itself with this exit code.
    Code(i32),
    /// The system did not say how.
    Unknown,
}

impl WorkerExit {
    /// Whether the worker may have been ended from outside, for a reason that has nothing to do with its task: by one of the
    /// signals that people, shells and systems send to end a process.
    #[cfg(unix)]
    pub(crate) fn may_be_from_outside(self) -> bool {
        matches!(self, Self::Signal(SIGHUP | SIGINT | SIGQUIT | SIGKILL | SIGTERM))
    }
}

// The same numbers on every Unix system.
#[cfg(unix)]
const SIGHUP: i32 = 1;
#[cfg(unix)]
const SIGINT: i32 = 2;
#[cfg(unix)]
const SIGQUIT: i32 = 3;
#[cfg(unix)]
const SIGKILL: i32 = 9;
#[cfg(unix)]
const SIGTERM: i32 = 15;

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => match name_of_signal(*number) {
                Some(name) => write!(f, "signal {number}, {name}"),
                None => write!(f, "signal {number}"),
            },
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Unknown => f.write_str("cause unknown"),
        }
    }
}

/// Names only the signals that are likely to end a worker.
fn name_of_signal(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        // Other systems have other numbers for these.
        7 if cfg!(target_os = "linux") => "SIGBUS",
        31 if cfg!(target_os = "linux") => "SIGSYS",
        _ => return None,
    })
}

/// The text of an error that happened elsewhere: in a codec, in an initializer, in another process. Clones share the text, for
/// example among all tasks of a pool that cannot start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Cause(Arc<str>);

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Cause> for String {
    fn from(cause: Cause) -> Self {
        Self::from(&*cause.0)
    }
}

impl Cause {
    pub(crate) fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string().into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Cause {}

/// Why a task was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is at its capacity; try again later, or use `submit`, which waits.
    #[error("the executor's queue is full")]
    Full,
    /// The executor takes no more tasks: it was shut down, or this process is a forked copy of the one that has built it
    /// ([the chapter on fork](crate::host#fork)).
    #[error("the executor is shut down")]
    ShutDown,
}

impl fmt::Debug for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Full => "Full",
            Self::ShutDown => "ShutDown",
        };
        write_in_full(f, variant, self)
    }
}

/// Why an executor could not be built.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// `max_workers` was zero.
    #[error("max_workers must be at least 1")]
    NoWorkers,
    /// `max_tasks_per_child` was zero.
    #[error("max_tasks_per_child must be at least 1")]
    NoTasks,
    /// `queue_capacity` was zero.
    #[error("queue_capacity must be at least 1")]
    NoCapacity,
    /// A process pool needs `executor_core::init()`, and it was not called.
    #[error(
        "executor_core::init() was not called: make it the first line of main \
         (in a test binary, put executor_core::test_worker!() at its top level)"
    )]
    MissingInit,
    /// A process pool was asked for inside a task of another process pool.
    #[error("a task in a worker process may not build a process pool of its own; use a thread pool there")]
    InsideWorker,
    /// This platform does not have what was asked for.
    #[error("{0} is not supported on this platform")]
    Unsupported(&'static str),
    /// The initializer's or the preload's argument could not be encoded.
    #[error("failed to encode the argument of the initializer or the preload")]
    Encode(#[source] TaskError),
    /// The operating system refused something that the pool needs.
    #[error("failed to {action}")]
    System {
        /// The action that failed.
        action: &'static str,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::NoWorkers => "NoWorkers",
            Self::NoTasks => "NoTasks",
            Self::NoCapacity => "NoCapacity",
            Self::MissingInit => "MissingInit",
            Self::InsideWorker => "InsideWorker",
            Self::Unsupported(_) => "Unsupported",
            Self::Encode(_) => "Encode",
            Self::System { .. } => "System",
        };
        write_in_full(f, variant, self)
    }
}

/// Writes the variant, its text and its causes: `Debug` is all that is shown of an error that `main` returns or `unwrap` meets.
fn write_in_full(f: &mut fmt::Formatter<'_>, variant: &str, error: &dyn Error) -> fmt::Result {
    let mut text = format!("{variant}: {error}");
    for cause in iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string) {
        // A task's error has its cause in its own text.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    f.write_str(&text)
}

/// A wait ran out of time. The tasks continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{unfinished} of {total} futures were not done in time")]
pub struct WaitTimeout {
    /// Futures that are not done.
    pub unfinished: usize,
    /// Futures that were waited for.
    pub total: usize,
}

/// Why a [`try_map`](crate::Executor::try_map) stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TryMapError<E> {
    /// The task has no output.
    #[error(transparent)]
    Task(TaskError),
    /// The task returned this error.
    #[error("task returned an error: {0}")]
    Output(E),
}

/// A [`Promise`](crate::Promise) was already done, and keeps its outcome. Holds the value that came too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the promise is already done")]
pub struct AlreadyDone<T>(pub T);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_main_shows_of_an_error_is_its_text_and_its_causes() {
        assert_eq!(format!("{:?}", SubmitError::Full), "Full: the executor's queue is full");
        assert!(
            format!("{:?}", BuildError::MissingInit).starts_with("MissingInit: executor_core::init() was not called")
        );
        let encode = BuildError::Encode(TaskError::encode("argument", "not so"));
        let text = "Encode: failed to encode the argument of the initializer or the preload: failed to encode the argument: not so";
        assert_eq!(format!("{encode:?}"), text);
    }

    #[test]
    fn a_signal_has_its_number_and_its_name_if_that_is_known() {
        assert_eq!(WorkerExit::Signal(6).to_string(), "signal 6, SIGABRT");
        assert_eq!(WorkerExit::Signal(64).to_string(), "signal 64");
    }

    #[test]
    fn debug_of_a_panic_has_its_backtrace_only_where_lines_may_be_many() {
        let [message, location, backtrace] = ["oh", "main.rs:1:2", "0: main\n1: start"].map(str::to_owned);
        let panicked = TaskError::Panicked { message, location, backtrace };
        assert_eq!(format!("{panicked:?}"), r#"Panicked { message: "oh", location: "main.rs:1:2", .. }"#);
        assert!(format!("{panicked:#?}").contains("0: main\n"), "{panicked:#?}");
        assert_eq!(format!("{:?}", TaskError::ShutDown), "ShutDown");
        let failed = TaskError::InitializerFailed { cause: Cause::new("no disk") };
        assert_eq!(format!("{failed:?}"), r#"InitializerFailed { cause: Cause("no disk") }"#);
    }
}
