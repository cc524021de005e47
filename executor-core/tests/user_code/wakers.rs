//! Wakers and callbacks that panic or block: no worker, other waiter or time limit suffers.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use executor_core::{
    Executor, Observer, Promise, RayonExecutor, Shutdown, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor,
    as_completed,
};

use crate::{Blocks, LONG, held, limits_are_kept};

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("this waker's panic is part of the test");
    }
}

/// Registers a waker that panics.
fn poll_once<T>(future: &mut TaskFuture<T>) {
    let waker = Waker::from(Arc::new(Panics));
    assert!(Pin::new(future).poll(&mut Context::from_waker(&waker)).is_pending());
}

#[test]
fn a_waker_that_panics_costs_no_worker() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (task, release) = held();
    let mut future = pool.spawn(task).unwrap();
    poll_once(&mut future);
    release.send(()).unwrap();
    assert_eq!(pool.spawn(|| 7).unwrap().result(), Ok(7));
    assert!(pool.shutdown(Shutdown::Drain, None).is_complete());

    let pool = RayonExecutor::builder().max_workers(1).build().unwrap();
    let (task, release) = held();
    let mut future = pool.spawn(task).unwrap();
    poll_once(&mut future);
    release.send(()).unwrap();
    assert_eq!(pool.spawn(|| 7).unwrap().result(), Ok(7));
}

#[test]
fn after_a_waker_that_panics_the_others_are_woken() {
    let (promise, mut future) = Promise::<u32>::new();
    poll_once(&mut future);
    let (sender, called) = mpsc::channel();
    future.add_done_callback(move |_| sender.send(()).unwrap());
    promise.set_result(1).unwrap();
    called.recv_timeout(LONG).unwrap();
}

#[test]
fn after_a_waker_that_panics_time_limits_are_kept() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    for _ in 0..2 {
        let (task, release) = held();
        let mut future = pool.spawn_with(task, TaskOptions::new().timeout(Duration::from_millis(20))).unwrap();
        poll_once(&mut future);
        assert!(matches!(future.result(), Err(TaskError::TimedOut { .. })));
        release.send(()).unwrap();
    }
}

/// Wherever the future is resolved, and although the waker was there first.
#[test]
fn other_waiters_are_woken_before_a_waker_that_blocks() {
    fn check(mut future: TaskFuture<u32>, resolve: impl FnOnce(&TaskFuture<u32>) + Send) {
        let (waker, _has_entered, go_on) = Blocks::new();
        let waker = Waker::from(waker);
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        let (sender, called) = mpsc::channel();
        future.add_done_callback(move |_| sender.send(()).unwrap());
        let mut set = as_completed([&future], Some(LONG / 2));
        thread::scope(|scope| {
            scope.spawn(|| resolve(&future));
            let seen = (called.recv_timeout(LONG / 2), set.next().is_some_and(|done| done.is_ok()));
            drop(go_on);
            assert_eq!(seen, (Ok(()), true));
        });
    }
    let (promise, future) = Promise::new();
    check(future, move |_| promise.set_result(1).unwrap());
    let (_promise, future) = Promise::new();
    check(future, |future| assert!(future.cancel()));
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (task, release) = held();
    let task = move || {
        task();
        1
    };
    check(pool.spawn(task).unwrap(), move |_| release.send(()).unwrap());
}

#[test]
fn a_waker_that_blocks_delays_no_time_limit() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let ((task, release), (waker, has_entered, go_on)) = (held(), Blocks::new());
    let mut future = pool.spawn_with(task, TaskOptions::new().timeout(Duration::from_millis(1))).unwrap();
    let waker = Waker::from(waker);
    let is_pending = Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending();
    if is_pending {
        has_entered.recv_timeout(LONG).unwrap();
    }
    assert!(limits_are_kept());
    go_on.send(()).unwrap();
    release.send(()).unwrap();
}

#[test]
fn callbacks_that_wait_delay_no_time_limit_and_no_waker() {
    struct Nothing;
    impl Observer for Nothing {}
    struct Told(Mutex<mpsc::Sender<()>>);
    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }
    let pool = ThreadPoolExecutor::builder().max_workers(1).observer(Nothing).build().unwrap();
    let (busy, release) = held();
    let busy = pool.spawn(busy).unwrap();
    let (begun, has_begun) = mpsc::channel();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    // As many as there are threads for.
    for _ in 0..128 {
        let (promise, future) = Promise::new();
        let (begun, gate) = (begun.clone(), Arc::clone(&gate));
        future.add_done_callback(move |_| {
            begun.send(()).unwrap();
            drop(gate.1.wait_timeout_while(gate.0.lock().unwrap(), LONG, |is_open| !*is_open).unwrap());
        });
        promise.set_result(()).unwrap();
    }
    (0..128).for_each(|_| has_begun.recv_timeout(LONG).unwrap());
    let limit = TaskOptions::new().queue_timeout(Duration::from_millis(10));
    let late = pool.spawn_with(|| (), limit).unwrap().result_timeout(Duration::from_secs(10));
    let (waker, is_woken) = mpsc::channel();
    let waker = Waker::from(Arc::new(Told(Mutex::new(waker))));
    let mut polled = pool.spawn_with(|| (), limit).unwrap();
    let is_pending = Pin::new(&mut polled).poll(&mut Context::from_waker(&waker)).is_pending();
    let is_woken = !is_pending || is_woken.recv_timeout(Duration::from_secs(10)).is_ok();
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    release.send(()).unwrap();
    assert!(matches!(late, Ok(Err(TaskError::Expired { .. }))), "{late:?}");
    assert!(is_woken);
    busy.result().unwrap();
}

#[test]
fn a_panic_of_set_result_does_not_spread() {
    let (promise, mut future) = Promise::<u32>::new();
    poll_once(&mut future);
    assert!(catch_unwind(AssertUnwindSafe(|| promise.set_result(1))).unwrap().is_ok());
    assert_eq!(future.result(), Ok(1));
}
