//! Observers that block or wait, and one whose destructor panics in the thread that cancels.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use executor_core::{
    Executor, Observer, Promise, Submit, TaskEnd, TaskError, TaskId, TaskOptions, ThreadPoolExecutor, ThreadPoolHandle,
};

use crate::{Blocks, Bomb, LONG, held, limits_are_kept};

#[test]
fn an_observer_that_blocks_delays_no_time_limit_of_another_pool() {
    let (observer, has_entered, go_on) = Blocks::new();
    let pool = ThreadPoolExecutor::builder().max_workers(1).observer(observer).build().unwrap();
    let (task, release) = held();
    let running = pool.spawn(task).unwrap();
    let queued = pool.spawn_with(|| (), TaskOptions::new().queue_timeout(Duration::from_millis(1))).unwrap();
    has_entered.recv_timeout(LONG).unwrap();
    assert!(limits_are_kept());
    go_on.send(()).unwrap();
    release.send(()).unwrap();
    assert!(matches!(queued.result(), Err(TaskError::Expired { .. })));
    assert_eq!(running.result(), Ok(()));
}

/// Waits for a task of its pool when it is told of the first one that starts.
struct Asks(Mutex<Option<ThreadPoolHandle>>);

impl Observer for Asks {
    fn task_started(&self, _: TaskId) {
        let core = self.0.lock().unwrap().take();
        if let Some(core) = core {
            let asked = core.submit_task(|x: u64| x + 1, 1, TaskOptions::new()).unwrap();
            assert_eq!(asked.result(), Ok(2));
        }
    }
}

#[test]
fn an_observer_may_wait_for_a_task_of_its_pool_before_one_that_waits_for_the_next() {
    let asks = Arc::new(Asks(Mutex::default()));
    let pool = ThreadPoolExecutor::builder().max_workers(1).observer(Arc::clone(&asks)).build().unwrap();
    *asks.0.lock().unwrap() = Some(pool.handle().clone());
    let (promise, resolved) = Promise::new();
    let (running, runs) = mpsc::channel();
    let waits = pool.spawn(move || {
        running.send(()).unwrap();
        resolved.result_timeout(LONG).is_ok_and(|result| result == Ok(7))
    });
    runs.recv_timeout(LONG).unwrap();
    let resolves = pool.spawn(move || promise.set_result(7).is_ok()).unwrap();
    assert_eq!((waits.unwrap().result(), resolves.result()), (Ok(true), Ok(true)));
    assert!(asks.0.lock().unwrap().is_none());
    assert_eq!(pool.stats().done, 3);
}

/// Submits a task when it is told of the first one that has ended without having run, and waits for room in the queue.
struct SubmitsAtTheEnd(Mutex<Option<ThreadPoolHandle>>, mpsc::Sender<bool>);

impl Observer for SubmitsAtTheEnd {
    fn task_ended(&self, _: TaskId, end: TaskEnd) {
        if matches!(end, TaskEnd::Cancelled | TaskEnd::Expired) {
            let handle = self.0.lock().unwrap().take().unwrap();
            let next = handle.submit_task(|x: u64| x + 1, 1, TaskOptions::new().space_timeout(LONG / 2));
            self.1.send(next.is_ok()).unwrap();
        }
    }
}

#[test]
fn an_observer_that_submits_finds_the_place_of_the_task_that_has_ended() {
    for expires in [false, true] {
        let (tell, is_told) = mpsc::channel();
        let submits = Arc::new(SubmitsAtTheEnd(Mutex::default(), tell));
        let builder = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1);
        let pool = builder.observer(Arc::clone(&submits)).build().unwrap();
        *submits.0.lock().unwrap() = Some(pool.handle().clone());
        let (task, release) = held();
        let running = pool.spawn(task).unwrap();
        while !running.running() {
            thread::yield_now();
        }
        let options = TaskOptions::new();
        let options = if expires { options.queue_timeout(Duration::from_millis(1)) } else { options };
        let queued = pool.spawn_with(|| (), options).unwrap();
        assert!(expires || queued.cancel());
        assert_eq!(is_told.recv_timeout(LONG), Ok(true), "{expires}");
        release.send(()).unwrap();
        assert!(queued.result().is_err() && running.result().is_ok());
    }
}

/// Blocks when it is told of a cancellation; its destructor panics.
struct LastBomb {
    told: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
    _bomb: Bomb,
}

impl Observer for LastBomb {
    fn task_ended(&self, _: TaskId, end: TaskEnd) {
        if end == TaskEnd::Cancelled {
            self.told.send(()).unwrap();
            let _ = self.go_on.lock().unwrap().recv_timeout(LONG);
        }
    }
}

/// Tells that it was called.
struct Tells(Mutex<mpsc::Sender<()>>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

#[test]
fn what_the_builder_was_given_may_panic_in_the_cancelling_thread() {
    let ((told, is_told), (release, go_on), (sender, dropped)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
    let observer = LastBomb { told, go_on: Mutex::new(go_on), _bomb: Bomb(sender) };
    let pool = ThreadPoolExecutor::builder().max_workers(1).observer(observer).build().unwrap();
    let (task, end) = held();
    let busy = pool.spawn(task).unwrap();
    let mut queued = pool.spawn(|| ()).unwrap();
    let (tell, is_woken) = mpsc::channel();
    let waker = Waker::from(Arc::new(Tells(Mutex::new(tell))));
    assert!(Pin::new(&mut queued).poll(&mut Context::from_waker(&waker)).is_pending());
    let cancels = thread::spawn(move || queued.cancel());
    is_told.recv_timeout(LONG).unwrap();
    end.send(()).unwrap();
    busy.result().unwrap();
    // The thread that cancels has the last pointer to the pool.
    drop(pool);
    release.send(()).unwrap();
    dropped.recv_timeout(LONG).unwrap();
    is_woken.recv_timeout(LONG).unwrap();
    assert!(cancels.join().unwrap());
}
