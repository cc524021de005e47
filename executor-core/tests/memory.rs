//! The memory of a task: one allocation, of a known size.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::mpsc,
};

#[cfg(unix)]
use executor_core::{CancelToken, ProcessPoolExecutor};
use executor_core::{Executor, Promise, Submit, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor};

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
        // SAFETY: the caller keeps the requirements of `alloc`, which are the same for the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        FREED.set(FREED.get() + 1);
        // SAFETY: the pointer came from `alloc`, and so from the system's allocator, with this layout.
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
    // The worker waits, so that the queue grows and only submitting allocates.
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
    // The memory that they share may grow.
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

/// What so many more tasks leave behind, in allocations of this thread.
fn left_by(number: usize, cancel: impl Fn(usize)) -> usize {
    cancel(200);
    let before = (ALLOCATIONS.get().0, FREED.get());
    cancel(number);
    (ALLOCATIONS.get().0 - before.0).saturating_sub(FREED.get() - before.1)
}

const MANY: usize = 5000;

#[test]
fn what_is_cancelled_or_run_in_place_in_a_thread_pool_leaves_next_to_nothing() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).build().unwrap();
    let (release, held) = mpsc::channel::<()>();
    let busy = pool.spawn(move || held.recv().is_ok()).unwrap();
    for priority in [0, 1, -1] {
        let left = left_by(MANY, |number| {
            for x in 0..number {
                let future = pool.spawn_with(move || x, TaskOptions::new().priority(priority)).unwrap();
                assert!(future.cancel());
            }
        });
        assert!(left < 300, "{left} allocations are left");
    }
    assert_eq!(pool.stats().queued, 0);
    // Also behind those that are to be run, which stay in their order.
    let (sender, receiver) = mpsc::channel();
    let others: Vec<_> = (0..300)
        .map(|x| {
            let sender = sender.clone();
            (0..5).for_each(|_| assert!(pool.spawn(|| ()).unwrap().cancel()));
            pool.spawn(move || sender.send(x).unwrap()).unwrap()
        })
        .collect();
    assert_eq!(pool.stats().queued, others.len());
    release.send(()).unwrap();
    assert!(busy.result().unwrap() && others.into_iter().all(|other| other.result().is_ok()));
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.done, stats.cancelled), (0, 301, 3 * (MANY as u64 + 200) + 1500));
}

/// In a task, whose worker has a deque for what it submits.
#[test]
fn what_a_task_has_cancelled_or_run_in_place_leaves_next_to_nothing() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let core = pool.handle().clone();
    let submit = move |x: u64| core.submit_task(|x: u64| x, x, TaskOptions::new()).unwrap();
    let lefts = pool.spawn(move || {
        let cancelled = left_by(MANY, |number| (0..number).for_each(|_| assert!(submit(1).cancel())));
        // The one that is waited for first is not the last in the deque.
        let in_place = left_by(MANY, |number| {
            for _ in 0..number {
                let [first, second] = [submit(1), submit(2)];
                assert_eq!((first.result(), second.result()), (Ok(1), Ok(2)));
            }
        });
        [cancelled, in_place]
    });
    let lefts = lefts.unwrap().result().unwrap();
    assert!(lefts.iter().all(|left| *left < 300), "{lefts:?} allocations are left");
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.done), (0, 2 * (MANY as u64 + 200) + 1));
}

/// Memory that rayon itself keeps is allowed.
#[cfg(feature = "rayon")]
#[test]
fn what_is_cancelled_in_a_rayon_pool_leaves_one_small_allocation() {
    let executor = executor_core::RayonExecutor::new(1).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let busy = executor.spawn(move || held.recv().is_ok()).unwrap();
    let left = left_by(MANY, |number| {
        for x in 0..number {
            assert!(executor.spawn(move || x).unwrap().cancel());
        }
    });
    assert!(left < MANY + MANY / 10, "{left} allocations are left");
    release.send(()).unwrap();
    assert!(busy.result().unwrap());
}
