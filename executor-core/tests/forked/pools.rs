//! The program's pools in a copy of it: they refuse, and their futures end with an error.

use std::time::Duration;

use executor_core::{
    Executor, ProcessPoolExecutor, ReturnWhen, Shutdown, SubmitError, TaskError, TaskFuture, TaskState,
    ThreadPoolExecutor, as_completed, wait,
};

use crate::{
    end, end_of, fork, fork_and_return, never_return,
    pool_kinds::{Kind, on_every_kind_of_pool},
    square,
};

on_every_kind_of_pool!(
    what_a_copy_submits_is_refused_and_the_answers_are_the_programs,
    what_was_under_way_ends_with_an_error_in_a_copy,
    a_copy_drops_and_shuts_down_without_a_trace,
    a_copy_has_pools_of_its_own,
);

fn what_a_copy_submits_is_refused_and_the_answers_are_the_programs(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.map(square, 0..300).chunk_size(1).map(Result::unwrap).count(), 300);
    let running = pool.submit(square, 1).unwrap();
    let copy = fork();
    if copy == 0 {
        end(&[
            matches!(pool.submit(square, 1000), Err(SubmitError::ShutDown)),
            matches!(pool.try_submit(square, 1000), Err(SubmitError::ShutDown)),
            pool.submit_many(square, 0..10).is_err(),
            pool.map(square, 0..10).collect::<Vec<_>>() == [Err(TaskError::ShutDown)],
            pool.warm_up() == Err(TaskError::Forked),
        ]);
    }
    assert_eq!(end_of(copy), Ok(0));
    let futures: Vec<_> = (2..6).map(|x| pool.submit(square, x).unwrap()).collect();
    let answers: Vec<_> = futures.into_iter().map(TaskFuture::result).collect();
    assert_eq!(answers, [Ok(4), Ok(9), Ok(16), Ok(25)]);
    assert_eq!(running.result(), Ok(1));
}

fn what_was_under_way_ends_with_an_error_in_a_copy(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let done = pool.submit(square, 3).unwrap();
    assert!(done.wait_timeout(Duration::from_secs(60)));
    let running = pool.submit(never_return, ()).unwrap();
    while !running.running() {
        std::thread::yield_now();
    }
    let queued: Vec<_> = (0..4).map(|x| pool.submit(square, x).unwrap()).collect();
    let mut set = as_completed(queued.iter().take(2), None);
    let mut map = pool.map(square, 0..4).start();
    let copy = fork();
    if copy == 0 {
        let (sender, receiver) = std::sync::mpsc::channel();
        queued[3].add_done_callback(move |completed| sender.send(completed.failed()).unwrap());
        end(&[
            done.result() == Ok(9),
            !running.cancel() && !running.kill() && running.state() == TaskState::Failed,
            running.result() == Err(TaskError::Forked),
            !queued[2].cancel() && queued[2].done() && !queued[2].running(),
            set.by_ref().flatten().count() == 2,
            map.next() == Some(Err(TaskError::Forked)),
            wait(&queued, None, ReturnWhen::AllCompleted).done.len() == 4,
            !wait(&queued, None, ReturnWhen::FirstError).done.is_empty(),
            receiver.recv_timeout(Duration::from_secs(30)) == Ok(true),
        ]);
    }
    assert_eq!(end_of(copy), Ok(0));
    drop(set);
    assert!(running.kill());
    assert_eq!(queued.into_iter().map(TaskFuture::result).collect::<Vec<_>>(), [Ok(0), Ok(1), Ok(4), Ok(9)]);
    assert_eq!(map.map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 4, 9]);
}

fn a_copy_drops_and_shuts_down_without_a_trace(kind: Kind) {
    let pool = kind.builder().max_workers(2).build().unwrap();
    pool.warm_up().unwrap();
    let running = pool.submit(never_return, ()).unwrap();
    while !running.running() {
        std::thread::yield_now();
    }
    let pids = pool.worker_pids();
    let copy = fork();
    if copy == 0 {
        pool.shutdown(Shutdown::Kill, None);
        pool.kill_workers();
        drop(running);
        drop(pool);
        end(&[]);
    }
    assert_eq!(end_of(copy), Ok(0));
    assert_eq!(pool.submit(square, 7).unwrap().result(), Ok(49));
    assert!(running.running());
    assert_eq!(pool.worker_pids(), pids);
    assert_eq!(pool.stats().died, 0);
    pool.kill_workers();
}

fn a_copy_has_pools_of_its_own(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.submit(square, 2).unwrap().result(), Ok(4));
    let copy = fork();
    if copy == 0 {
        let own = kind.builder().max_workers(1).build();
        let Ok(own) = own else { end(&[false]) };
        let squares: Vec<_> = own.map(square, 0..100).flatten().collect();
        let limited = own.submit_with(never_return, (), executor_core::TaskOptions::new().timeout(Duration::ZERO));
        let limited = limited.unwrap().result();
        drop(own);
        let threads = ThreadPoolExecutor::new(2).unwrap();
        let sum: u64 = threads.map(square, 0..4).flatten().sum();
        drop(threads);
        end(&[squares.len() == 100, matches!(limited, Err(TaskError::TimedOut { .. })), sum == 14]);
    }
    assert_eq!(end_of(copy), Ok(0));
    assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
}

/// The same for pools whose tasks run in this process.
macro_rules! in_process {
    ($name:ident, $pool:expr) => {
        #[test]
        fn $name() {
            let pool = $pool;
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            let running = pool.spawn(move || receiver.recv().is_ok()).unwrap();
            while !running.running() {
                std::thread::yield_now();
            }
            let queued = pool.spawn(|| 7).unwrap();
            let copy = fork();
            if copy == 0 {
                let claims = [
                    matches!(pool.spawn(|| 1), Err(SubmitError::ShutDown)),
                    matches!(pool.submit(square, 1), Err(SubmitError::ShutDown)),
                    matches!(pool.map(square, 0..4).into_vec(), Err(TaskError::ShutDown)),
                    pool.stats() == executor_core::Stats::default(),
                    !queued.cancel() && queued.result() == Err(TaskError::Forked),
                    running.result() == Err(TaskError::Forked),
                    pool.shutdown(Shutdown::Drain, None) == executor_core::ShutdownReport::default(),
                ];
                drop(pool);
                end(&claims);
            }
            assert_eq!(end_of(copy), Ok(0));
            sender.send(()).unwrap();
            assert_eq!((running.result(), queued.result()), (Ok(true), Ok(7)));
            // A task that forks: the copy ends when it returns.
            let own = std::process::id();
            for round in 0..10 {
                let task = pool.spawn(move || fork_and_return(round % 2 == 1)).unwrap();
                assert_eq!(task.result(), Ok(own));
            }
        }
    };
}

in_process!(a_copy_keeps_away_from_a_thread_pool, ThreadPoolExecutor::new(1).unwrap());
#[cfg(feature = "rayon")]
in_process!(
    a_copy_keeps_away_from_rayons_threads,
    executor_core::RayonExecutor::builder().max_workers(1).build().unwrap()
);

#[test]
fn a_scope_does_not_wait_in_a_copy() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut copy = 1;
    let outcome = pool.scope(|scope| {
        scope.spawn(move || receiver.recv().unwrap()).unwrap();
        copy = fork();
        if copy > 0 {
            sender.send(()).unwrap();
        }
    });
    if copy == 0 {
        end(&[outcome == Err(TaskError::Forked)]);
    }
    assert_eq!(outcome, Ok(()));
    assert_eq!(end_of(copy), Ok(0));
}

/// The program may also fork while other threads are in the middle of everything.
#[test]
fn no_lock_is_waited_for_in_a_copy() {
    let process = ProcessPoolExecutor::builder().max_workers(1).build().unwrap();
    let threads = ThreadPoolExecutor::new(2).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let future = threads.submit(square, 2).unwrap();
                    future.add_done_callback(|_| ());
                    assert_eq!(process.submit(square, 3).unwrap().result(), Ok(9));
                    assert_eq!(future.result(), Ok(4));
                }
            });
        }
        for _ in 0..100 {
            let future = process.submit(square, 5).unwrap();
            let copy = fork();
            if copy == 0 {
                let lost = process.submit(square, 1).is_err() && threads.submit(square, 1).is_err();
                let answer = match future.state() {
                    TaskState::Finished => Ok(25),
                    _ => Err(TaskError::Forked),
                };
                let own = ThreadPoolExecutor::new(1).unwrap();
                let (sender, receiver) = std::sync::mpsc::channel();
                own.submit(square, 6).unwrap().on_result(move |result| sender.send(result).unwrap());
                let called = receiver.recv_timeout(Duration::from_secs(30)) == Ok(Ok(36));
                drop(own);
                end(&[lost, future.result() == answer, called]);
            }
            let outcome = end_of(copy);
            over.store(outcome != Ok(0), std::sync::atomic::Ordering::Relaxed);
            assert_eq!(outcome, Ok(0));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
