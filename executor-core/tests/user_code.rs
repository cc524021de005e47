//! The user's code in places where it is easily overlooked: wakers, destructors, hooks. What it does there, panics and waits
//! included, harms no other task.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use executor_core::{
    CancelHook, Executor, Observer, Promise, Promises, RayonExecutor, ReturnWhen, Shutdown, Submit, SubmitError,
    TaskEnd, TaskError, TaskFuture, TaskId, TaskOptions, ThreadPoolExecutor, ThreadPoolHandle, TryMapError,
    as_completed, wait, with_worker_state,
};

const LONG: Duration = Duration::from_secs(60);

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

/// A task that ends when it is told to, and the sender that tells it.
fn held() -> (impl FnOnce() + Send + 'static, mpsc::Sender<()>) {
    let (release, held) = mpsc::channel();
    (move || _ = held.recv_timeout(LONG), release)
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

/// A waker, or an observer, that takes until it is told to go on.
struct Blocks {
    entered: mpsc::Sender<()>,
    release: Mutex<mpsc::Receiver<()>>,
}

impl Blocks {
    fn new() -> (Arc<Self>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((entered, has_entered), (go_on, release)) = (mpsc::channel(), mpsc::channel());
        (Arc::new(Self { entered, release: Mutex::new(release) }), has_entered, go_on)
    }

    fn block(&self) {
        let _ = self.entered.send(());
        let _ = self.release.lock().unwrap().recv_timeout(LONG);
    }
}

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        self.block();
    }
}

impl Observer for Blocks {
    fn task_ended(&self, _: TaskId, end: TaskEnd) {
        if end == TaskEnd::Expired {
            self.block();
        }
    }
}

/// Whether time limits are kept at the moment, both of them.
fn limits_are_kept() -> bool {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (task, release) = held();
    let limit = Duration::from_millis(1);
    let running = pool.spawn_with(task, TaskOptions::new().timeout(limit)).unwrap();
    let queued = pool.spawn_with(|| (), TaskOptions::new().queue_timeout(limit)).unwrap();
    let outcomes = (running.result_timeout(LONG / 2), queued.result_timeout(LONG / 2));
    drop(release);
    matches!(outcomes, (Ok(Err(TaskError::TimedOut { .. })), Ok(Err(TaskError::Expired { .. }))))
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
fn threads_that_cannot_be_started_fail_their_tasks_and_the_pool_ends() {
    let pool = ThreadPoolExecutor::builder().max_workers(4).stack_size(1 << 46).build().unwrap();
    for future in pool.submit_many(|x: u64| x, 0..4).unwrap() {
        assert!(matches!(future.result(), Err(TaskError::NoWorker { .. })));
    }
    drop(pool);
}

#[test]
fn an_initializer_may_wait_for_a_task_of_its_pool() {
    static CORE: OnceLock<ThreadPoolHandle> = OnceLock::new();
    let initializer = || {
        let Some(core) = CORE.get() else { return };
        let future = core.submit_task(|x: u64| x + 1, 1, TaskOptions::new()).unwrap();
        assert_eq!(future.result(), Ok(2));
    };
    let pool = ThreadPoolExecutor::builder().max_workers(2).initializer(initializer).build().unwrap();
    assert!(CORE.set(pool.handle().clone()).is_ok());
    for x in 0..50 {
        assert_eq!(pool.spawn(move || x).unwrap().result(), Ok(x));
        wait_until_idle(&pool);
    }
}

/// A worker falls asleep some time after its task; there is no event for that.
fn wait_until_idle(pool: &ThreadPoolExecutor) {
    while pool.stats().idle < pool.stats().workers {
        thread::yield_now();
    }
}

/// Its destructor tells that it runs, and panics.
struct Bomb(mpsc::Sender<()>);

impl Drop for Bomb {
    fn drop(&mut self) {
        let _ = self.0.send(());
        panic!("this destructor's panic is part of the test");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_builder_was_given_may_panic_in_the_last_worker() {
    let (sender, dropped) = mpsc::channel();
    let bomb = Bomb(sender);
    let hook = move || _ = &bomb;
    let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("bomb").exit_hook(hook).build().unwrap();
    let pool = Arc::new(pool);
    let (inner, (go_on, wait)) = (Arc::clone(&pool), mpsc::channel::<()>());
    let future = pool.spawn(move || {
        let _ = wait.recv_timeout(LONG);
        // It does not wait for itself, and its worker has the last pointer to the pool.
        drop(inner);
    });
    drop(pool);
    go_on.send(()).unwrap();
    future.unwrap().result().unwrap();
    dropped.recv_timeout(LONG).unwrap();
    // The program is still there when the thread is gone.
    let is_bomb = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with("bomb"))
    };
    while std::fs::read_dir("/proc/self/task").unwrap().any(|entry| entry.is_ok_and(is_bomb)) {
        thread::yield_now();
    }
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
fn an_exit_hook_may_wait_for_a_task_of_another_pool() {
    static OTHER: OnceLock<ThreadPoolExecutor> = OnceLock::new();
    OTHER.set(ThreadPoolExecutor::new(1).unwrap()).unwrap();
    let (in_hook, hook_is_reached) = mpsc::channel();
    let (task, release) = held();
    let task = Mutex::new(Some(task));
    let hook = move || {
        if let Some(task) = task.lock().unwrap().take() {
            let future = OTHER.get().unwrap().spawn(task).unwrap();
            in_hook.send(()).unwrap();
            future.result().unwrap();
        }
    };
    let pool = ThreadPoolExecutor::builder()
        .max_workers(2)
        .idle_timeout(Some(Duration::from_millis(1)))
        .exit_hook(hook)
        .build()
        .unwrap();
    pool.spawn(|| ()).unwrap().result().unwrap();
    hook_is_reached.recv_timeout(LONG).unwrap();
    for x in 0..100 {
        assert_eq!(pool.spawn(move || x).unwrap().result(), Ok(x));
    }
    release.send(()).unwrap();
    assert!(pool.shutdown(Shutdown::Drain, None).is_complete());
    assert!(matches!(pool.spawn(|| 7), Err(SubmitError::ShutDown)));
}

#[test]
fn inputs_of_two_maps_may_wait_for_the_pool_that_maps_them() {
    let pool = Arc::new(ThreadPoolExecutor::new(2).unwrap());
    let map = || {
        let inner = Arc::clone(&pool);
        let input = (0..6_u64).inspect(move |_| {
            let futures: Vec<_> = (0..3).map(|_| inner.spawn(|| ()).unwrap()).collect();
            assert!(wait(futures, None, ReturnWhen::AllCompleted).not_done.is_empty());
        });
        pool.spawn_map(|x| x, input).into_vec()
    };
    thread::scope(|scope| {
        let maps: Vec<_> = (0..2).map(|_| scope.spawn(|| (0..20).map(|_| map()).collect::<Vec<_>>())).collect();
        for results in maps.into_iter().flat_map(|map| map.join().unwrap()) {
            assert_eq!(results.unwrap(), [0, 1, 2, 3, 4, 5]);
        }
    });
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

/// The map's time is up, and its input still busy: the worker that asked for it cannot leave, and cannot run other tasks.
#[test]
fn an_input_may_wait_for_the_pool_whose_worker_waits_for_that_input() {
    let [pool, other] = [(); 2].map(|()| Arc::new(ThreadPoolExecutor::new(1).unwrap()));
    let ((is_up, wait), (sender, receiver)) = (mpsc::channel::<()>(), mpsc::channel());
    let (outer, second) = (Arc::clone(&pool), Arc::clone(&other));
    let mapped = pool
        .spawn(move || {
            let (inner, wait) = (Arc::clone(&outer), Arc::new(Mutex::new(wait)));
            let input = (0..1_u64).inspect(move |_| {
                let (inner, wait) = (Arc::clone(&inner), Arc::clone(&wait));
                let late = second.spawn(move || {
                    assert!(wait.lock().unwrap().recv_timeout(LONG).is_ok());
                    inner.spawn(|| 7).unwrap().result()
                });
                assert_eq!(late.unwrap().result(), Ok(Ok(7)));
            });
            let results = outer.spawn_map(|x| x, input).timeout(Duration::from_millis(10)).into_vec();
            sender.send(results).unwrap();
        })
        .unwrap();
    // Long after the time is up, since no event says that a thread waits for the input.
    thread::sleep(Duration::from_millis(150));
    is_up.send(()).unwrap();
    let results = receiver.recv_timeout(LONG);
    if results.is_err() {
        // Or their ends would be waited for as well.
        std::mem::forget((pool, other));
        panic!("no worker stands in for the one that waits for the input");
    }
    assert_eq!(results, Ok(Err(TaskError::DeadlineExceeded)));
    mapped.result().unwrap();
}

#[test]
fn a_scope_whose_tasks_a_shutdown_cancels_does_not_say_that_they_ran() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let ((task, release), (started, has_started)) = (held(), mpsc::channel());
    let held = pool.spawn(move || {
        started.send(()).unwrap();
        task();
    });
    has_started.recv_timeout(LONG).unwrap();
    let outcome = pool.scope(|scope| {
        scope.spawn(|| ()).unwrap();
        assert_eq!(pool.shutdown(Shutdown::CancelQueued, Some(Duration::ZERO)).cancelled, 1);
        release.send(()).unwrap();
    });
    assert_eq!(outcome, Err(TaskError::Cancelled));
    held.unwrap().result().unwrap();
}

#[test]
fn a_time_limit_is_kept_where_a_task_runs_in_place() {
    let pool = Arc::new(ThreadPoolExecutor::new(1).unwrap());
    let inner = Arc::clone(&pool);
    let outer = pool.spawn(move || {
        let ((task, release), options) = (held(), TaskOptions::new().timeout(Duration::from_millis(10)));
        let future = inner.spawn_with(task, options).unwrap();
        // It ends only after the limit has.
        future.add_done_callback(move |_| _ = release.send(()));
        future.result()
    });
    assert!(matches!(outer.unwrap().result(), Ok(Err(TaskError::TimedOut { .. }))));
}

#[test]
fn a_bounded_pool_that_is_broken_still_takes_tasks_and_says_why() {
    let (initializer, release) = held();
    let initializer = Mutex::new(Some(initializer));
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1)
        .initializer(move || -> Result<(), &str> {
            if let Some(wait) = initializer.lock().unwrap().take() {
                wait();
            }
            Err("this failure is part of the test")
        })
        .build()
        .unwrap();
    let is_broken = |future: TaskFuture<()>| matches!(future.result(), Err(TaskError::InitializerFailed { .. }));
    let first = pool.spawn(|| ()).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| pool.spawn(|| ()).unwrap());
        // Most probably it waits for space by then; nothing tells.
        (0..1000).for_each(|_| thread::yield_now());
        release.send(()).unwrap();
        assert!(is_broken(first) && is_broken(second.join().unwrap()));
    });
    for _ in 0..3 {
        assert!(is_broken(pool.try_submit(|| (), ()).unwrap()));
    }
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

#[test]
fn a_panic_of_set_result_does_not_spread() {
    let (promise, mut future) = Promise::<u32>::new();
    poll_once(&mut future);
    assert!(catch_unwind(AssertUnwindSafe(|| promise.set_result(1))).unwrap().is_ok());
    assert_eq!(future.result(), Ok(1));
}

/// Each of its kind panics when it is dropped.
struct Grumpy(Arc<AtomicUsize>);

impl Drop for Grumpy {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("this destructor's panic is part of the test");
    }
}

/// A second panic of the same vector would abort the program.
#[test]
fn items_of_a_map_may_all_panic_when_they_are_dropped() {
    const ITEMS: usize = 12;
    let dropped = Arc::new(AtomicUsize::new(0));
    let items = |count| {
        let dropped = Arc::clone(&dropped);
        (0..count).map(move |_| Grumpy(Arc::clone(&dropped)))
    };
    // Chunks that have not started.
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (task, release) = held();
    let busy = pool.spawn(task).unwrap();
    drop(pool.spawn_map(|item: Grumpy| std::mem::forget(item), items(ITEMS)).chunk_size(4).start());
    release.send(()).unwrap();
    assert_eq!(busy.result(), Ok(()));
    assert_eq!(dropped.swap(0, Ordering::SeqCst), ITEMS);
    // Items that are not begun after an error.
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let call = |item: Grumpy| {
        std::mem::forget(item);
        panic!("this task's panic is part of the test");
    };
    let answers: Result<Vec<()>, _> = pool.spawn_map(call, items(ITEMS)).chunk_size(ITEMS).into_vec();
    assert!(matches!(answers, Err(TaskError::Panicked { .. })));
    assert_eq!(dropped.load(Ordering::SeqCst), ITEMS - 1);
}

/// The same for what may travel.
#[derive(serde::Serialize, serde::Deserialize)]
struct GrumpyItem;

/// Dropped so far.
static GRUMPY_ITEMS: AtomicUsize = AtomicUsize::new(0);

impl Drop for GrumpyItem {
    fn drop(&mut self) {
        GRUMPY_ITEMS.fetch_add(1, Ordering::SeqCst);
        panic!("this destructor's panic is part of the test");
    }
}

#[test]
fn items_that_may_travel_may_all_panic_when_they_are_dropped() {
    const ITEMS: usize = 12;
    fn check<E: Executor>(executor: &E, busy: TaskFuture<()>, release: &mpsc::Sender<()>) {
        let items = || std::iter::repeat_with(|| GrumpyItem).take(ITEMS);
        // Chunks that have not started, and one that is refused.
        let map = executor.map(|item: GrumpyItem| std::mem::forget(item), items()).chunk_size(4).start();
        drop(map);
        release.send(()).unwrap();
        assert_eq!((busy.result(), GRUMPY_ITEMS.swap(0, Ordering::SeqCst)), (Ok(()), ITEMS));
        executor.shutdown(Shutdown::Drain, None);
        let mut map = executor.map(|item: GrumpyItem| std::mem::forget(item), items()).chunk_size(ITEMS);
        assert_eq!(map.next(), Some(Err(TaskError::ShutDown)));
        assert_eq!(GRUMPY_ITEMS.swap(0, Ordering::SeqCst), ITEMS);
    }
    let (task, release) = held();
    let pool = ThreadPoolExecutor::new(1).unwrap();
    check(&pool, pool.spawn(task).unwrap(), &release);
    let (task, release) = held();
    let pool = RayonExecutor::new(1).unwrap();
    check(&pool, pool.spawn(task).unwrap(), &release);
}

/// So many items; its destructor panics.
struct GrumpyInput(usize);

impl Iterator for GrumpyInput {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0 = self.0.checked_sub(1)?;
        Some(7)
    }
}

impl Drop for GrumpyInput {
    fn drop(&mut self) {
        panic!("this destructor's panic is part of the test");
    }
}

#[test]
fn an_input_whose_destructor_panics_costs_a_map_no_item_and_its_tasks_are_cancelled() {
    for unordered in [false, true] {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let (task, release) = held();
        let busy = pool.spawn(task).unwrap();
        let map = pool.map(|x: u32| x, GrumpyInput(100)).chunk_size(1).buffer_size(5);
        let map = if unordered { map.unordered() } else { map }.start();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(map))).is_err());
        assert_eq!(pool.stats().cancelled, 5);
        release.send(()).unwrap();
        assert_eq!(busy.result(), Ok(()));
        let mut map = pool.map(|x: u32| x, GrumpyInput(3)).chunk_size(2);
        assert!(catch_unwind(AssertUnwindSafe(|| map.next())).is_err());
        assert_eq!(map.collect::<Result<Vec<_>, _>>(), Ok(vec![7; 3]));
    }
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

/// The calls of the hook of a user's executor.
struct Told(mpsc::Sender<(&'static str, TaskId)>);

impl CancelHook for Told {
    fn cancelled(&self, task: TaskId) {
        self.0.send(("cancelled", task)).unwrap();
        panic!("the hook panics, as it should");
    }

    fn kill(&self, task: TaskId) -> bool {
        self.0.send(("kill", task)).unwrap();
        true
    }
}

#[test]
fn an_executor_of_the_users_is_told_once_of_what_is_cancelled_and_asked_to_stop_what_runs() {
    let (sender, told) = mpsc::channel();
    let promises = Promises::new(Told(sender));
    let (queued, future) = promises.promise::<u64>();
    let (seen, called) = mpsc::channel();
    future.add_done_callback(move |done| seen.send(done.cancelled()).unwrap());
    assert!(future.cancel() && future.cancel() && future.kill());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [("cancelled", queued.id())]);
    assert_eq!((promises.wait_for_callbacks(None), called.try_recv()), (0, Ok(true)));
    assert!(queued.run(|| 1).is_none(), "it was cancelled");

    let (runs, future) = promises.promise::<u64>();
    assert!(runs.set_running_or_cancelled() && !future.cancel() && future.kill() && !future.done());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [("kill", runs.id())]);
    runs.set_error(TaskError::Cancelled).unwrap();
    assert!(future.cancelled());

    // A promise that belongs to no executor has no hook.
    let (promise, future) = Promise::<u64>::new();
    assert!(promise.set_running_or_cancelled() && !future.kill());
}

#[test]
fn the_end_of_an_executor_of_the_users_waits_for_callbacks_as_long_as_it_may() {
    let promises = Promises::new(());
    let (promise, future) = promises.promise::<u64>();
    let (go, begin) = mpsc::channel::<()>();
    future.add_done_callback(move |_| begin.recv().unwrap());
    assert_eq!(promises.wait_for_callbacks(Some(Duration::ZERO)), 1, "it may still come");
    promise.set_outcome(Ok(1)).unwrap();
    assert_eq!(promise.set_outcome(Ok(2)).unwrap_err().0, Ok(2));
    assert_eq!(promises.wait_for_callbacks(Some(Duration::from_millis(1))), 1);
    assert_eq!(Promises::new(()).wait_for_callbacks(None), 0, "those of others are nothing to it");
    go.send(()).unwrap();
    assert_eq!(promises.wait_for_callbacks(None), 0);
}
