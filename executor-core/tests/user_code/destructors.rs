//! Destructors of results, panic payloads, thread-locals and errors, which panic or wait.

use std::{
    panic::panic_any,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use executor_core::{TaskError, TaskOptions, ThreadPoolExecutor, TryMapError, with_worker_state};

use crate::{LONG, held, wait_until_idle};

/// Its destructor panics with another one, some times.
struct Payload(u32);

impl Drop for Payload {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Payload(self.0 - 1));
        }
    }
}

#[test]
fn a_payload_whose_destructors_panic_costs_no_worker_and_no_scope() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    assert!(matches!(pool.spawn(|| panic_any(Payload(3))).unwrap().result(), Err(TaskError::Panicked { .. })));
    assert_eq!(pool.spawn(|| 7).unwrap().result(), Ok(7));

    let pool = Arc::new(ThreadPoolExecutor::new(2).unwrap());
    let inner = Arc::clone(&pool);
    let outcome = pool.spawn(move || {
        let (ended, (started, has_started)) = (AtomicBool::new(false), mpsc::channel());
        let outcome = inner.scope(|scope| {
            let ended = &ended;
            scope
                .spawn(move || {
                    started.send(()).unwrap();
                    thread::sleep(Duration::from_millis(50));
                    ended.store(true, Ordering::SeqCst);
                })
                .unwrap();
            has_started.recv_timeout(LONG).unwrap();
            // It runs in place: the other worker is busy.
            scope.spawn(|| panic_any(Payload(3))).unwrap();
        });
        (outcome.is_err(), ended.into_inner())
    });
    assert_eq!(outcome.unwrap().result(), Ok((true, true)), "the scope has ended before its tasks");
}

#[test]
fn a_destructor_of_a_thread_local_may_ask_for_the_workers_state() {
    struct Asks(mpsc::Sender<Option<u32>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            let _ = self.0.send(with_worker_state(|state: &u32| *state));
        }
    }
    thread_local! {
        static ASKS: std::cell::RefCell<Option<Asks>> = const { std::cell::RefCell::new(None) };
    }
    let (sender, asked) = mpsc::channel();
    let pool = ThreadPoolExecutor::builder().max_workers(1).worker_state(|| 7_u32).build().unwrap();
    let future = pool.spawn(move || {
        // The state is a thread-local as well, and was made before this one or after it.
        ASKS.set(Some(Asks(sender)));
        with_worker_state(|state: &u32| *state)
    });
    assert_eq!(future.unwrap().result(), Ok(Some(7)));
    drop(pool);
    assert_eq!(asked.recv_timeout(LONG).unwrap(), None);
}

/// Its destructor runs a task in the pool.
struct Uses(Arc<ThreadPoolExecutor>);

impl Drop for Uses {
    fn drop(&mut self) {
        assert_eq!(self.0.spawn(|| 5).unwrap().result(), Ok(5));
    }
}

#[test]
fn a_results_destructor_may_wait_for_a_task_of_its_pool() {
    let pool = Arc::new(ThreadPoolExecutor::new(2).unwrap());
    for x in 0..50 {
        let (uses, (task, release)) = (Uses(Arc::clone(&pool)), held());
        // The result is not taken, so the worker drops it.
        drop(pool.spawn(move || {
            task();
            uses
        }));
        release.send(()).unwrap();
        assert_eq!(pool.spawn(move || x).unwrap().result(), Ok(x));
        wait_until_idle(&pool);
    }
}

/// Its destructor, where the pool's worker runs it, submits the task that it waits for.
struct WaitsInWorker(mpsc::Sender<mpsc::Sender<()>>, thread::ThreadId);

impl Drop for WaitsInWorker {
    fn drop(&mut self) {
        if thread::current().id() != self.1 {
            let (release, held) = mpsc::channel();
            self.0.send(release).unwrap();
            held.recv_timeout(LONG).unwrap();
        }
    }
}

/// Submits the task that such a destructor waits for, if a worker runs it.
fn release_by_task(pool: &ThreadPoolExecutor, waits: &mpsc::Receiver<mpsc::Sender<()>>) -> bool {
    let Ok(release) = waits.recv() else { return false };
    assert!(
        pool.spawn(move || release.send(()).is_ok()).unwrap().result().unwrap(),
        "the destructor has waited in vain"
    );
    true
}

#[test]
fn the_destructor_of_a_result_that_came_too_late_may_wait_for_a_task_of_its_pool() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    for _ in 0..10 {
        let ((task, release), (waits, is_waiting)) = (held(), mpsc::channel());
        let result = WaitsInWorker(waits, thread::current().id());
        let work = move || {
            task();
            result
        };
        let future = pool.spawn_with(work, TaskOptions::new().timeout(Duration::from_millis(1))).unwrap();
        assert!(matches!(future.result(), Err(TaskError::TimedOut { .. })));
        release.send(()).unwrap();
        assert!(release_by_task(&pool, &is_waiting));
        wait_until_idle(&pool);
    }
}

/// Then either of them may find, at any moment, that it has the last pointer to the result.
#[test]
fn a_result_may_be_dropped_by_its_worker_and_by_its_waiter_at_the_same_time() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let mut by_worker = 0;
    for round in 0..20_000 {
        let (waits, is_waiting) = mpsc::channel();
        let result = WaitsInWorker(waits, thread::current().id());
        let future = pool.spawn(move || result).unwrap();
        while !future.done() {
            std::hint::spin_loop();
        }
        (0..round % 40).for_each(|_| std::hint::spin_loop());
        drop(future);
        by_worker += u32::from(release_by_task(&pool, &is_waiting));
    }
    assert!(by_worker < 20_000, "the thread with the last pointer drops the result");
}

#[test]
fn a_destructor_of_a_thread_local_may_wait() {
    static POOL: OnceLock<ThreadPoolExecutor> = OnceLock::new();
    thread_local! {
        static WAITS: Waits = const { Waits };
    }
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            let future = POOL.get().unwrap().spawn(|| thread::sleep(Duration::from_millis(20))).unwrap();
            future.result().unwrap();
        }
    }
    POOL.set(ThreadPoolExecutor::new(1).unwrap()).unwrap();
    let outcome = thread::spawn(|| {
        WAITS.with(|_| ());
        // The thread-local that this thread needs to wait is made after `WAITS`, and so is gone before it.
        POOL.get().unwrap().spawn(|| thread::sleep(Duration::from_millis(20))).unwrap().result()
    });
    assert_eq!(outcome.join().unwrap(), Ok(()));
}

/// Its destructor waits until it may go on.
struct Errand(mpsc::Sender<()>, mpsc::Receiver<()>, Arc<AtomicBool>);

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
        self.2.store(self.1.recv_timeout(LONG).is_ok(), Ordering::SeqCst);
    }
}

#[test]
fn the_destructor_of_a_scopes_second_error_may_wait_for_the_spawning_thread() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let (drops, is_dropped) = mpsc::channel();
    let (release, held) = mpsc::channel();
    let (started, has_started) = mpsc::channel();
    let was_released = Arc::new(AtomicBool::new(false));
    let errand = Errand(drops, held, Arc::clone(&was_released));
    let outcome = pool.try_scope(|scope| {
        let token = scope.cancel_token();
        scope
            .try_spawn(move || {
                started.send(()).unwrap();
                while !token.is_cancelled() {
                    thread::yield_now();
                }
                Err(Some(errand))
            })
            .unwrap();
        has_started.recv_timeout(LONG).unwrap();
        scope.try_spawn(|| Err(None)).unwrap();
        is_dropped.recv_timeout(LONG).unwrap();
        scope.spawn(|| ()).unwrap();
        release.send(()).unwrap();
    });
    assert!(matches!(outcome, Err(TryMapError::Output(None))));
    assert!(was_released.load(Ordering::SeqCst));
}
