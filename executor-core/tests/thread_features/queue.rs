//! The order of the queue and its length: priorities, time limits, room, and what a shutdown does with it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use executor_core::{
    Executor, Observer, PoolState, Shutdown, Submit, SubmitError, TaskError, TaskId, TaskOptions, ThreadPoolExecutor,
};

use crate::{LONG, hold};

#[test]
fn a_higher_priority_starts_first() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (gate, held) = hold(&pool);
    let order = Arc::new(Mutex::new(Vec::new()));
    let futures: Vec<_> = [0, -5, 7, 0, 3, 7]
        .into_iter()
        .enumerate()
        .map(|(number, priority)| {
            let order = Arc::clone(&order);
            let options = TaskOptions::new().priority(priority);
            pool.spawn_with(move || order.lock().unwrap().push(number), options).unwrap()
        })
        .collect();
    assert_eq!(pool.stats().queued, 6);
    gate.wait();
    for future in futures {
        future.result().unwrap();
    }
    held.result().unwrap();
    assert_eq!(*order.lock().unwrap(), [2, 5, 4, 0, 3, 1]);
}

#[test]
fn a_task_that_waits_too_long_expires_and_never_runs() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build().unwrap();
    let (gate, held) = hold(&pool);
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    let options = TaskOptions::new().queue_timeout(Duration::from_millis(5));
    let future = pool.spawn_with(move || counted.fetch_add(1, Ordering::Relaxed), options).unwrap();
    let error = future.result_timeout(LONG).expect("while the only worker is busy").unwrap_err();
    assert!(matches!(error, TaskError::Expired { waited } if waited >= Duration::from_millis(5)), "{error:?}");
    assert!(error.to_string().starts_with("task was not started within its queue time"), "{error}");
    let next = pool.try_submit(|x: u64| x, 1).expect("its place in the queue is free again");
    gate.wait();
    assert_eq!((next.result(), held.result()), (Ok(1), Ok(())));
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    let options = TaskOptions::new().queue_timeout(LONG);
    assert_eq!(pool.submit_with(|x: u64| x, 2, options).unwrap().result(), Ok(2));
    let stats = pool.stats();
    assert_eq!((stats.done, stats.failed, stats.queued), (3, 1, 0));
}

#[test]
fn a_time_limit_does_not_wait_for_what_another_task_drops() {
    struct Slow(mpsc::Receiver<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            _ = self.0.recv();
        }
    }
    let (pool, other) = (ThreadPoolExecutor::new(1).unwrap(), ThreadPoolExecutor::new(1).unwrap());
    let (gate, held) = hold(&pool);
    let (go_on, slow) = mpsc::channel();
    let slow = Slow(slow);
    let limit = Duration::from_millis(1);
    let expired = pool.spawn_with(move || drop(slow), TaskOptions::new().queue_timeout(limit)).unwrap();
    assert!(matches!(expired.result_timeout(LONG), Ok(Err(TaskError::Expired { .. }))));
    let (end, ended) = mpsc::channel::<()>();
    let late = other.spawn_with(move || ended.recv().is_ok(), TaskOptions::new().timeout(limit)).unwrap();
    assert!(matches!(late.result_timeout(LONG), Ok(Err(TaskError::TimedOut { .. }))));
    end.send(()).unwrap();
    go_on.send(()).unwrap();
    gate.wait();
    held.result().unwrap();
}

#[test]
fn a_submit_waits_for_space_no_longer_than_it_is_told() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build().unwrap();
    let (gate, held) = hold(&pool);
    let queued = pool.submit(|x: u64| x, 1).unwrap();
    let refused = pool.submit_timeout(|x: u64| x, 2, Duration::from_millis(5));
    assert!(matches!(refused, Err(SubmitError::Full)));
    gate.wait();
    assert_eq!(pool.submit_timeout(|x: u64| x, 3, LONG).unwrap().result(), Ok(3));
    assert_eq!((queued.result(), held.result()), (Ok(1), Ok(())));
}

#[test]
fn a_map_waits_for_space_no_longer_than_its_time() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build().unwrap();
    let (gate, held) = hold(&pool);
    let queued = pool.spawn(|| ()).unwrap();
    let limit = Duration::from_millis(1);
    let same = |x: u64| x;
    // Each of these would wait for ever.
    assert_eq!(pool.map(same, 0..10).timeout(limit).into_vec(), Err(TaskError::DeadlineExceeded));
    for map in [pool.map(same, 0..10), pool.map(same, 0..10).unordered(), pool.map(same, 0..1)] {
        let results: Vec<_> = map.timeout(limit).collect();
        assert_eq!(results, [Err(TaskError::DeadlineExceeded)]);
    }
    gate.wait();
    held.result().unwrap();
    queued.result().unwrap();
}

#[test]
fn a_task_may_submit_to_its_own_full_pool() {
    let pool = Arc::new(ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build().unwrap());
    let inner = Arc::clone(&pool);
    let future = pool.spawn(move || {
        let futures: Vec<_> = (0..5).map(|x: u64| inner.spawn(move || x).unwrap()).collect();
        futures.into_iter().map(|future| future.result().unwrap()).sum::<u64>()
    });
    assert_eq!(future.unwrap().result_timeout(LONG).unwrap(), Ok(10));
}

#[test]
fn cancelled_tasks_do_not_pile_up_in_a_bounded_queue() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(2).build().unwrap();
    let (gate, running) = hold(&pool);
    let memory = Arc::new(());
    // They are over and their closures gone, and so are their entries in the queue, sooner or later.
    for _ in 0..1000 {
        let memory = Arc::clone(&memory);
        let refuse = TaskOptions::new().refuse_when_full(true);
        assert!(pool.spawn_with(move || drop(memory), refuse).unwrap().cancel());
    }
    assert_eq!(Arc::strong_count(&memory), 1);
    assert_eq!(pool.stats().queued, 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.spawn(|| 4).unwrap().result());
        gate.wait();
        assert_eq!(waiting.join().unwrap(), Ok(4), "there is room");
    });
    running.result().unwrap();
    // And all the places are there again.
    for _ in 0..3 {
        assert_eq!(pool.spawn(|| 5).unwrap().result(), Ok(5));
    }
}

/// Also what the worker is sorting at that moment, because others in its deque were cancelled.
#[test]
fn nothing_that_is_queued_begins_after_a_shutdown_that_cancels_it() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    fn ran((): ()) {
        RAN.fetch_add(1, Ordering::SeqCst);
    }
    for round in 0..30 {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let core = pool.handle().clone();
        let (sender, receiver) = mpsc::channel();
        let submits = pool.spawn(move || {
            let mut kept = Vec::new();
            for x in 0_u64.. {
                let Ok(future) = core.submit_task(ran, (), TaskOptions::new()) else { break };
                if x % 8 == 0 || !future.cancel() {
                    kept.push(future);
                }
                if x == 200 * round {
                    sender.send(()).unwrap();
                }
            }
            kept
        });
        receiver.recv_timeout(LONG).unwrap();
        let report = pool.shutdown(Shutdown::CancelQueued, None);
        let kept = submits.unwrap().result().unwrap();
        assert_eq!(RAN.load(Ordering::SeqCst), 0);
        // One that the shutdown has cancelled first says so to the task as well, which then does not keep it.
        assert!(report.cancelled >= kept.len(), "{report:?}, {} kept", kept.len());
        assert!(kept.into_iter().all(|future| future.result() == Err(TaskError::Cancelled)));
    }
}

/// An input may wait for something that comes after the shutdown.
#[test]
fn what_was_announced_before_a_shutdown_that_drains_is_run() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let core = pool.handle().clone();
    let (sender, receiver) = mpsc::channel::<u64>();
    let (gate, closed) = mpsc::channel::<()>();
    let holds = pool.spawn(move || closed.recv()).unwrap();
    while !holds.running() {
        std::thread::yield_now();
    }
    let (asks, asked) = mpsc::channel();
    let submits = std::thread::spawn(move || {
        let input = std::iter::from_fn(move || {
            asks.send(()).unwrap();
            receiver.recv().ok()
        });
        core.submit_tasks(|x: u64| x, input, TaskOptions::new())
    });
    (0..4).for_each(|x| sender.send(x).unwrap());
    // When the input is asked for the fifth one, the fourth one was announced.
    (0..5).for_each(|_| asked.recv_timeout(LONG).unwrap());
    assert_eq!(pool.shutdown(Shutdown::Drain, Some(Duration::ZERO)).queued, 4);
    drop(sender);
    let futures = submits.join().unwrap().unwrap();
    drop(gate);
    let results: Vec<_> = futures.into_iter().map(|future| future.result()).collect();
    assert_eq!(results, [Ok(0), Ok(1), Ok(2), Ok(3)]);
    assert!(holds.result().unwrap().is_err());
}

/// The entry of a task that was refused, because the pool was shut down meanwhile, is no work.
#[test]
fn a_pool_that_has_refused_a_task_ends() {
    struct ShutsDown(Mutex<Option<Arc<ThreadPoolExecutor>>>);
    impl Observer for ShutsDown {
        fn task_queued(&self, _: TaskId) {
            let pool = self.0.lock().unwrap().take();
            if let Some(pool) = pool {
                pool.shutdown(Shutdown::Drain, None);
            }
        }
    }
    let observer = Arc::new(ShutsDown(Mutex::new(None)));
    let pool = ThreadPoolExecutor::builder().max_workers(1).observer(Arc::clone(&observer) as Arc<dyn Observer>);
    let pool = Arc::new(pool.build().unwrap());
    *observer.0.lock().unwrap() = Some(Arc::clone(&pool));
    assert!(matches!(pool.submit(|x: u64| x, 1), Err(SubmitError::ShutDown)));
    assert_eq!(pool.state(), PoolState::Ended);
}
