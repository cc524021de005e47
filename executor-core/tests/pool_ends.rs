//! How a pool ends: from whichever thread it is ended, whatever its workers are doing, and which state it reports meanwhile.
#![cfg(target_os = "linux")]

mod gated;
mod pool_kinds;

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use executor_core::{Executor, PoolState, ProcessPoolExecutor, Shutdown, ShutdownReport, TaskError, TaskOptions};
use gated::{Gate, LONG, assert_squares, quick_pool, result, square, squares, until};
use pool_kinds::{Kind, on_every_kind_of_pool};
use rustix::process::{Pid, Signal, kill_process};

executor_core::test_worker!();

on_every_kind_of_pool!(
    workers_are_killed_at_once_whatever_they_do,
    a_pool_whose_last_owner_is_a_waker_ends,
    a_waker_holds_up_no_time_limit,
    times_too_long_for_the_clock_are_no_limits,
    absurdly_many_workers_are_no_more_than_are_needed,
    a_pool_says_whether_it_takes_tasks,
);

fn stop(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap();
}

/// Kills the workers of a pool, without waiting for ever.
fn kill_all(pool: ProcessPoolExecutor) -> ShutdownReport {
    let (said, says) = mpsc::channel();
    thread::spawn(move || {
        let report = pool.kill_workers();
        drop(pool);
        said.send(report)
    });
    says.recv_timeout(LONG).expect("the workers are killed")
}

fn hang((): ()) {
    loop {
        thread::park();
    }
}

fn workers_are_killed_at_once_whatever_they_do(kind: Kind) {
    for grace in [Duration::from_secs(3600), Duration::MAX] {
        let builder = || kind.builder().max_workers(1).grace(grace);
        let starting = builder().initializer(hang, ()).build().unwrap();
        let future = starting.submit(square, 1).unwrap();
        until("no worker is started", || !starting.worker_pids().is_empty());
        assert!(kill_all(starting).is_complete());
        assert_eq!(result(future), Err(TaskError::Cancelled));

        // Idle, and stopped; then one that was told to go as well, and cannot.
        for leaves in [false, true] {
            let pool = builder().build().unwrap();
            assert_eq!(result(pool.submit(square, 3).unwrap()), Ok(9));
            stop(pool.worker_pids()[0]);
            if leaves {
                pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
            }
            assert!(kill_all(pool).is_complete());
        }
    }
}

/// An executor as in textbooks: a task is an `Arc`, and its waker sends it to the executor.
struct AsyncTask {
    future: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>,
    queue: mpsc::Sender<Arc<Self>>,
}

impl Wake for AsyncTask {
    fn wake(self: Arc<Self>) {
        let queue = self.queue.clone();
        let _ = queue.send(self);
    }
}

struct SaysWhenDropped(mpsc::Sender<()>);

impl Drop for SaysWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn a_pool_whose_last_owner_is_a_waker_ends(kind: Kind) {
    let gate = Gate::new();
    let pool = kind.builder().max_workers(1).build().unwrap();
    let waited_for = gate.close(&pool);
    let ((queue, tasks), (dropped, is_dropped)) = (mpsc::channel(), mpsc::channel());
    let future = async move {
        // Dropped in this order: first the pool.
        let (_says, _pool) = (SaysWhenDropped(dropped), pool);
        let _ = waited_for.await;
    };
    let task = Arc::new(AsyncTask { future: Mutex::new(Box::pin(future)), queue });
    let waker = Waker::from(Arc::clone(&task));
    assert!(task.future.lock().unwrap().as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // The executor is gone while its task waits, and so the waker of the task is all that is left of it.
    drop((waker, task, tasks));
    gate.open();
    is_dropped.recv_timeout(LONG).expect("the pool ends");
}

/// A waker that takes as long as the test says.
struct Blocks(Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        let _ = self.1.send(());
        let _ = self.0.lock().unwrap().recv_timeout(LONG);
    }
}

fn a_waker_holds_up_no_time_limit(kind: Kind) {
    let pool = quick_pool(kind.builder(), 2);
    let gate = Gate::new();
    let mut first = gate.close(&pool);
    let ((release, held), (called, is_called)) = (mpsc::channel(), mpsc::channel());
    let waker = Waker::from(Arc::new(Blocks(Mutex::new(held), called)));
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
    gate.open();
    is_called.recv_timeout(LONG).expect("the waker is called");
    let limit = TaskOptions::new().timeout(Duration::from_millis(50));
    let hanging = pool.submit_with(hang, (), limit).unwrap();
    assert!(matches!(result(hanging), Err(TaskError::TimedOut { .. })));
    release.send(()).unwrap();
    assert_eq!(result(first), Ok(7));
}

fn times_too_long_for_the_clock_are_no_limits(kind: Kind) {
    let pool = kind
        .builder()
        .max_workers(1)
        .startup_timeout(Duration::MAX)
        .grace(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .task_timeout(Duration::MAX)
        .build()
        .unwrap();
    let options = TaskOptions::new().timeout(Duration::MAX).queue_timeout(Duration::MAX).space_timeout(Duration::MAX);
    assert_eq!(result(pool.submit_with(square, 3, options).unwrap()), Ok(9));
    assert!(pool.shutdown(Shutdown::Drain, Some(Duration::MAX)).is_complete());
}

fn absurdly_many_workers_are_no_more_than_are_needed(kind: Kind) {
    for workers in [usize::MAX, usize::MAX / 2, 1 << 62] {
        let pool = kind.builder().max_workers(workers).build().unwrap();
        assert_eq!(pool.map(square, 0..3).map(Result::unwrap).sum::<u64>(), 5);
        assert_eq!(pool.map(square, 0..3).unordered().map(Result::unwrap).sum::<u64>(), 5);
        assert!((3..=1 << 20).contains(&pool.max_workers()));
    }
}

fn a_pool_says_whether_it_takes_tasks(kind: Kind) {
    let gate = Gate::new();
    let pool = quick_pool(kind.builder(), 1);
    assert_eq!(pool.state(), PoolState::Active);
    let long = gate.close(&pool);
    let behind = squares(&pool, 3);
    assert!(!pool.shutdown(Shutdown::Drain, Some(Duration::ZERO)).is_complete());
    assert_eq!(pool.state(), PoolState::Ending);
    gate.open();
    assert_eq!(result(long), Ok(7));
    assert_squares(behind);
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(pool.state(), PoolState::Ended);
    assert_eq!((pool.worker_pids(), pool.fork_server_pid()), (Vec::new(), None), "nothing is left of it");

    let pool = kind.builder().max_workers(1).initializer(|(): ()| Err::<(), _>("no licence"), ()).build().unwrap();
    let error = result(pool.submit(square, 1).unwrap()).unwrap_err();
    assert!(matches!(error, TaskError::InitializerFailed { .. }));
    assert_eq!(pool.state(), PoolState::Broken(error));
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(pool.state(), PoolState::Ended);
}
