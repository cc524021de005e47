//! Python's `concurrent.futures` for Rust: one API over threads, processes, rayon and serial execution.
//!
//! An [`Executor`] takes tasks and gives [futures](TaskFuture). One line chooses what runs them: a [`ThreadPoolExecutor`],
//! a [`ProcessPoolExecutor`] whose tasks can be killed and may crash without harm to the program or to other tasks, a
//! `RayonExecutor` (feature `rayon`), or a [`SerialExecutor`].
//!
//! ```
//! use executor_core::{Executor, as_completed, partial};
//!
//! fn square(x: u64) -> u64 { x * x }
//! fn add(a: u64, b: u64) -> u64 { a + b }
//! fn scale(x: u64, factor: &u64) -> u64 { x * factor }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     executor_core::init();                     // first line of main: in a worker process it never returns
//!     let pool = executor_core::ProcessPoolExecutor::new(2)?;         // or ThreadPoolExecutor: no other line changes
//!
//!     assert_eq!(pool.submit(square, 12)?.result()?, 144);
//!     assert_eq!(pool.submit(add, (1, 2))?.result()?, 3);             // a tuple for a function of several parameters
//!
//!     let squares: Vec<u64> = pool.map(square, 0..1000).collect::<Result<_, _>>()?;
//!     let scaled = pool.map(partial(scale, 3), 0..10).into_vec()?;     // the configuration is sent once per worker
//!     assert_eq!((squares[31], scaled[9]), (961, 27));
//!
//!     let futures = [pool.submit(square, 1)?, pool.submit(square, 2)?];
//!     for done in as_completed(futures, None) {
//!         println!("{}", done?.result()?);
//!     }
//!     Ok(())
//! }                                              // drop = drain and join, like leaving a `with` block
//! ```
//!
//! # What a task is
//!
//! A task is a function item or a closure that captures nothing, and one argument that serde can write and read ([`Task`],
//! [`Payload`]). Such a task can be sent to a worker process. Threads also take any closure:
//! [`ThreadPoolExecutor::spawn`].
//!
//! Large data is passed as [`SharedBytes`]: workers read it where it is. A `Vec<u8>` that is the whole argument, or the whole
//! result, also crosses in shared memory, and so does a `bytes::Bytes` with the feature `bytes`. Inside of another value, both
//! are sent with the rest of it, and should use `serde_bytes`, because serde handles them byte by byte otherwise. An argument or
//! a result that is longer than 512 MiB is refused; what crosses by reference does not count.
//!
//! # What can go wrong
//!
//! A task's own `Result` is its output. Every other failure is a [`TaskError`]: a panic with its place and stack, cancellation,
//! a time limit, the death of the worker process with its signal or exit code, a value that cannot be encoded. Each of these
//! costs one task. A wait that runs out of time is not an error of the task, and gives the future back.
//!
//! # Process pools
//!
//! Worker processes are this same program, started again. [`init`] must therefore be the first line of `main`; building a
//! process pool without it is an error. Under `cargo test` the test harness owns `main`; put [`test_worker!`] at the top level
//! of the test binary instead. Process pools exist on Unix. On Windows the crate builds without [`ProcessPoolExecutor`].
//!
//! # Seeing what happens
//!
//! [`Executor::stats`] tells how many tasks wait, run and have ended; the numbers add up ([`Stats`]). An [`Observer`] of a
//! thread pool or a process pool is told of every task and worker.
//!
//! With the feature `tracing`, a task that runs in this process runs in the span that was current where it was submitted. The
//! span cannot go to a worker process, which has its own subscribers, if it has any. For a task of a process pool, the
//! submitter's span stays open until the task has ended, and then gets an event `task ended` (level `DEBUG`, with the task's id
//! and how it ended). What the task itself records is in a span `task` (level `INFO`, with the function's name), for a subscriber
//! that an [initializer](ProcessPoolBuilder::initializer) has installed in the worker.
//!
//! # What it costs
//!
//! Measured with `cargo lab overhead --blocks 5` on a virtual machine with 2 cores (Xeon, Linux 6.18), two workers, peers and
//! baselines in the same run: medians of four runs. The host of this machine interrupts each core 5000 to 18 000 times a second,
//! for 2 µs; in the worst of these runs these interruptions were the tail of the round trips.
//!
//! | process pool | |
//! |---|---|
//! | submit, then collect, no-op `u64 -> u64` | 2.2 to 2.5 M tasks/s (194x to 227x CPython's) |
//! | round trip, one task at a time | p50 3.1x to 3.4x, p99 4.4x to 14x that of two processes that spin on a cache line (0.3 µs) |
//! | 1 MiB `Vec<u8>` arguments | 50% to 62% of the speed of memcpy |
//! | 64 MiB [`SharedBytes`], first delivery to a worker | 14 to 19 µs beyond the round trip of 64 bytes |
//! | the same, already there | 1.03x to 1.06x the round trip of 64 bytes |
//! | `map` of no-op items | 40 to 44 M items/s |
//! | `build()` to the first result | 1.7 to 1.8 ms |
//! | kill -9 of a worker to its replacement's first result | 1.7 to 1.9 ms |
//! | a queued task | 160 bytes beyond its argument, no file descriptor |
//! | an idle pool | no wake-ups, 1.6 MiB for each worker |
//! | METG(50%) | 1.4 to 2.2 µs |
//!
//! | thread pool | |
//! |---|---|
//! | submit, then collect | 1.36x to 1.44x crossbeam-channel + oneshot, the best peer |
//! | round trip p50 | 0.45x to 0.96x that of the best peer, p99 0.08x to 0.18x |
//! | 16 threads that submit at once | 0.47x to 0.62x the time of one, per task |
//! | `map` of 20 M cheap items, `into_vec()` | 1.03x to 1.07x rayon's parallel iterator |
//! | the same, drained in order | 0.70x to 0.75x a serial collect |
//! | `map` over skewed items | 1.02x to 1.04x rayon's |
//! | tasks that wait for tasks | 0.28x to 0.30x rayon's `join`; 0.94x to 0.97x with a serial cutoff of 2 µs |
//! | memory of a task | 80 bytes beyond closure and result |
//! | METG(50%) | 0.37 to 0.61 µs |
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "what only process pools or fork servers use has no user on this platform")
)]

mod cancel;
mod codec;
mod configuration;
mod error;
mod executor;
mod future;
pub mod host;
mod initializer;
mod map;
mod panic;
mod pins;
#[cfg(unix)]
mod portable;
#[cfg(unix)]
mod process;
#[cfg(feature = "rayon")]
mod rayon;
#[cfg(unix)]
mod renamed;
mod role;
mod serial;
mod shared_bytes;
#[cfg(unix)]
mod shm;
mod shutdown;
mod span;
mod stats;
mod submit;
mod sync;
#[cfg(unix)]
mod sys;
mod user_code;
/// The part of `sys` that threads need.
#[cfg(not(unix))]
mod sys {
    #[expect(unsafe_code, reason = "finds out whether this process is a forked copy")]
    mod copies;
    mod cpus;
    pub(crate) use copies::{PerProcess, end_copy, generation};
    pub(crate) use cpus::{available_cpus, current_core};
}
#[expect(unsafe_code, reason = "makes a zero-sized function out of nothing")]
mod task;
mod thread;
#[cfg(unix)]
mod untrusted;
mod wait;

pub use cancel::CancelToken;
pub use error::{AlreadyDone, BuildError, Cause, SubmitError, TaskError, TryMapError, WaitTimeout, WorkerExit};
pub use executor::Executor;
pub use future::{CancelHook, Completed, Promise, Promises, TaskFuture, TaskId, TaskState};
pub use initializer::InitializerResult;
pub use map::{ChunkInput, ChunkOutput, Map, TryMap};
#[doc(hidden)]
pub use map::{Collect, MapBackend};
#[cfg(all(any(test, fuzzing), not(loom), target_os = "linux"))]
#[doc(hidden)]
pub use process::fuzzing;
#[cfg(unix)]
pub use process::{
    OnWorkerDeath, ProcessPoolBuilder, ProcessPoolExecutor, ProcessPoolHandle, StartMethod, Transport, init,
};
#[cfg(feature = "rayon")]
pub use rayon::{RayonBuilder, RayonExecutor, RayonHandle};
#[cfg(unix)]
#[doc(hidden)]
pub use renamed::*;
pub use role::{in_worker, register_test_worker};
pub use serial::{SerialExecutor, SerialHandle};
pub use shared_bytes::SharedBytes;
pub use shutdown::{Shutdown, ShutdownReport};
pub use stats::{Observer, PoolState, Stats, TaskEnd};
pub use submit::Submit;
pub use task::{Partial, PartialMarker, Payload, Task, TaskOptions, partial};
pub use thread::{ClosureHandle, Scope, ThreadPoolBuilder, ThreadPoolExecutor, ThreadPoolHandle, with_worker_state};
#[doc(hidden)]
pub use user_code::is_forbidden as is_user_code_forbidden;
pub use wait::{AsCompleted, ReturnWhen, Waitable, Waited, as_completed, wait, wait_until};

/// The first line of `main` in every program that uses process pools. This platform has no process pools yet, so the function
/// does nothing.
#[cfg(not(unix))]
pub fn init() {}

/// The README's program is a doc test, which keeps it correct.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
