//! Whether rayon runs a job at the bottom of a thread's stack, or on top of a job that waits.
//!
//! rayon does not tell. But the path from the start of a thread to a job at the bottom is always the same, and so is its length on
//! the stack; all other paths are longer. Should that ever be wrong, a task is run by another thread than it could be, or where
//! all tasks would run without this check.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use rayon::ThreadPool;

/// What is given to rayon. There is one kind, because the path to another one might have another length.
pub(super) trait Job: Send + 'static {
    /// Runs the job, which is told whether it runs at the bottom.
    fn run(self, is_at_bottom: bool);
}

thread_local! {
    /// An address on the stack of this thread, which rayon has started.
    static START: Cell<usize> = const { Cell::new(0) };
}

/// How far down a job at the bottom is; the same for all threads of the program. 0 before it was measured.
static BOTTOM: AtomicUsize = AtomicUsize::new(0);

/// Where the stack of this thread ends now. A variable of its own may be elsewhere: AddressSanitizer keeps some on the heap.
#[cfg(target_os = "linux")]
#[inline(never)]
fn address() -> usize {
    psm::stack_pointer().addr()
}

/// An address on this thread's stack.
#[cfg(not(target_os = "linux"))]
#[inline(never)]
fn address() -> usize {
    let here = 0_u8;
    std::hint::black_box(&raw const here).addr()
}

/// To be called at the start of a thread.
pub(super) fn mark() {
    START.set(address());
}

/// Whether the bottom was measured. Otherwise the first job measures it: a job for threads that have no other work.
pub(super) fn is_known() -> bool {
    // ORDERING: the number publishes no other memory.
    BOTTOM.load(Ordering::Relaxed) > 0
}

/// The only path by which jobs are given to rayon.
pub(super) fn spawn(threads: &ThreadPool, job: impl Job) {
    threads.spawn(move || begin(job));
}

#[inline(never)]
fn begin(job: impl Job) {
    let depth = address().abs_diff(START.get());
    // ORDERING: the number publishes no other memory.
    let mut bottom = BOTTOM.load(Ordering::Relaxed);
    if bottom == 0 {
        bottom = depth;
        BOTTOM.store(depth, Ordering::Relaxed);
    }
    job.run(depth <= bottom);
}
