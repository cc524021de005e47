//! What can be sent to any executor: a zero-sized function ([`Task`]) and serde values ([`Payload`]).
//!
//! A worker process is the same program, so a function needs no name and no registration to be found there: its type is
//! enough. A function item and a closure that captures nothing have no state at all; everything that a task needs
//! travels in its argument, or in the configuration that [`partial`] binds to it.

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec::{self, limits::MAX_ENCODED},
    configuration::Bound,
    error::TaskError,
};

/// A value that may cross a process border. Implemented for everything that serde can write and read back, and that owns its
/// data: of `&str` the compiler says that `Deserialize` is not general enough, and `String` is what can be sent.
///
/// The wire format is [postcard](https://docs.rs/postcard), which does not describe itself: `#[serde(flatten)]`,
/// `#[serde(tag)]`, `#[serde(untagged)]` and `#[serde(skip_serializing_if)]` do not survive it.
///
/// What a type's own `Serialize` or `Deserialize` says is in the [`TaskError`] of the task. A field that
/// `skip_serializing_if` leaves out is such an error, and so is a sequence or a map with another number of elements than its
/// `Serialize` has said, or that its `Deserialize` does not read to the end.
///
/// What the two sides of a type do not agree about is not seen, and may give *another value*. serde's derive counts fields and
/// variants differently on the two sides where they are skipped: `#[serde(skip_serializing)]` or `#[serde(skip_deserializing)]`
/// alone on a field, and `#[serde(skip)]` on a variant with others behind it, which are then read as the one behind them. Use
/// `#[serde(skip)]` on fields, and put variants that are skipped last.
///
/// A value may be nested as deep as there is stack to write and to read it: the thread's own, and a second one, which is as large
/// for writing, and three times as large for reading. Beyond that, a task resolves with [`TaskError::Encode`] or [`TaskError::Decode`]. A list of boxes may have some ten
/// thousands of links on a thread with 2 MiB. Whoever has such a value needs stack to drop it as well.
///
/// To and from a worker process, a value may be at most 512 MiB long in that format: otherwise its task resolves with
/// [`TaskError::Encode`]. What is in [`SharedBytes`](crate::SharedBytes) does not count, where these cross by reference. Elements
/// that take no bytes, as those of `Vec<()>`, may be 2^20, all together: with more of them the other side resolves the task with
/// [`TaskError::Decode`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to a worker process",
    label = "serde cannot write it and read it back",
    note = "derive Serialize and Deserialize of serde for a type of your own",
    note = "what travels owns its data: `String` instead of `&str`, `Vec<T>` instead of `&[T]`",
    note = "threads take anything: `ThreadPoolExecutor::spawn` and `spawn_map`"
)]
pub trait Payload: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Payload for T {}

/// Something that turns `Args` into an output on any executor.
///
/// Implemented for function items and for closures that capture nothing, of up to eight parameters (`Args` is the argument
/// itself for one parameter, a tuple for any other number), and for [`Partial`]. `Marker` only tells these apart and is
/// always inferred.
///
/// Capturing closures and function pointers are refused when the program is *built*: the check depends on the type's size,
/// which the compiler knows only then, so `cargo check` does not find it.
///
/// A closure's parameter needs its type written out where the body has to know it, to call a method for example: `|x| x + 1u64`
/// builds, `|text| text.len()` does not, and `|text: String| text.len()` does.
///
/// # Values of no size that prove something
///
/// In a worker process the task is made anew from its type: it has no bytes that could travel. That is a copy like any other
/// for functions and for closures that capture nothing. A closure that captures a `Copy` value *of no size* is copied with it.
/// If that value is a token which proves that something has happened, such as that a library was initialised, then it has
/// happened in the program and not in the worker, and code that relies on it without looking is wrong there; with `unsafe`
/// inside, undefined. So a condition of sending a closure to another process is that no token in it stands for the state of
/// *this* process. Pass what a task needs as its argument, make such tokens neither `Copy` nor zero-sized, or have the worker do
/// the same with [`initializer`](crate::ProcessPoolBuilder::initializer). Executors of this process are not concerned.
///
/// ```compile_fail
/// use executor_core::{Executor, SerialExecutor};
/// let factor = 3;
/// SerialExecutor::new().submit(move |x: u64| x * factor, 14).unwrap();   // captures: use `partial`
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    note = "a task is a function item or a closure that captures nothing; several arguments are given as a tuple"
)]
pub trait Task<Args, Marker>: Clone + Send + Sync + 'static {
    /// What the task returns.
    type Output;

    /// Fails to build when the task has state that would be lost on its way to a worker process.
    #[doc(hidden)]
    const PORTABLE: ();

    /// Runs the task.
    fn call(&self, args: Args) -> Self::Output;

    /// What has to reach a worker once before the task can run there.
    #[doc(hidden)]
    fn bound(&self) -> Option<Result<Arc<Bound>, TaskError>> {
        None
    }

    /// The same for an initializer or a preload, which run before their worker is given any shared memory: without references.
    #[doc(hidden)]
    fn bound_plain(&self) -> Option<Result<Vec<u8>, TaskError>> {
        None
    }

    /// The task as it was on the other side.
    #[doc(hidden)]
    fn restore(bound: &[u8]) -> Result<Self, TaskError>;
}

macro_rules! task_for_functions {
    ($args:ty, ($($name:ident : $arg:ident),*)) => {
        impl<F, R, $($arg),*> Task<$args, fn($($arg),*) -> R> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + Sync + 'static,
        {
            type Output = R;

            const PORTABLE: () = assert!(
                size_of::<F>() == 0,
                "a task must be a function item or a closure that captures nothing: \
                 pass what it needs as its argument or with executor_core::partial, \
                 or use ThreadPoolExecutor::spawn, which takes any closure"
            );

            fn call(&self, args: $args) -> R {
                task_for_functions!(@destructure args, ($($name),*));
                self($($name),*)
            }

            fn restore(_: &[u8]) -> Result<Self, TaskError> {
                const { assert!(size_of::<F>() == 0) };
                // SAFETY: `F` has no bytes, so there is none that could be wrong. `F` is `Copy`, so another value of it
                // could be made by safe code wherever one exists, and one existed in the program that sent the task, which
                // is this one. A closure over a zero-sized token that proves something is `Copy` only if the token is; that
                // such a token does not prove anything about the process that it is copied to is a condition of `Task`.
                Ok(unsafe { std::ptr::NonNull::<F>::dangling().read() })
            }
        }
    };
    (@destructure $args:ident, ()) => { let () = $args; };
    (@destructure $args:ident, ($one:ident)) => { let $one = $args; };
    (@destructure $args:ident, ($($name:ident),*)) => { let ($($name),*) = $args; };
}

task_for_functions!((), ());
task_for_functions!(A, (a: A));
task_for_functions!((A, B), (a: A, b: B));
task_for_functions!((A, B, C), (a: A, b: B, c: C));
task_for_functions!((A, B, C, D), (a: A, b: B, c: C, d: D));
task_for_functions!((A, B, C, D, E), (a: A, b: B, c: C, d: D, e: E));
task_for_functions!((A, B, C, D, E, G), (a: A, b: B, c: C, d: D, e: E, g: G));
task_for_functions!((A, B, C, D, E, G, H), (a: A, b: B, c: C, d: D, e: E, g: G, h: H));
task_for_functions!((A, B, C, D, E, G, H, I), (a: A, b: B, c: C, d: D, e: E, g: G, h: H, i: I));

/// A function with a configuration bound to it; see [`partial`].
pub struct Partial<F, C> {
    function: F,
    binding: Arc<Binding<C>>,
}

struct Binding<C> {
    config: C,
    /// Once that has succeeded. Nobody waits for anybody here, for it is the user's code that encodes: it may submit.
    encoded: OnceLock<Arc<Bound>>,
}

/// Binds a configuration to a function, like Python's `functools.partial`.
///
/// The configuration is encoded once and reaches each worker process once, however many tasks use it. (Threads that submit
/// the first of them in the same moment may each encode it.) A worker decodes it when it runs the first of them: that is part
/// of the task, counts for its time limit and may end its worker as the task itself may, at the same cost. Like an argument,
/// it may be at most 512 MiB long.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, SerialExecutor, partial};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Config { multiplier: i64 }
///
/// fn process(item: i64, config: &Config) -> i64 { item * config.multiplier }
///
/// let executor = SerialExecutor::new();
/// let tripled: Result<Vec<i64>, _> =
///     executor.map(partial(process, Config { multiplier: 3 }), [1, 2, 3]).collect();
/// assert_eq!(tripled, Ok(vec![3, 6, 9]));
/// ```
pub fn partial<F, A, C, R>(function: F, config: C) -> Partial<F, C>
where
    F: Fn(A, &C) -> R + Copy + Send + Sync + 'static,
    C: Payload + Sync,
{
    Partial { function, binding: Arc::new(Binding { config, encoded: OnceLock::new() }) }
}

impl<F: Clone, C> Clone for Partial<F, C> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), binding: Arc::clone(&self.binding) }
    }
}

impl<F, C: fmt::Debug> fmt::Debug for Partial<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial").field("config", &self.binding.config).finish_non_exhaustive()
    }
}

/// Marks the implementation of [`Task`] for [`Partial`].
#[derive(Debug)]
pub struct PartialMarker<S>(PhantomData<S>);

impl<F, A, C, R> Task<A, PartialMarker<fn(A, &C) -> R>> for Partial<F, C>
where
    F: Fn(A, &C) -> R + Copy + Send + Sync + 'static,
    C: Payload + Sync,
{
    type Output = R;

    const PORTABLE: () = assert!(
        size_of::<F>() == 0,
        "the function given to executor_core::partial must be a function item or a closure that captures nothing: \
         put what it needs into the configuration"
    );

    fn call(&self, args: A) -> R {
        (self.function)(args, &self.binding.config)
    }

    fn bound(&self) -> Option<Result<Arc<Bound>, TaskError>> {
        let encode = || -> Result<Arc<Bound>, TaskError> {
            static NEXT: AtomicU64 = AtomicU64::new(1);
            let mut bytes = Vec::new();
            let pins = codec::encode(&self.binding.config, &mut bytes)
                .map_err(|cause| TaskError::encode("configuration", cause))?;
            if bytes.len() > MAX_ENCODED {
                let cause = "it is longer than 512 MiB: pass the path of a file with it, or SharedBytes";
                return Err(TaskError::encode("configuration", cause));
            }
            // ORDERING: only uniqueness matters.
            Ok(Arc::new(Bound { id: NEXT.fetch_add(1, Ordering::Relaxed), bytes, _pins: pins }))
        };
        if let Some(encoded) = self.binding.encoded.get() {
            return Some(Ok(Arc::clone(encoded)));
        }
        // Whoever comes first is kept. A failure is not: it may have been one of the moment.
        Some(encode().map(|fresh| Arc::clone(self.binding.encoded.get_or_init(|| fresh))))
    }

    fn bound_plain(&self) -> Option<Result<Vec<u8>, TaskError>> {
        let mut bytes = Vec::new();
        let encoded = codec::encode_without_references(&self.binding.config, &mut bytes);
        Some(encoded.map(|()| bytes).map_err(|cause| TaskError::encode("configuration", cause)))
    }

    fn restore(bound: &[u8]) -> Result<Self, TaskError> {
        const { assert!(size_of::<F>() == 0) };
        let config = codec::decode(bound).map_err(|cause| TaskError::decode("configuration", cause))?;
        // SAFETY: as for functions above.
        let function = unsafe { std::ptr::NonNull::<F>::dangling().read() };
        Ok(Self { function, binding: Arc::new(Binding { config, encoded: OnceLock::new() }) })
    }
}

/// How one task is to be treated; for [`Executor::submit_with`](crate::Executor::submit_with) and its like.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, TaskOptions, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// let soon = TaskOptions::new().priority(10).queue_timeout(Duration::from_secs(60));
/// assert_eq!(pool.submit_with(|x: u64| x + 1, 41, soon)?.result()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct TaskOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) refuse_when_full: bool,
    pub(crate) space_timeout: Option<Duration>,
    pub(crate) priority: i32,
    pub(crate) queue_timeout: Option<Duration>,
}

impl TaskOptions {
    /// No time limit of its own; a full queue is waited for.
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest that the task may run, counted from its start. A process pool really stops it then; on threads, where
    /// nothing can, its future resolves with [`TaskError::TimedOut`] and the worker is busy until the task returns by itself;
    /// so does dropping the pool wait for it.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Whether a full queue refuses the task ([`SubmitError::Full`](crate::SubmitError::Full)) instead of waiting for space.
    pub fn refuse_when_full(mut self, refuse: bool) -> Self {
        self.refuse_when_full = refuse;
        self
    }

    /// The longest that a submit waits for space in a full queue, before it is refused with
    /// [`SubmitError::Full`](crate::SubmitError::Full). Default: without limit.
    pub fn space_timeout(mut self, limit: Duration) -> Self {
        self.space_timeout = Some(limit);
        self
    }

    /// The longest that the task may wait to be started. When that has passed it will not run, and its future resolves with
    /// [`TaskError::Expired`].
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = Some(limit);
        self
    }

    /// Tasks with a higher priority start first, and among equals those that came first. Default: 0. A task that runs is not
    /// interrupted.
    ///
    /// A thread pool keeps this order for all tasks that are submitted from outside of it. What a task submits to its own pool
    /// without a priority belongs to its worker, where the last one starts first; it comes before tasks from outside with
    /// priority 0, but for one after 61.
    ///
    /// A process pool keeps it until it has seen that tasks are short (less than a millisecond). Then a worker gets some 0.4 ms of
    /// work at once, which is not taken back for a task that comes later, and given back after a millisecond or two if the first
    /// of it takes longer than that.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// How long the task may run, if that was set.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether a full queue refuses the task.
    #[must_use]
    pub fn refuses_when_full(&self) -> bool {
        self.refuse_when_full
    }
}
