//! The end of an executor, and the callbacks that it waits for.

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use executor_core::{
    Executor, PoolState, SerialExecutor, Shutdown, Submit, SubmitError, TaskError, TaskOptions, ThreadPoolExecutor,
};

use crate::{LONG, square};

on_every_executor!(
    the_end_waits_for_callbacks,
    a_callback_may_end_its_executor,
    a_callback_may_wait_for_the_pool_whose_task_ends_its_executor,
    after_shutdown_nothing_is_taken_and_everything_is_done,
    a_map_of_a_pool_that_shut_down_says_so,
);

fn the_end_waits_for_callbacks(executor: impl Executor) {
    let (gate, called) = (Arc::new(RwLock::new(())), Arc::new(AtomicUsize::new(0)));
    let closed = gate.write().unwrap();
    for x in 0..8 {
        let future = executor.submit(square, x).unwrap();
        let (gate, called) = (Arc::clone(&gate), Arc::clone(&called));
        assert!(future.wait_timeout(LONG));
        future.on_result(move |result| {
            drop(gate.read());
            assert_eq!(result, Ok(x * x));
            called.fetch_add(1, Ordering::SeqCst);
        });
    }
    let report = executor.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    assert_eq!((report.callbacks, report.is_complete()), (8, false));
    drop(closed);
    drop(executor);
    assert_eq!(called.load(Ordering::SeqCst), 8);
}

fn a_callback_may_end_its_executor(executor: impl Executor + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let future = executor.submit(square, 3).unwrap();
    future.on_result(move |result| {
        let report = executor.shutdown(Shutdown::Drain, None);
        drop(executor);
        sender.send((result, report.is_complete())).unwrap();
    });
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), (Ok(9), true));
}

fn a_callback_may_wait_for_the_pool_whose_task_ends_its_executor(executor: impl Executor + Send + 'static) {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let core = pool.handle().clone();
    let (sender, receiver) = mpsc::channel();
    let future = executor.submit(square, 3).unwrap();
    assert!(future.wait_timeout(LONG));
    let ends = pool.spawn(move || {
        future.add_done_callback(move |_| {
            let asked = core.submit_task(square, 4, TaskOptions::new()).unwrap();
            sender.send(asked.result_timeout(LONG).unwrap()).unwrap();
        });
        executor.shutdown(Shutdown::Drain, None).is_complete()
    });
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), Ok(16));
    assert_eq!(ends.unwrap().result_timeout(LONG).unwrap(), Ok(true));
}

fn after_shutdown_nothing_is_taken_and_everything_is_done(executor: impl Executor) {
    let futures: Vec<_> = (0..50).map(|x| executor.submit(square, x).unwrap()).collect();
    let report = executor.shutdown(Shutdown::Drain, Some(LONG));
    assert!(report.is_complete() && report.cancelled == 0, "{report:?}");
    assert!(futures.iter().all(|future| future.done()));
    assert!(matches!(executor.submit(square, 1), Err(SubmitError::ShutDown)));
    assert!(executor.shutdown(Shutdown::Kill, Some(LONG)).is_complete(), "again, and harder");
    assert_eq!(executor.stats().done, 50);
}

fn a_map_of_a_pool_that_shut_down_says_so(executor: impl Executor) {
    let mut map = executor.map(square, 0..1000).buffer_size(4).chunk_size(1).start();
    executor.shutdown(Shutdown::Drain, Some(LONG));
    drop(executor);
    let results: Vec<_> = map.by_ref().collect();
    assert_eq!(results[..4], [Ok(0), Ok(1), Ok(4), Ok(9)]);
    assert_eq!(results[4..], [Err(TaskError::ShutDown)], "and not an end that looks like the end of the input");
}

/// A serial executor may be shared, too.
#[test]
fn the_end_of_a_serial_executor_waits_for_what_another_thread_runs_there() {
    let executor = SerialExecutor::new();
    let (running, runs) = mpsc::channel();
    let (release, held) = mpsc::channel();
    std::thread::scope(|scope| {
        let submits = scope.spawn(|| {
            let task = move || {
                running.send(()).unwrap();
                held.recv_timeout(LONG).is_ok()
            };
            executor.spawn(task).unwrap().result()
        });
        runs.recv_timeout(LONG).unwrap();
        let report = executor.shutdown(Shutdown::Drain, Some(Duration::ZERO));
        assert_eq!((report.running, report.is_complete()), (1, false));
        let ends = scope.spawn(|| {
            let report = executor.shutdown(Shutdown::Drain, None);
            (report.is_complete(), executor.stats().done)
        });
        release.send(()).unwrap();
        assert_eq!((submits.join().unwrap(), ends.join().unwrap()), (Ok(true), (true, 1)));
    });
    // What it refuses never counts as a task of its.
    let executor = SerialExecutor::new();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = executor.submit(square, 1);
                }
            });
        }
        let report = executor.shutdown(Shutdown::Drain, None);
        let unfit =
            (0..100_000).filter(|_| executor.state() != PoolState::Ended || executor.stats().running > 0).count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!((report.is_complete(), unfit), (true, 0));
    });
    // A task does not wait for itself, nor for the task that it is part of.
    let executor = Arc::new(SerialExecutor::new());
    let inner = Arc::clone(&executor);
    let nested = move || {
        let innermost = Arc::clone(&inner);
        let report = move || innermost.shutdown(Shutdown::Drain, None);
        inner.spawn(report).unwrap().result().unwrap().running
    };
    assert_eq!(executor.spawn(nested).unwrap().result(), Ok(2));
    assert!(executor.shutdown(Shutdown::Drain, None).is_complete());
}
