//! A program that has no thread left for a moment: calls that need one say so or wait, and all works again when there are some. The
//! limit is the process's, so this is a file of its own with one test.
#![cfg(target_os = "linux")]

use std::{
    env, fs,
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use executor_core::{
    Executor, Observer, PoolState, Promise, ReturnWhen, Shutdown, Submit, TaskEnd, TaskError, TaskFuture, TaskId,
    TaskOptions, ThreadPoolExecutor, wait,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For what must happen: a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

fn result<T: Send + 'static>(future: TaskFuture<T>) -> Result<T, TaskError> {
    match future.result_timeout(LONG) {
        Ok(result) => result,
        Err(future) => panic!("no result: {future:?}"),
    }
}

/// Leaves room for everything but one of the large stacks that the pools here ask for, until it is dropped.
struct Crowded(Rlimit);

impl Crowded {
    fn new() -> Self {
        let limit = getrlimit(Resource::As);
        let pages: u64 = fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        let used = pages * rustix::param::page_size() as u64;
        setrlimit(Resource::As, Rlimit { current: Some(used + 256 * MIB), ..limit }).unwrap();
        Self(limit)
    }
}

impl Drop for Crowded {
    fn drop(&mut self) {
        setrlimit(Resource::As, self.0).unwrap();
    }
}

fn pool(workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(workers).stack_size(1 << 30).build().unwrap()
}

fn square(x: u64) -> u64 {
    x * x
}

const NAME: &str = "no_thread_for_a_moment_costs_what_meets_it_and_nothing_else";

#[test]
fn no_thread_for_a_moment_costs_what_meets_it_and_nothing_else() {
    if env::var_os("RUST_MIN_STACK").is_some() {
        a_callback_that_a_worker_calls_may_wait();
        a_callback_that_another_one_waits_for_is_called_when_there_are_threads_again();
        a_time_limit_is_kept_when_there_are_threads_again();
        return the_thread_that_keeps_time_is_the_only_one();
    }
    // With this stack size every thread is too large.
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([NAME, "--exact"]).env("RUST_MIN_STACK", (1_u64 << 30).to_string());
    let status = child.status().unwrap();
    assert!(status.success(), "{status}");
    the_pool_lives_on();
    a_task_that_waits_without_a_stand_in_runs_what_it_waits_for();
    what_is_run_for_want_of_a_stand_in_may_wait_as_well();
    a_stand_in_is_started_when_there_are_threads_again();
    a_second_worker_is_started_when_there_are_threads_again();
}

struct Listener(mpsc::Sender<TaskEnd>);

impl Observer for Listener {
    fn task_ended(&self, _: TaskId, end: TaskEnd) {
        let _ = self.0.send(end);
    }
}

/// It tells the observer itself what it would leave to another one.
fn the_thread_that_keeps_time_is_the_only_one() {
    let (told, is_told) = mpsc::channel();
    let pool = ThreadPoolExecutor::builder().max_workers(1).observer(Listener(told)).build().unwrap();
    let (release, held) = mpsc::channel();
    let busy = pool.spawn(move || held.recv_timeout(LONG).is_ok()).unwrap();
    let queued = pool.spawn_with(|| (), TaskOptions::new().queue_timeout(Duration::from_millis(100))).unwrap();
    let crowded = Crowded::new();
    assert_eq!(is_told.recv_timeout(LONG), Ok(TaskEnd::Expired));
    assert!(matches!(result(queued), Err(TaskError::Expired { .. })));
    drop(crowded);
    release.send(()).unwrap();
    assert_eq!(result(busy), Ok(true));
}

/// For want of a thread of its own.
fn a_callback_that_a_worker_calls_may_wait() {
    // Of threads that are small enough.
    let pool = ThreadPoolExecutor::builder().max_workers(1).stack_size(1 << 20).build().unwrap();
    let (promise, resolved) = Promise::new();
    let (release, held) = mpsc::channel();
    let first = pool.spawn(move || held.recv_timeout(LONG).is_ok()).unwrap();
    let ((waiting, waits), (tell, is_told)) = (mpsc::channel(), mpsc::channel());
    first.add_done_callback(move |_| {
        waiting.send(()).unwrap();
        tell.send(result(resolved)).unwrap();
    });
    let crowded = Crowded::new();
    release.send(()).unwrap();
    waits.recv_timeout(LONG).unwrap();
    let second = pool.spawn(move || promise.set_result(7).is_ok()).unwrap();
    assert_eq!((result(second), is_told.recv_timeout(LONG)), (Ok(true), Ok(Ok(7))));
    drop(crowded);
    assert_eq!(result(first), Ok(true));
}

/// Not only when the next callback comes.
fn a_callback_that_another_one_waits_for_is_called_when_there_are_threads_again() {
    let [(promise, first), (other, second)] = [Promise::<()>::new(), Promise::new()];
    let ((waiting, waits), (tell, is_told)) = (mpsc::channel(), mpsc::channel());
    let (done, is_done) = Promise::new();
    first.add_done_callback(move |_| {
        waiting.send(()).unwrap();
        done.set_result(is_told.recv_timeout(LONG).is_ok()).unwrap();
    });
    second.add_done_callback(move |_| tell.send(()).unwrap());
    promise.set_result(()).unwrap();
    waits.recv_timeout(LONG).unwrap();
    let crowded = Crowded::new();
    other.set_result(()).unwrap();
    drop(crowded);
    assert_eq!(result(is_done), Ok(true));
}

/// Not only when the next task with a limit comes. The first one of this process: its thread stays.
fn a_time_limit_is_kept_when_there_are_threads_again() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).stack_size(1 << 20).build().unwrap();
    let ((runs, running), (release, held)) = (mpsc::channel(), mpsc::channel());
    let busy = pool.spawn(move || {
        runs.send(()).unwrap();
        held.recv_timeout(LONG).is_ok()
    });
    running.recv_timeout(LONG).unwrap();
    let crowded = Crowded::new();
    let queued = pool.spawn_with(|| (), TaskOptions::new().queue_timeout(Duration::from_millis(1))).unwrap();
    drop(crowded);
    let outcome = queued.result_timeout(LONG / 2).map_err(|_| "no result");
    assert!(matches!(outcome, Ok(Err(TaskError::Expired { .. }))), "{outcome:?}");
    release.send(()).unwrap();
    assert_eq!(result(busy.unwrap()), Ok(true));
}

fn the_pool_lives_on() {
    let pool = pool(2);
    let crowded = Crowded::new();
    for x in 0..3 {
        assert!(matches!(result(pool.submit(square, x).unwrap()), Err(TaskError::NoWorker { .. })));
    }
    drop(crowded);
    assert_eq!(result(pool.submit(square, 3).unwrap()), Ok(9));
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.done, stats.queued), (3, 1, 0));
    let crowded = Crowded::new();
    // There is a worker, which does them all.
    for future in pool.submit_many(square, 0..100).unwrap() {
        assert!(result(future).is_ok());
    }
    drop(crowded);
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

fn a_task_that_waits_without_a_stand_in_runs_what_it_waits_for() {
    let pool = pool(1);
    let core = pool.handle().clone();
    let outer = pool.spawn(move || {
        let crowded = Crowded::new();
        let inner: Vec<_> = (0..5).map(|x| core.submit_task(square, x, TaskOptions::new()).unwrap()).collect();
        let waited = wait(inner, Some(LONG), ReturnWhen::AllCompleted);
        // Also where the time is too long for the clock.
        let endless = core.submit_task(square, 6, TaskOptions::new()).unwrap();
        let endless = endless.wait_timeout(Duration::MAX);
        drop(crowded);
        (waited.done.len(), endless)
    });
    assert_eq!(result(outer.unwrap()), Ok((5, true)));
}

/// One worker waits twice at the same time. The pool goes on taking tasks meanwhile.
fn what_is_run_for_want_of_a_stand_in_may_wait_as_well() {
    for waits_for_many in [false, true] {
        let pool = Arc::new(pool(1));
        let own = Arc::clone(&pool);
        let ((promise, promised), (waits, is_waiting)) = (Promise::<u64>::new(), mpsc::channel());
        let outer = pool.spawn(move || {
            let crowded = Crowded::new();
            let inner = own.spawn(move || {
                waits.send(()).unwrap();
                promised.result_timeout(LONG).ok()
            });
            let inner = inner.unwrap();
            let is_done = if waits_for_many {
                wait([&inner], Some(LONG), ReturnWhen::AllCompleted).not_done.is_empty()
            } else {
                inner.wait_timeout(LONG)
            };
            drop(crowded);
            (is_done, inner.result())
        });
        is_waiting.recv_timeout(LONG).unwrap();
        // It may wait by now or not.
        for _ in 0..1000 {
            assert_eq!(pool.state(), PoolState::Active);
            thread::yield_now();
        }
        let other = pool.submit(square, 5).unwrap();
        promise.set_result(7).unwrap();
        assert_eq!(result(outer.unwrap()), Ok((true, Ok(Some(Ok(7))))));
        assert_eq!(result(other), Ok(25));
    }
}

fn a_stand_in_is_started_when_there_are_threads_again() {
    let pool = pool(1);
    let (promise, promised) = Promise::<u64>::new();
    let (started, has_started) = mpsc::channel();
    let outer = pool.spawn(move || {
        started.send(()).unwrap();
        promised.result()
    });
    has_started.recv_timeout(LONG).unwrap();
    let crowded = Crowded::new();
    let inner = pool.spawn(move || promise.set_result(7).is_ok()).unwrap();
    // It may block by now or not: either way a worker has to come for the task.
    (0..1000).for_each(|_| thread::yield_now());
    drop(crowded);
    assert_eq!(result(inner), Ok(true));
    assert_eq!(result(outer.unwrap()), Ok(Ok(7)));
}

/// Not only when the next task is submitted, or when the first worker is free: its task may wait for the second one in ways that the
/// pool does not see.
fn a_second_worker_is_started_when_there_are_threads_again() {
    for waits_for_many in [false, true] {
        let pool = pool(2);
        let ((runs, running), (release, held)) = (mpsc::channel(), mpsc::channel());
        let first = pool.spawn(move || {
            runs.send(()).unwrap();
            held.recv_timeout(LONG / 2).is_ok()
        });
        running.recv_timeout(LONG).unwrap();
        let crowded = Crowded::new();
        let second = pool.spawn(move || release.send(()).is_ok()).unwrap();
        drop(crowded);
        if waits_for_many {
            assert!(wait([&second], Some(LONG), ReturnWhen::AllCompleted).not_done.is_empty());
        }
        assert_eq!(result(second), Ok(true));
        assert_eq!(result(first.unwrap()), Ok(true));
    }
}
