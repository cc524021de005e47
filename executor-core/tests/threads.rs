//! The promises that only a thread pool makes.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Barrier, LazyLock, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use executor_core::{
    BuildError, CancelToken, Executor, ReturnWhen, Shutdown, Submit, SubmitError, TaskError, TaskOptions,
    ThreadPoolExecutor, ThreadPoolHandle, as_completed, wait,
};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_thousand_nested_waits_on_one_worker_end() {
    fn dig(pool: Arc<ThreadPoolExecutor>, depth: u64) -> u64 {
        if depth == 0 {
            return 0;
        }
        let below = Arc::clone(&pool);
        pool.spawn(move || dig(below, depth - 1)).unwrap().result().unwrap() + 1
    }
    let pool = Arc::new(ThreadPoolExecutor::builder().max_workers(1).stack_size(64 << 20).build().unwrap());
    let top = Arc::clone(&pool);
    let future = pool.spawn(move || dig(top, 1000)).unwrap();
    assert_eq!(future.result_timeout(LONG).unwrap(), Ok(1000));
}

#[test]
fn every_wait_inside_a_task_of_one_worker_ends() {
    let pool = Arc::new(ThreadPoolExecutor::new(1).unwrap());
    let inner = Arc::clone(&pool);
    let future = pool
        .spawn(move || {
            let spawn = |x: u64| inner.spawn(move || x).unwrap();
            let timed = spawn(1).result_timeout(LONG).unwrap().unwrap();
            let all = wait([spawn(2), spawn(3)], Some(LONG), ReturnWhen::AllCompleted).done.len() as u64;
            let each: u64 =
                as_completed([spawn(4), spawn(5)], Some(LONG)).map(|done| done.unwrap().result().unwrap()).sum();
            timed + all + each
        })
        .unwrap();
    assert_eq!(future.result_timeout(LONG).unwrap(), Ok(12));
}

#[test]
fn a_failing_initializer_is_the_cause_that_all_tasks_get() {
    let pool = ThreadPoolExecutor::builder().initializer(|| Err::<(), _>("no disk")).build().unwrap();
    for _ in 0..2 {
        match pool.spawn(|| 1).unwrap().result() {
            Err(TaskError::InitializerFailed { cause }) => assert_eq!(cause.to_string(), "no disk"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_full_queue_refuses_or_waits() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build().unwrap();
    let gate = Arc::new(Barrier::new(2));
    let (started, has_started) = mpsc::channel();
    let held = Arc::clone(&gate);
    let running = pool
        .spawn(move || {
            started.send(()).unwrap();
            held.wait();
        })
        .unwrap();
    has_started.recv_timeout(LONG).unwrap();
    let queued = pool.submit(|x: u64| x, 1).unwrap();
    assert!(matches!(pool.try_submit(|x: u64| x, 2), Err(SubmitError::Full)));
    assert!(queued.cancel(), "which makes room");
    let second = pool.try_submit(|x: u64| x, 3).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.submit(|x: u64| x, 4).unwrap().result());
        gate.wait();
        assert_eq!(waiting.join().unwrap(), Ok(4));
    });
    assert_eq!((running.result(), second.result()), (Ok(()), Ok(3)));
}

#[test]
fn a_time_limit_resolves_the_future_while_the_thread_is_busy() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let token = CancelToken::new();
    let endless = |token: CancelToken| while !token.is_cancelled() {};
    let options = TaskOptions::new().timeout(Duration::from_millis(20));
    let future = pool.submit_with(endless, token.clone(), options).unwrap();
    assert!(matches!(future.result_timeout(LONG).unwrap(), Err(TaskError::TimedOut { .. })));
    token.cancel();
}

#[test]
fn kill_cancels_the_queue_and_the_pools_token() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (started, has_started) = mpsc::channel();
    let token = pool.cancel_token().child();
    let running = pool
        .spawn(move || {
            started.send(()).unwrap();
            while !token.is_cancelled() {}
            7
        })
        .unwrap();
    has_started.recv_timeout(LONG).unwrap();
    let queued = pool.spawn(|| 8).unwrap();
    let report = pool.shutdown(Shutdown::Kill, Some(LONG));
    assert_eq!((report.cancelled, report.is_complete()), (1, true));
    assert_eq!((running.result(), queued.result()), (Ok(7), Err(TaskError::Cancelled)));
}

#[test]
fn a_deadline_reports_what_still_runs() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let gate = Arc::new(Barrier::new(2));
    let (started, has_started) = mpsc::channel();
    let held = Arc::clone(&gate);
    let running = pool
        .spawn(move || {
            started.send(()).unwrap();
            held.wait();
        })
        .unwrap();
    has_started.recv_timeout(LONG).unwrap();
    let _queued = pool.spawn(|| ()).unwrap();
    let report = pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    assert_eq!((report.running, report.queued, report.is_complete()), (1, 1, false));
    gate.wait();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(running.result(), Ok(()));
}

#[test]
fn names_hooks_and_a_drop_inside_the_pools_own_worker() {
    let exits = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&exits);
    let builder = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("named");
    let pool = Arc::new(builder.exit_hook(move || *counted.lock().unwrap() += 1).build().unwrap());
    let name = pool.spawn(|| std::thread::current().name().map(ToOwned::to_owned)).unwrap().result().unwrap();
    assert_eq!(name.as_deref(), Some("named-0"));
    let (last, has_dropped) = mpsc::channel();
    let inside = Arc::clone(&pool);
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    let future = pool
        .spawn(move || {
            held.wait();
            drop(inside);
            last.send(()).unwrap();
        })
        .unwrap();
    drop(pool);
    gate.wait();
    has_dropped.recv_timeout(LONG).unwrap();
    assert_eq!(future.result_timeout(LONG).unwrap(), Ok(()));
}

#[test]
fn initializers_run_at_the_same_time() {
    // Each waits for the two others: one after another they would never end.
    let all = Arc::new(Barrier::new(3));
    let pool = ThreadPoolExecutor::builder().max_workers(3).initializer(move || _ = all.wait()).build().unwrap();
    let futures: Vec<_> = (0..3).map(|x| pool.spawn(move || x).unwrap()).collect();
    for (x, future) in futures.into_iter().enumerate() {
        assert_eq!(future.result_timeout(LONG).expect("all initializers run"), Ok(x));
    }
}

#[test]
fn one_task_starts_one_worker_however_long_its_initializer_takes() {
    let (begun, has_begun) = mpsc::channel();
    let (gate, started) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
    let (held, counted) = (Arc::clone(&gate), Arc::clone(&started));
    let pool = ThreadPoolExecutor::builder()
        .max_workers(4)
        .initializer(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            begun.send(()).unwrap();
            held.wait();
        })
        .build()
        .unwrap();
    let future = pool.spawn(|| ()).unwrap();
    has_begun.recv_timeout(LONG).unwrap();
    gate.wait();
    future.result().unwrap();
    assert_eq!((started.load(Ordering::SeqCst), pool.stats().workers), (1, 1));
}

/// A task that is taken already when the last one was submitted needs no further worker.
#[test]
fn a_batch_starts_no_more_workers_than_it_has_tasks() {
    static BEGUN: Mutex<Option<mpsc::Sender<()>>> = Mutex::new(None);
    static ALL: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(4));
    let (begun, has_begun) = mpsc::channel();
    let started = Arc::new(AtomicUsize::new(0));
    let (in_task, in_initializer, counted) = (begun.clone(), begun, Arc::clone(&started));
    *BEGUN.lock().unwrap() = Some(in_task);
    let pool = ThreadPoolExecutor::new(8).unwrap();
    let meet = |_: i32| {
        BEGUN.lock().unwrap().as_ref().unwrap().send(()).unwrap();
        ALL.wait();
    };
    let mut items = 0..3;
    let input = std::iter::from_fn(|| {
        if items.start > 0 {
            has_begun.recv_timeout(LONG).unwrap();
        }
        items.next()
    });
    let futures = pool.submit_many(meet, input).unwrap();
    let workers = pool.stats().workers;
    ALL.wait();
    assert_eq!(workers, 3);
    assert!(futures.into_iter().all(|future| future.result() == Ok(())));
    // One of one task, whose worker has an initializer to run first.
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let initializer = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        in_initializer.send(()).unwrap();
        let _ = held.lock().unwrap().recv_timeout(LONG);
    };
    let pool = ThreadPoolExecutor::builder().max_workers(8).initializer(initializer).build().unwrap();
    let mut items = 0..1;
    let input = std::iter::from_fn(|| {
        if items.is_empty() {
            has_begun.recv_timeout(LONG).unwrap();
        }
        items.next()
    });
    let futures = pool.submit_many(|x: u64| x, input).unwrap();
    let workers = pool.stats().workers;
    drop(release);
    assert_eq!((workers, started.load(Ordering::SeqCst)), (1, 1));
    assert!(futures.into_iter().all(|future| future.result() == Ok(0)));
}

/// The last task waits for its worker, which takes its time to start, when the batch calls for workers.
#[test]
fn a_batch_calls_no_workers_for_tasks_that_have_begun() {
    static BEGUN: Mutex<Option<mpsc::Sender<()>>> = Mutex::new(None);
    static ALL: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(4));
    let (begun, has_begun) = mpsc::channel();
    *BEGUN.lock().unwrap() = Some(begun);
    let (release, held) = mpsc::channel::<()>();
    let (held, started) = (Mutex::new(held), AtomicUsize::new(0));
    let initializer = move || {
        if started.fetch_add(1, Ordering::SeqCst) == 2 {
            let _ = held.lock().unwrap().recv_timeout(LONG);
        }
    };
    let pool = ThreadPoolExecutor::builder().max_workers(8).initializer(initializer).build().unwrap();
    let meet = |_: i32| {
        BEGUN.lock().unwrap().as_ref().unwrap().send(()).unwrap();
        ALL.wait();
    };
    let mut items = 0..3;
    let input = std::iter::from_fn(|| {
        if (1..3).contains(&items.start) {
            has_begun.recv_timeout(LONG).unwrap();
        }
        items.next()
    });
    let futures = pool.submit_many(meet, input).unwrap();
    let workers = pool.stats().workers;
    drop(release);
    ALL.wait();
    assert_eq!(workers, 3);
    assert!(futures.into_iter().all(|future| future.result() == Ok(())));
}

#[test]
fn an_initializer_may_wait_for_tasks_of_its_pool() {
    static CORE: OnceLock<ThreadPoolHandle> = OnceLock::new();
    static ASKED: AtomicBool = AtomicBool::new(false);
    let first = || {
        if !ASKED.swap(true, Ordering::SeqCst) {
            let tasks = CORE.wait().submit_tasks(|x: u64| x + 1, 0..3, TaskOptions::new()).unwrap();
            wait(tasks, None, ReturnWhen::AllCompleted);
        }
    };
    let pool = ThreadPoolExecutor::builder().max_workers(2).initializer(first).build().unwrap();
    assert!(CORE.set(pool.handle().clone()).is_ok());
    assert_eq!(pool.spawn(|| 1).unwrap().result_timeout(LONG).expect("the initializer ends"), Ok(1));
}

/// Blocks on a lock, as a waker of an executor does that takes its own.
struct Locking(Mutex<mpsc::Sender<()>>, Mutex<()>);

impl Wake for Locking {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().send(()).unwrap();
        drop(self.1.lock().unwrap());
    }
}

#[test]
fn a_task_is_run_while_a_waker_of_another_one_blocks() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let (wakes, is_waking) = mpsc::channel();
    let waker = Arc::new(Locking(Mutex::new(wakes), Mutex::new(())));
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    let mut first = pool.spawn(move || _ = held.wait()).unwrap();
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&Waker::from(Arc::clone(&waker)))).is_pending());
    let lock = waker.1.lock().unwrap();
    gate.wait();
    is_waking.recv_timeout(LONG).unwrap();
    let second = pool.spawn(|| 1).unwrap();
    assert_eq!(second.result_timeout(LONG).expect("another worker is called"), Ok(1));
    drop(lock);
}

#[test]
fn another_pool_may_be_dropped_in_a_task_that_its_tasks_wait_for() {
    let pool = Arc::new(ThreadPoolExecutor::new(1).unwrap());
    let outer = Arc::clone(&pool);
    let future = pool.spawn(move || {
        let other = ThreadPoolExecutor::new(1).unwrap();
        let future = other.spawn(move || outer.spawn(|| 5).unwrap().result()).unwrap();
        drop(other);
        future.result().unwrap().unwrap()
    });
    assert_eq!(future.unwrap().result_timeout(LONG).expect("a worker stands in"), Ok(5));
}

#[test]
fn a_name_that_no_thread_can_have_is_refused() {
    match ThreadPoolExecutor::builder().thread_name_prefix("a\0b").build() {
        Err(BuildError::System { cause, .. }) => assert!(cause.to_string().contains("thread_name_prefix"), "{cause}"),
        other => panic!("{other:?}"),
    }
}

/// Says that it is being dropped, and then waits until it may be.
struct Staying(mpsc::Sender<()>, Arc<Barrier>, Arc<AtomicBool>);

impl Drop for Staying {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
        self.1.wait();
        self.2.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_shutdown_waits_for_the_threads_locals_as_long_as_its_deadline_allows() {
    thread_local! {
        static KEPT: RefCell<Option<Staying>> = const { RefCell::new(None) };
    }
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (drops, is_dropping) = mpsc::channel();
    let (gate, gone) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let staying = Staying(drops, Arc::clone(&gate), Arc::clone(&gone));
    pool.spawn(|| KEPT.set(Some(staying))).unwrap().result().unwrap();
    // It would never return otherwise.
    pool.shutdown(Shutdown::Drain, Some(Duration::from_millis(1)));
    is_dropping.recv_timeout(LONG).unwrap();
    pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                pool.shutdown(Shutdown::Drain, None);
                assert!(gone.load(Ordering::SeqCst), "each shutdown waits for the joins");
            });
        }
        gate.wait();
    });
}

/// The thread has come to its end, but for the destructors of its thread-locals, when another one starts.
#[test]
fn a_shutdown_also_waits_for_threads_that_have_left_long_ago() {
    thread_local! {
        static KEPT: RefCell<Option<Staying>> = const { RefCell::new(None) };
    }
    let pool =
        ThreadPoolExecutor::builder().max_workers(1).idle_timeout(Some(Duration::from_millis(1))).build().unwrap();
    let (drops, is_dropping) = mpsc::channel();
    let (gate, gone) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let staying = Staying(drops, Arc::clone(&gate), Arc::clone(&gone));
    pool.spawn(|| KEPT.set(Some(staying))).unwrap().result().unwrap();
    is_dropping.recv_timeout(LONG).unwrap();
    assert_eq!(pool.spawn(|| 7).unwrap().result(), Ok(7));
    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || {
        pool.shutdown(Shutdown::Drain, None);
        ended.send(gone.load(Ordering::SeqCst)).unwrap();
    });
    assert!(has_ended.recv_timeout(Duration::from_millis(50)).is_err());
    gate.wait();
    assert_eq!(has_ended.recv_timeout(LONG), Ok(true));
}
