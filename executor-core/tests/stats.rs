//! Each task that is submitted is counted once, however it ends; on every executor.
#![cfg(unix)]

mod pool_kinds;
mod tasks;

use std::{
    pin::Pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use executor_core::{
    CancelToken, Executor, ProcessPoolExecutor, RayonExecutor, SerialExecutor, Shutdown, Stats, TaskError, TaskFuture,
    TaskOptions, ThreadPoolExecutor, Transport,
};
use pool_kinds::{Kind, on_every_kind_of_pool};
use tasks::{Unencodable, hold};

executor_core::test_worker!();

const LONG: Duration = Duration::from_secs(60);

fn square(x: u64) -> u64 {
    x * x
}

fn fail(_: u64) -> u64 {
    panic!("this panic is part of the test")
}

/// Queued, running, done, failed, cancelled.
fn numbers(stats: Stats) -> (usize, usize, u64, u64, u64) {
    (stats.queued, stats.running, stats.done, stats.failed, stats.cancelled)
}

fn wait_until_it_runs(future: &TaskFuture<()>) {
    while !future.running() {
        std::thread::yield_now();
    }
}

/// On one worker: all ways in which a task can end on any executor but the serial one.
fn everything_is_counted(executor: &impl Executor, workers_are_processes: bool) {
    let token = CancelToken::new();
    let held = executor.submit(hold, token.clone()).unwrap();
    wait_until_it_runs(&held);
    let cancelled: Vec<_> = (0..3).map(|x| executor.submit(square, x).unwrap()).collect();
    let good: Vec<_> = executor.submit_many(square, 0..4).unwrap();
    let bad = executor.submit(fail, 1).unwrap();
    let hasty = TaskOptions::new().queue_timeout(Duration::from_millis(1));
    let expired = executor.submit_with(square, 1, hasty).unwrap();
    assert!(matches!(expired.result_timeout(LONG), Ok(Err(TaskError::Expired { .. }))));
    let (mut submitted, mut done, mut failed) = (10, 5, 2);
    let unencodable = executor.submit(|_: Unencodable| 5_u8, Unencodable).unwrap();
    submitted += 1;
    if workers_are_processes {
        assert!(matches!(unencodable.result(), Err(TaskError::Encode { .. })));
        failed += 1;
        assert_eq!(numbers(executor.stats()), (8, 1, 0, 2, 0));
    } else {
        // Threads need not encode anything.
        drop(unencodable);
        done += 1;
        assert_eq!(numbers(executor.stats()), (9, 1, 0, 1, 0));
    }
    assert!(cancelled.iter().all(TaskFuture::cancel));
    assert_eq!(executor.stats().submitted(), submitted);
    token.cancel();
    held.result().unwrap();
    assert!(good.into_iter().all(|future| future.result().is_ok()) && bad.result().is_err());
    assert!(executor.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(numbers(executor.stats()), (0, 0, done, failed, 3));
    assert!(executor.submit(square, 1).is_err());
    assert_eq!(executor.stats().submitted(), submitted, "what is refused is not counted");
}

#[test]
fn everything_is_counted_by_a_thread_pool() {
    everything_is_counted(&ThreadPoolExecutor::new(1).unwrap(), false);
    everything_is_counted(&ThreadPoolExecutor::builder().max_workers(1).queue_capacity(20).build().unwrap(), false);
}

#[test]
fn everything_is_counted_by_rayon() {
    everything_is_counted(&RayonExecutor::builder().max_workers(1).build().unwrap(), false);
}

#[test]
fn everything_is_counted_by_the_serial_executor() {
    let executor = SerialExecutor::new();
    executor.submit(square, 1).unwrap().result().unwrap();
    assert!(executor.submit(fail, 1).unwrap().result().is_err());
    assert!(executor.map(square, 0..10).chunk_size(5).all(|result| result.is_ok()));
    assert_eq!(numbers(executor.stats()), (0, 0, 3, 1, 0));
    assert_eq!(executor.stats().submitted(), 4);
}

on_every_kind_of_pool!(
    everything_is_counted_by_a_process_pool,
    what_ends_by_force_is_counted,
    in_a_broken_process_pool_everything_has_failed,
);

fn pool(kind: Kind) -> ProcessPoolExecutor {
    kind.builder().max_workers(1).grace(Duration::from_millis(200)).build().unwrap()
}

fn everything_is_counted_by_a_process_pool(kind: Kind) {
    everything_is_counted(&pool(kind), true);
}

fn what_ends_by_force_is_counted(kind: Kind) {
    let pool = pool(kind);
    let dead = pool.submit(|_: u64| -> u64 { std::process::abort() }, 1).unwrap();
    assert!(matches!(dead.result(), Err(TaskError::WorkerDied { .. })));
    let late =
        pool.submit_with(hold, CancelToken::new(), TaskOptions::new().timeout(Duration::from_millis(1))).unwrap();
    assert!(matches!(late.result(), Err(TaskError::TimedOut { .. })));
    let killed = pool.submit(hold, CancelToken::new()).unwrap();
    wait_until_it_runs(&killed);
    assert!(killed.kill());
    assert_eq!(killed.result(), Err(TaskError::Cancelled));
    assert_eq!(numbers(pool.stats()), (0, 0, 0, 2, 1));
    let running = pool.submit(hold, CancelToken::new()).unwrap();
    wait_until_it_runs(&running);
    let queued = pool.submit(square, 1).unwrap();
    assert!(pool.shutdown(Shutdown::Kill, Some(LONG)).is_complete());
    assert!(running.done() && queued.cancelled());
    assert_eq!(pool.stats().submitted(), 5);
    assert_eq!(numbers(pool.stats()), (0, 0, 0, 3, 2));
}

fn in_a_broken_process_pool_everything_has_failed(kind: Kind) {
    let refuse = || Err::<(), _>("this error is part of the test".to_owned());
    let pool = kind.builder().max_workers(1).initializer(refuse, ()).build().unwrap();
    let futures: Vec<_> = (0..5).map(|x| pool.submit(square, x).unwrap()).collect();
    assert!(futures.into_iter().all(|future| future.result().is_err()));
    // From here on the pool is known to be broken when something is submitted.
    assert!(matches!(pool.submit(square, 1).unwrap().result(), Err(TaskError::InitializerFailed { .. })));
    assert_eq!(numbers(pool.stats()), (0, 0, 0, 6, 0));
}

#[test]
fn in_a_broken_thread_pool_everything_has_failed() {
    let gate = Arc::new(Barrier::new(2));
    let entered = Arc::clone(&gate);
    let refuse = move || {
        entered.wait();
        Err::<(), _>("this error is part of the test")
    };
    let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(refuse).build().unwrap();
    let futures: Vec<_> = (0..100).map(|x| pool.submit(square, x).unwrap()).collect();
    assert_eq!(pool.stats().queued, 100);
    gate.wait();
    assert!(futures.into_iter().all(|future| future.result().is_err()));
    assert!(matches!(pool.submit(square, 1).unwrap().result(), Err(TaskError::InitializerFailed { .. })));
    assert_eq!(numbers(pool.stats()), (0, 0, 0, 101, 0));
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(pool.stats().submitted(), 101);
}

#[test]
fn a_task_whose_time_limit_has_passed_runs_until_it_returns_and_has_failed() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let token = CancelToken::new();
    let limited = TaskOptions::new().timeout(Duration::from_millis(1));
    let late = pool.submit_with(hold, token.clone(), limited).unwrap();
    assert!(matches!(late.result(), Err(TaskError::TimedOut { .. })));
    assert_eq!(numbers(pool.stats()), (0, 1, 0, 0, 0));
    token.cancel();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(numbers(pool.stats()), (0, 0, 0, 1, 0));
}

#[test]
fn what_the_exit_hook_of_a_thread_waits_for_is_counted() {
    let pool = Arc::new(std::sync::OnceLock::<ThreadPoolExecutor>::new());
    let inner = Arc::clone(&pool);
    let first = std::sync::Once::new();
    // It runs in place, unless a new thread is faster.
    let wait = move || {
        let outcome = inner.get().map(|pool| pool.submit(square, 3).map(TaskFuture::result));
        assert!(matches!(outcome, Some(Ok(Ok(9)))), "{outcome:?}");
    };
    let builder = ThreadPoolExecutor::builder().max_workers(1).idle_timeout(Some(Duration::from_millis(1)));
    let pool = pool.get_or_init(|| builder.exit_hook(move || first.call_once(&wait)).build().unwrap());
    pool.submit(square, 2).unwrap().result().unwrap();
    while pool.stats().done < 2 {
        std::thread::yield_now();
    }
    assert_eq!(numbers(pool.stats()), (0, 0, 2, 0, 0));
}

/// Notes how many tasks are counted as cancelled when it is woken.
struct Looks<E: Executor>(Arc<E>, AtomicU64);

impl<E: Executor + Send + Sync + 'static> Wake for Looks<E> {
    fn wake(self: Arc<Self>) {
        self.1.store(self.0.stats().cancelled, Ordering::Relaxed);
    }
}

fn a_woken_waiter_finds_the_cancellation_counted(executor: impl Executor + Send + Sync + 'static) {
    let token = CancelToken::new();
    let held = executor.submit(hold, token.clone()).unwrap();
    let mut future = executor.submit(square, 3).unwrap();
    let looks = Arc::new(Looks(Arc::new(executor), AtomicU64::new(u64::MAX)));
    let waker = Waker::from(Arc::clone(&looks));
    assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(future.cancel());
    token.cancel();
    held.result().unwrap();
    assert_eq!(looks.1.load(Ordering::Relaxed), 1);
}

#[test]
fn a_waiter_that_a_cancellation_wakes_finds_it_counted() {
    a_woken_waiter_finds_the_cancellation_counted(ThreadPoolExecutor::new(1).unwrap());
    a_woken_waiter_finds_the_cancellation_counted(RayonExecutor::builder().max_workers(1).build().unwrap());
}

#[test]
fn the_rest_of_a_chunk_that_waits_for_a_worker_can_be_killed() {
    use executor_core::Submit;

    let folder = tempfile::tempdir().unwrap();
    let name = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    // The first worker comes at once; the one after it waits.
    let begin = |(died, open): (String, String)| {
        while std::fs::exists(&died).unwrap() && !std::fs::exists(&open).unwrap() {
            std::thread::yield_now();
        }
    };
    let die = |died: String| -> u64 {
        std::fs::write(died, "").unwrap();
        std::process::abort();
    };
    for transport in [Transport::Socket, Transport::default()] {
        let _ = std::fs::remove_file(name("died"));
        let _ = std::fs::remove_file(name("open"));
        let builder = ProcessPoolExecutor::builder().max_workers(1).transport(transport);
        let pool = builder.initializer(begin, (name("died"), name("open"))).build().unwrap();
        let chunk = pool.handle().submit_chunk(die, vec![name("died"); 3].into(), TaskOptions::new()).unwrap();
        while pool.stats().died == 0 {
            std::thread::yield_now();
        }
        assert_eq!((chunk.cancel(), chunk.running(), pool.stats().queued), (false, true, 1));
        assert!(chunk.kill());
        assert!(chunk.cancelled() && chunk.kill());
        assert_eq!(numbers(pool.stats()), (0, 0, 0, 0, 1));
        std::fs::write(name("open"), "").unwrap();
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9), "the pool goes on");
    }
}
