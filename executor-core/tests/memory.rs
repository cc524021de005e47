//! What a task costs in memory: one allocation, of a known size.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::mpsc,
};

#[cfg(unix)]
use executor_core::{CancelToken, Executor, ProcessPoolExecutor};
use executor_core::{Promise, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor};

#[cfg(unix)]
executor_core::test_worker!();

thread_local! {
    static ALLOCATIONS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    static FREED: Cell<usize> = const { Cell::new(0) };
}

/// Counts what this thread allocates, and how many bytes.
struct Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (number, bytes) = ALLOCATIONS.get();
        ALLOCATIONS.set((number + 1, bytes + layout.size()));
        // SAFETY: what is promised to this function is promised to that one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        FREED.set(FREED.get() + 1);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn counted<R>(code: impl FnOnce() -> R) -> (R, usize, usize) {
    let before = ALLOCATIONS.get();
    let result = code();
    let after = ALLOCATIONS.get();
    (result, after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_future_is_one_pointer_and_options_are_small() {
    assert_eq!(size_of::<TaskFuture<[u8; 100]>>(), size_of::<usize>());
    assert_eq!(size_of::<Option<TaskFuture<u8>>>(), size_of::<usize>());
    assert!(size_of::<TaskOptions>() <= 64);
}

#[test]
fn a_submit_is_one_allocation_of_at_most_64_bytes_and_what_the_task_needs() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    // The worker waits, so that the queue grows and nothing but submitting happens.
    let (go, wait) = mpsc::channel::<()>();
    let held = pool.spawn(move || wait.recv()).unwrap();
    let captured = [7_u64; 4];
    let mut futures = Vec::with_capacity(2000);
    let mut submit = |number: usize| {
        let ((), allocations, bytes) = counted(|| {
            for _ in 0..number {
                futures.push(pool.spawn(move || captured.iter().sum::<u64>()).unwrap());
            }
        });
        (allocations, bytes)
    };
    // The queue's own memory comes in blocks of 63 entries of two words.
    submit(1000);
    let (allocations, bytes) = submit(630);
    assert!((630..=641).contains(&allocations), "{allocations}");
    let queue = 11 * (63 * 16 + 64);
    let span = if cfg!(feature = "tracing") { size_of::<tracing::Span>() } else { 0 };
    assert!(bytes <= 630 * (size_of_val(&captured) + span + 64) + queue, "{bytes}");
    go.send(()).unwrap();
    held.result().unwrap().unwrap();
    assert!(futures.into_iter().all(|future| future.result() == Ok(28)));
}

#[cfg(unix)]
fn wait_for(token: CancelToken) {
    while !token.is_cancelled() {
        std::thread::yield_now();
    }
}

/// Tasks that this thread submits, cancels and forgets, while the only worker is busy.
#[cfg(unix)]
fn cancelled_tasks_leave_nothing(executor: &ProcessPoolExecutor) {
    let token = CancelToken::new();
    let held = executor.submit(wait_for, token.clone()).unwrap();
    while !held.running() {
        std::thread::yield_now();
    }
    let cancel = |number: usize| {
        for _ in 0..number {
            let future = executor.submit(|x: u64| x, 1).unwrap();
            assert!(future.cancel());
        }
    };
    cancel(100);
    let before = (ALLOCATIONS.get().0, FREED.get());
    cancel(1000);
    let (made, freed) = (ALLOCATIONS.get().0 - before.0, FREED.get() - before.1);
    token.cancel();
    held.result().unwrap();
    // What is there for all of them together may grow.
    assert!(made.abs_diff(freed) < 100, "{made} allocations, and {freed} were freed");
}

#[test]
fn what_is_cancelled_leaves_nothing() {
    #[cfg(unix)]
    cancelled_tasks_leave_nothing(&ProcessPoolExecutor::new(1).unwrap());
    let cancel = |number: usize| {
        for _ in 0..number {
            let (promise, future) = Promise::<u64>::new();
            assert!(promise.set_error(TaskError::Cancelled).is_ok() && future.result().is_err());
        }
    };
    cancel(100);
    let before = (ALLOCATIONS.get().0, FREED.get());
    cancel(1000);
    assert_eq!(ALLOCATIONS.get().0 - before.0, FREED.get() - before.1);
}
