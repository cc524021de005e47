//! The role of this process: the program, or a worker of it; and how the program becomes one.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::sys;

/// The variable that is set for a worker process; `process/wire/birth.rs` says to what. A task's own child processes inherit it,
/// which is why its presence alone proves nothing.
pub(crate) const WORKER_VARIABLE: &str = "EXECUTOR_CORE_WORKER_OF";

/// [`init`](crate::process::init) was called, so this program can be started as a worker.
static INITIALIZED: AtomicBool = AtomicBool::new(false);
static IN_WORKER: AtomicBool = AtomicBool::new(false);
/// Of the process that is a worker, and not of copies that a task makes of it.
static GENERATION: AtomicU64 = AtomicU64::new(0);
static TEST_WORKER: OnceLock<&str> = OnceLock::new();

/// Called by [`init`](crate::process::init).
pub(crate) fn note_init() {
    // ORDERING: a flag that stands for itself.
    INITIALIZED.store(true, Ordering::Relaxed);
}

/// From now on this process is a worker.
pub(crate) fn become_worker() {
    // ORDERING: no task runs yet, and the threads that run them are started later.
    IN_WORKER.store(true, Ordering::Relaxed);
    GENERATION.store(sys::generation(), Ordering::Relaxed);
}

/// Whether this is a worker process.
#[must_use]
pub fn in_worker() -> bool {
    // ORDERING: set before any task runs.
    IN_WORKER.load(Ordering::Relaxed)
}

/// Called by [`test_worker!`](crate::test_worker) before `main`.
#[doc(hidden)]
pub fn register_test_worker(module: &'static str) {
    let _ = TEST_WORKER.set(module);
}

/// The arguments with which this program becomes a worker; `None` when it cannot.
pub(crate) fn launch_arguments() -> Option<LaunchArguments> {
    if let Some(module) = TEST_WORKER.get() {
        // The harness knows tests by their path without the crate's name.
        let path = module.split_once("::").map_or_else(String::new, |(_, path)| format!("{path}::"));
        let test = format!("{path}executor_core_worker");
        let arguments = [&test, "--exact", "--test-threads=1", "--nocapture", "--quiet", "--include-ignored"];
        return Some(LaunchArguments { arguments: arguments.map(ToOwned::to_owned).to_vec(), null_stdout: true });
    }
    // ORDERING: a flag that stands for itself.
    let plain = || LaunchArguments { arguments: Vec::new(), null_stdout: false };
    INITIALIZED.load(Ordering::Relaxed).then(plain)
}

/// How this program is started as a worker.
#[derive(Debug, Clone)]
pub(crate) struct LaunchArguments {
    pub(crate) arguments: Vec<String>,
    /// The test harness writes to standard output.
    pub(crate) null_stdout: bool,
}

/// How many threads of the test harness sleep in this process while it is a worker.
pub(crate) fn sleeping_threads() -> usize {
    // The test harness's main thread waits for the "test" that the worker is.
    usize::from(TEST_WORKER.get().is_some())
}

/// Whether this process is a copy that a task has made of its worker.
#[inline]
pub(crate) fn is_copy() -> bool {
    // ORDERING: set before any task runs.
    let worker = GENERATION.load(Ordering::Relaxed);
    // 0 in a process that is not a worker.
    worker != 0 && worker != sys::generation()
}

/// Whether a task has made a copy of this process, by `fork`, is known once it has come back: then this may be the copy, and ends
/// here. It has the worker's socket and the memory in which answers are written, and must not write to either; the worker itself
/// does. Called when the user's code has returned, before anything of that is written, and before anything is told.
#[inline]
pub(crate) fn end_if_copy() {
    if is_copy() {
        sys::end_copy();
    }
}
