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
    sys::{self, PerProcess},
};

/// A value that can be sent to another process. Implemented for every type that serde can write and read back, and that owns its
/// data. For `&str` the compiler says that `Deserialize` is not general enough; send a `String` instead.
///
/// The wire format is [postcard](https://docs.rs/postcard), which does not describe itself: `#[serde(flatten)]`,
/// `#[serde(tag)]`, `#[serde(untagged)]` and `#[serde(skip_serializing_if)]` do not survive it.
///
/// An error of a type's own `Serialize` or `Deserialize` is in the [`TaskError`] of the task. A field that
/// `skip_serializing_if` leaves out is such an error. So is a sequence or a map whose number of elements differs from what its
/// `Serialize` has announced, or that its `Deserialize` does not read to the end.
///
/// If the two sides of a type disagree in another way, the crate does not see it, and the task may get *another value*. serde's
/// derive counts fields and variants differently on the two sides where they are skipped: `#[serde(skip_serializing)]` or
/// `#[serde(skip_deserializing)]` alone on a field, and `#[serde(skip)]` on a variant that is followed by others, which are then
/// read as the next variant. Use `#[serde(skip)]` on fields, and put skipped variants last.
///
/// A value may be nested as deep as there is stack to write and to read it: the thread's own stack, and a second one, which is as
/// large for writing, and three times as large for reading. A task with a deeper value resolves with [`TaskError::Encode`] or
/// [`TaskError::Decode`]. A list of boxes may have some ten thousands of links on a thread with 2 MiB. A thread that has such a
/// value needs stack to drop it as well.
///
/// To and from a worker process, a value may be at most 512 MiB long in that format: otherwise its task resolves with
/// [`TaskError::Encode`]. The content of [`SharedBytes`](crate::SharedBytes) does not count where these cross by reference. A
/// value may have at most 2^20 elements that take no bytes, such as those of `Vec<()>`, in total: with more of them the
/// receiving side resolves the task with [`TaskError::Decode`].
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
/// # Zero-sized values that prove something
///
/// In a worker process the task is made anew from its type, since it has no bytes that could be sent. For functions and for
/// closures that capture nothing this is a copy like any other. A closure that captures a `Copy` value *of size zero* is copied
/// with it. If that value is a token which proves that something has happened, such as that a library was initialized, then it has
/// happened in the program and not in the worker. Code that relies on the token is then wrong in the worker, and undefined if it
/// has `unsafe` inside. So a condition of sending a closure to another process is that no token in it stands for the state of
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
    /// The encoded configuration, once encoding has succeeded. No thread waits for another one here: encoding runs the user's code,
    /// which may submit.
    encoded: OnceLock<Arc<Bound>>,
    /// The same for a forked copy of the process that has made the binding: the bytes may refer to memory and to flags of that
    /// process, which the copy's workers are not given; and a thread that is not in the copy may have been storing them.
    encoded_in_copy: PerProcess<OnceLock<Arc<Bound>>>,
    process: u64,
}

impl<C> Binding<C> {
    fn new(config: C) -> Arc<Self> {
        let encoded_in_copy = PerProcess::new(OnceLock::new);
        Arc::new(Self { config, encoded: OnceLock::new(), encoded_in_copy, process: sys::generation() })
    }

    /// The configuration as this process has encoded it.
    fn encoded(&self) -> &OnceLock<Arc<Bound>> {
        if self.process == sys::generation() { &self.encoded } else { self.encoded_in_copy.get() }
    }
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
    Partial { function, binding: Binding::new(config) }
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
        let place = self.binding.encoded();
        if let Some(encoded) = place.get() {
            return Some(Ok(Arc::clone(encoded)));
        }
        // The first encoding to be stored is kept. A failure is not stored, because its cause may be a temporary one.
        Some(encode().map(|fresh| Arc::clone(place.get_or_init(|| fresh))))
    }

    fn bound_plain(&self) -> Option<Result<Vec<u8>, TaskError>> {
        let mut bytes = Vec::new();
        let encoded = codec::encode_without_references(&self.binding.config, &mut bytes);
        Some(encoded.map(|()| bytes).map_err(|cause| TaskError::encode("configuration", cause)))
    }

    fn restore(bound: &[u8]) -> Result<Self, TaskError> {
        const { assert!(size_of::<F>() == 0) };
        let config = codec::decode(bound).map_err(|cause| TaskError::decode("configuration", cause))?;
        // SAFETY: `F` has no bytes that could be wrong, and is `Copy`: the program that sent the task, which is this one, had a
        // value of it. That a token in it proves nothing about this process is a condition of `Task`.
        let function = unsafe { std::ptr::NonNull::<F>::dangling().read() };
        Ok(Self { function, binding: Binding::new(config) })
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
    /// Returns options without time limits and with priority 0. A submit with them waits while the queue is full.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the longest time that the task may run, counted from its start. A process pool stops the task when it has passed.
    /// On threads, which cannot be stopped, the future resolves with [`TaskError::TimedOut`] and the worker is busy until the
    /// task returns by itself; dropping the pool waits for it.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets whether a full queue refuses the task ([`SubmitError::Full`](crate::SubmitError::Full)) instead of waiting for
    /// space.
    pub fn refuse_when_full(mut self, refuse: bool) -> Self {
        self.refuse_when_full = refuse;
        self
    }

    /// Sets the longest time that a submit waits for space in a full queue before it is refused with
    /// [`SubmitError::Full`](crate::SubmitError::Full). Default: no limit.
    pub fn space_timeout(mut self, limit: Duration) -> Self {
        self.space_timeout = Some(limit);
        self
    }

    /// Sets the longest time that the task may wait to be started. When it has passed, the task will not run, and its future
    /// resolves with [`TaskError::Expired`].
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = Some(limit);
        self
    }

    /// Sets the priority: tasks with a higher one start first, and among equals those that were submitted first. Default: 0. A
    /// running task is not interrupted.
    ///
    /// A thread pool keeps this order for all tasks that are submitted from outside of it. A task that another task submits to
    /// its own pool without a priority belongs to that worker, where the last one submitted starts first. Such tasks come before
    /// tasks from outside with priority 0, except that one from outside is taken after 61 of them.
    ///
    /// A process pool keeps this order until it has seen that tasks are short (less than a millisecond). From then on a worker
    /// gets some 0.4 ms of work at once. This work is not taken back for a task that comes later; it is given back after a
    /// millisecond or two if its first task takes longer than that.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Returns how long the task may run, if that was set.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns whether a full queue refuses the task.
    #[must_use]
    pub fn refuses_when_full(&self) -> bool {
        self.refuse_when_full
    }
}
