//! The features of a thread pool beyond the portable API: scopes, priorities, queue times, batches, another size.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Barrier, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use executor_core::{
    BuildError, Executor, Observer, PoolState, Scope, Shutdown, Submit, SubmitError, TaskEnd, TaskError, TaskFuture,
    TaskId, TaskOptions, ThreadPoolExecutor, TryMapError, with_worker_state,
};

const LONG: Duration = Duration::from_secs(60);

/// Keeps the only worker busy until it is released.
fn hold(pool: &ThreadPoolExecutor) -> (Arc<Barrier>, TaskFuture<()>) {
    let gate = Arc::new(Barrier::new(2));
    let (started, has_started) = mpsc::channel();
    let held = Arc::clone(&gate);
    let future = pool
        .spawn(move || {
            started.send(()).unwrap();
            held.wait();
        })
        .unwrap();
    has_started.recv_timeout(LONG).unwrap();
    (gate, future)
}

#[test]
fn tasks_of_a_scope_borrow_and_are_all_done_at_its_end() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let mut parts = vec![vec![3, 1, 2]; 20];
    let sorted = AtomicUsize::new(0);
    let answer = pool
        .scope(|scope| {
            for part in &mut parts {
                scope
                    .spawn(|| {
                        part.sort_unstable();
                        scope.spawn(|| _ = sorted.fetch_add(1, Ordering::Relaxed)).unwrap();
                    })
                    .unwrap();
            }
            7
        })
        .unwrap();
    assert_eq!((answer, sorted.into_inner()), (7, 20));
    assert!(parts.iter().all(|part| *part == [1, 2, 3]));
}

#[test]
fn a_scope_inside_a_task_of_one_worker_ends() {
    let pool = Arc::new(ThreadPoolExecutor::new(1).unwrap());
    let inner = Arc::clone(&pool);
    let future = pool.spawn(move || {
        let sum = AtomicUsize::new(0);
        let sum_in = &sum;
        inner
            .scope(|scope| {
                for number in 0..10 {
                    scope.spawn(move || _ = sum_in.fetch_add(number, Ordering::Relaxed)).unwrap();
                }
            })
            .unwrap();
        sum.into_inner()
    });
    assert_eq!(future.unwrap().result_timeout(LONG).unwrap(), Ok(45));
}

#[test]
fn an_error_in_a_scope_cancels_the_siblings_that_have_not_started() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let ran = AtomicUsize::new(0);
    let (gate, held) = hold(&pool);
    let outcome = pool.try_scope(|scope| {
        scope.try_spawn(|| Err("no")).unwrap();
        for _ in 0..5 {
            scope
                .try_spawn(|| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
                .unwrap();
        }
        gate.wait();
    });
    assert_eq!(outcome, Err(TryMapError::Output("no")));
    assert_eq!(ran.into_inner(), 0);
    held.result().unwrap();
    let outcome = pool.scope(|scope| scope.spawn(|| panic!("this panic is part of the test")).unwrap());
    assert!(matches!(outcome, Err(TaskError::Panicked { .. })), "{outcome:?}");
}

#[test]
fn what_a_cancelled_task_of_a_scope_borrows_is_let_go_before_the_scope_ends() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    for _ in 0..200 {
        let (gate, held) = hold(&pool);
        let mut text = "borrowed".to_owned();
        let outcome = pool.try_scope(|scope| {
            let text = &mut text;
            scope.try_spawn(|| Err(())).unwrap();
            scope
                .try_spawn(move || {
                    text.clear();
                    Ok(())
                })
                .unwrap();
            gate.wait();
        });
        assert_eq!(outcome, Err(TryMapError::Output(())));
        assert_eq!(text, "borrowed");
        held.result().unwrap();
    }
}

/// Calls its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn what_a_cancelled_task_of_a_scope_has_captured_may_spawn_there() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let gate = Barrier::new(2);
    let dropped = AtomicUsize::new(0);
    let outcome = pool.try_scope(|scope: &Scope<'_, '_, u8>| {
        scope
            .try_spawn(|| {
                gate.wait();
                Err(1)
            })
            .unwrap();
        let captured = OnDrop(|| {
            dropped.fetch_add(1, Ordering::SeqCst);
            scope.spawn(|| ()).unwrap();
        });
        scope.spawn(move || drop(captured)).unwrap();
        gate.wait();
        // By the task that has failed: the other one is not waited for meanwhile.
        while !scope.cancel_token().is_cancelled() {
            std::thread::yield_now();
        }
    });
    assert_eq!(outcome, Err(TryMapError::Output(1)));
    assert_eq!(dropped.into_inner(), 1);
}

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
fn a_batch_is_run_by_as_many_workers_as_there_may_be() {
    let pool = ThreadPoolExecutor::new(4).unwrap();
    let futures = pool.submit_many(|x: u64| x * 2, 0..100).unwrap();
    let answers: Vec<u64> = futures.into_iter().map(|future| future.result().unwrap()).collect();
    assert_eq!(answers, (0..100).map(|x| x * 2).collect::<Vec<_>>());
    // Each waits for the three others: fewer workers would never end.
    let barrier = Arc::new(Barrier::new(4));
    let futures: Vec<_> = (0..4)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            pool.spawn(move || barrier.wait().is_leader()).unwrap()
        })
        .collect();
    let leaders = futures.into_iter().map(|future| future.result_timeout(LONG).unwrap().unwrap());
    assert_eq!(leaders.filter(|leader| *leader).count(), 1);
    pool.shutdown(Shutdown::Drain, Some(LONG));
    assert!(matches!(pool.submit_many(|x: u64| x, 0..3), Err(SubmitError::ShutDown)));
}

#[test]
fn a_batch_is_run_while_its_input_waits_for_what_was_first() {
    static DONE: Mutex<Option<mpsc::Sender<u64>>> = Mutex::new(None);
    let (done, is_done) = mpsc::channel();
    done.send(0).unwrap();
    *DONE.lock().unwrap() = Some(done);
    let pool = ThreadPoolExecutor::new(2).unwrap();
    // The next item comes from the task before; the last wait would be for one that was not announced.
    let next = |x: u64| DONE.lock().unwrap().as_ref().unwrap().send(x + 1).unwrap();
    let input = (0..5).map(|_| is_done.recv_timeout(LONG).expect("the task before is run"));
    let futures = pool.submit_many(next, input).unwrap();
    assert!(futures.into_iter().all(|future| future.result() == Ok(())));
}

#[test]
fn what_was_submitted_before_the_input_panics_is_run() {
    static RAN: Mutex<Option<mpsc::Sender<u64>>> = Mutex::new(None);
    let (ran, has_run) = mpsc::channel();
    *RAN.lock().unwrap() = Some(ran);
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let task = |x: u64| RAN.lock().unwrap().as_ref().unwrap().send(x).unwrap();
    let input = (0..10).map(|x: u64| if x == 5 { panic!("no more") } else { x });
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| pool.submit_many(task, input).is_ok()));
    assert!(panicked.is_err());
    let ran: HashSet<_> = (0..5).map(|_| has_run.recv_timeout(LONG).expect("all that are queued run")).collect();
    assert_eq!(ran, (0..5).collect());
}

#[test]
fn a_pool_may_have_more_workers_than_there_will_ever_be() {
    for workers in [usize::MAX, 1 << 63, 1 << 24] {
        let pool = ThreadPoolExecutor::new(workers).unwrap();
        let squares: Vec<u64> = (0..10).map(|x| x * x).collect();
        assert_eq!(pool.map(|x: u64| x * x, 0..10).collect::<Result<Vec<_>, _>>().unwrap(), squares);
        assert_eq!(pool.map(|x: u64| x * x, 0..10).into_vec().unwrap(), squares);
        pool.resize(1).unwrap();
        pool.resize(workers).unwrap();
        assert_eq!(pool.spawn(|| 1).unwrap().result(), Ok(1));
        let report = pool.shutdown(Shutdown::Drain, Some(LONG));
        assert_eq!((report.running, report.queued, pool.stats().workers), (0, 0, 0));
    }
}

#[test]
fn a_pool_grows_and_shrinks_while_it_works() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (gate, held) = hold(&pool);
    let queued = pool.spawn(|| std::thread::current().id()).unwrap();
    pool.resize(2).unwrap();
    assert_eq!(executor_core::Executor::max_workers(&pool), 2);
    queued.result_timeout(LONG).expect("the second worker takes it").unwrap();
    gate.wait();
    held.result().unwrap();
    pool.resize(1).unwrap();
    let threads: HashSet<_> =
        (0..50).map(|_| pool.spawn(|| std::thread::current().id()).unwrap().result().unwrap()).collect();
    assert!(threads.len() <= 2);
    assert!(matches!(pool.resize(0), Err(BuildError::NoWorkers)));
}

#[test]
fn a_map_into_a_vec_is_in_order_whatever_the_input_promises() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let squares: Vec<u64> = (0..50_000).map(|x| x * x).collect();
    let square = |x: u64| x * x;
    assert_eq!(pool.map(square, 0..50_000).into_vec().unwrap(), squares);
    // No lower bound at all, and one that is too low.
    assert_eq!(pool.map(square, (0..50_000).filter(|_| true)).into_vec().unwrap(), squares);
    assert_eq!(pool.map(square, (0..10).chain((10..50_000).filter(|_| true))).into_vec().unwrap(), squares);
    assert_eq!(pool.map(square, 0..50_000).chunk_size(7).into_vec().unwrap(), squares);
    let borrowed: Vec<u64> = (0..50_000).collect();
    assert_eq!(pool.map(square, borrowed.iter().copied()).into_vec().unwrap(), squares);
    let texts = pool.map(|x: u64| x.to_string(), 0..10_000).into_vec().unwrap();
    assert!(texts.iter().enumerate().all(|(x, text)| *text == x.to_string()));
}

#[test]
fn an_endless_chunk_needs_no_more_memory_than_its_items() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    for chunk in [1 << 42, usize::MAX] {
        let some = || (0..).map_while(|x: u64| (x < 10_000).then_some(x));
        let in_order: Vec<u64> = some().collect();
        let map = || pool.map(|x: u64| x, some()).chunk_size(chunk);
        assert_eq!(map().collect::<Result<Vec<_>, _>>().as_ref(), Ok(&in_order));
        assert_eq!(map().into_vec().as_ref(), Ok(&in_order));
    }
}

#[test]
fn an_input_that_promises_more_than_it_has_is_not_believed() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let some = || Boaster(0..10_000, 1 << 44);
    let in_order: Vec<u64> = (0..10_000).collect();
    let itself = |x: u64| x;
    assert_eq!(pool.submit_many(itself, some()).unwrap().len(), in_order.len());
    assert_eq!(pool.map(itself, some()).into_vec().as_ref(), Ok(&in_order));
    for chunk in [1 << 42, usize::MAX] {
        let map = || pool.map(itself, some()).chunk_size(chunk);
        assert_eq!(map().collect::<Result<Vec<_>, _>>().as_ref(), Ok(&in_order));
        assert_eq!(map().into_vec().as_ref(), Ok(&in_order));
    }
}

#[test]
fn a_map_into_a_vec_has_all_workers_also_where_the_number_of_items_is_unknown() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    for deadline in [None, Some(LONG)] {
        let here = Arc::new((Mutex::new(0), Condvar::new()));
        // Each item is done when all are under way.
        let meet = move |_| {
            let (number, changed) = &*here;
            let mut number = number.lock().unwrap();
            *number += 1;
            changed.notify_all();
            let is_short = |number: &mut i32| *number < 3;
            !changed.wait_timeout_while(number, Duration::from_secs(10), is_short).unwrap().1.timed_out()
        };
        let map = pool.spawn_map(meet, (0..3).filter(|_| true));
        let map = if let Some(deadline) = deadline { map.timeout(deadline) } else { map };
        assert_eq!(map.into_vec(), Ok(vec![true; 3]));
    }
}

#[test]
fn an_unordered_map_into_a_vec_is_in_order_too() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    // The first item is done after most others.
    let last_first = move |x: usize| {
        if x == 0 {
            (1..10).for_each(|_| receiver.lock().unwrap().recv_timeout(LONG).unwrap());
        } else {
            sender.send(()).unwrap();
        }
        x
    };
    let results = pool.spawn_map(last_first, 0..10).chunk_size(1).buffer_size(10).unordered().into_vec().unwrap();
    assert_eq!(results, (0..10).collect::<Vec<_>>());
}

#[test]
fn dear_items_without_a_size_are_not_pulled_all_at_once() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let calls = AtomicUsize::new(0);
    let fail_late = move |(): ()| {
        let calls = calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < 100, "enough");
        if calls < 2 {
            // Far more expensive than the first pull, however slow that is.
            std::hint::black_box((0..500).map(dear).fold(0, |sum, x| sum ^ x));
        }
    };
    let error = pool.spawn_map(fail_late, std::iter::repeat_n((), usize::MAX)).into_vec().unwrap_err();
    assert!(matches!(&error, TaskError::Panicked { message, .. } if message == "enough"), "{error:?}");
}

#[test]
fn a_map_into_a_vec_ends_with_the_first_item_that_fails() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let picky = |x: u64| {
        assert!(x % 1000 != 999, "{x}");
        vec![x]
    };
    for chunk in [1, 10, 5000] {
        let error = pool.map(picky, 0..100_000).chunk_size(chunk).into_vec().unwrap_err();
        assert!(matches!(&error, TaskError::Panicked { message, .. } if message == "999"), "{error:?}");
    }
    let input = (0..).inspect(|x| assert!(*x < 5000, "the input's own panic"));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(|x: u64| x, input).into_vec()));
    assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"the input's own panic"));
    let endless = |_: u64| std::thread::sleep(Duration::from_millis(1));
    let late = pool.map(endless, 0..1_000_000).timeout(Duration::from_millis(20)).into_vec();
    assert_eq!(late, Err(TaskError::DeadlineExceeded));
    pool.shutdown(Shutdown::Drain, Some(LONG));
    assert_eq!(pool.map(|x: u64| x, 0..10).into_vec(), Err(TaskError::ShutDown));
}

#[test]
fn items_that_panic_when_dropped_harm_no_map_whose_call_panics() {
    struct Bomb(u32);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(self.0 == 0, "this panic is part of the test");
        }
    }
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let fail = |bomb: Bomb| assert!(bomb.0 > 0, "the call");
    let bombs = || (0..4).map(Bomb);
    // As many as the input has promised, and more.
    for outcome in [
        pool.spawn_map(fail, bombs()).chunk_size(4).into_vec(),
        pool.spawn_map(fail, bombs().filter(|_| true)).chunk_size(4).into_vec(),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, TaskError::Panicked { message, .. } if message == "the call"), "{error:?}");
    }
}

/// Some microseconds of work: such items are taken from both ends of the input.
fn dear(x: u64) -> u64 {
    (0..5000).fold(x, |sum, y| std::hint::black_box(sum ^ y) ^ y)
}

/// Says that it has so many items, whatever it has.
struct Boaster(std::ops::Range<u64>, usize);

impl Iterator for Boaster {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.1, Some(self.1))
    }
}

#[test]
fn a_map_of_dear_items_into_a_vec_is_in_order_and_ends_with_the_first_that_fails() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let numbers: Vec<u64> = (0..3000).collect();
    assert_eq!(pool.map(dear, 0..3000).into_vec().unwrap(), numbers);
    assert_eq!(pool.map(dear, 0..3000).chunk_size(7).into_vec().unwrap(), numbers);
    for promised in [0, 10, 2999, 3001, 10_000] {
        assert_eq!(pool.map(dear, Boaster(0..3000, promised)).into_vec().unwrap(), numbers);
    }
    for failing in [[0, 1], [1500, 2999], [2998, 2999]] {
        let picky = move |x: u64| {
            assert!(!failing.contains(&x), "{x}");
            vec![dear(x)]
        };
        let error = pool.spawn_map(picky, 0..3000).into_vec().unwrap_err();
        let first = failing[0].to_string();
        assert!(matches!(&error, TaskError::Panicked { message, .. } if *message == first), "{error:?}");
    }
}

#[derive(Default)]
struct Diary(Mutex<Vec<(TaskId, Option<TaskEnd>)>>);

impl Observer for Diary {
    fn task_queued(&self, task: TaskId) {
        self.0.lock().unwrap().push((task, None));
    }

    fn task_ended(&self, task: TaskId, end: TaskEnd) {
        self.0.lock().unwrap().push((task, Some(end)));
    }

    fn worker_started(&self) {
        panic!("this panic is part of the test");
    }
}

#[test]
fn an_observer_hears_how_every_task_ends_and_its_panics_harm_nothing() {
    let diary = Arc::new(Diary::default());
    let pool = ThreadPoolExecutor::builder().max_workers(1).observer(Arc::clone(&diary)).build().unwrap();
    let (gate, held) = hold(&pool);
    let failing = pool.spawn(|| panic!("this panic is part of the test")).unwrap();
    let cancelled = pool.spawn(|| ()).unwrap();
    assert!(cancelled.cancel());
    let expired = pool.spawn_with(|| (), TaskOptions::new().queue_timeout(Duration::ZERO)).unwrap();
    assert!(expired.wait_timeout(LONG));
    let ids = [&held, &failing, &cancelled, &expired].map(TaskFuture::id);
    gate.wait();
    assert!(failing.wait_timeout(LONG) && held.wait_timeout(LONG));
    let diary = diary.0.lock().unwrap();
    let ends = ids.map(|id| diary.iter().filter(|(task, _)| *task == id).map(|(_, end)| *end).collect::<Vec<_>>());
    let ended = |end| vec![None, Some(end)];
    let expected = [TaskEnd::Done, TaskEnd::Failed, TaskEnd::Cancelled, TaskEnd::Expired].map(ended);
    assert_eq!(ends, expected);
}

#[test]
fn each_worker_keeps_a_state_of_its_own_and_drops_it_at_its_end() {
    struct Connection(Arc<AtomicUsize>);
    impl Drop for Connection {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let make = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(&counted))
    };
    let pool = ThreadPoolExecutor::builder().max_workers(2).worker_state(make).build().unwrap();
    let barrier = Arc::new(Barrier::new(2));
    let futures = [(); 2].map(|()| {
        let barrier = Arc::clone(&barrier);
        pool.spawn(move || {
            barrier.wait();
            with_worker_state(|state: &Connection| std::ptr::from_ref(state).addr())
        })
        .unwrap()
    });
    let [one, other] = futures.map(|future| future.result().unwrap().expect("both workers have one"));
    assert_ne!(one, other);
    assert_eq!(open.load(Ordering::Relaxed), 2);
    assert!(with_worker_state(|_: &Connection| ()).is_none());
    pool.shutdown(Shutdown::Drain, Some(LONG));
    assert_eq!(open.load(Ordering::Relaxed), 0);
}

#[test]
fn a_map_of_a_closure_takes_what_serde_cannot_write() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let table: Arc<[u64]> = (0..100).map(|x| x * 3).collect();
    let look_up = {
        let table = Arc::clone(&table);
        move |place: usize| Arc::new(table[place])
    };
    let found = pool.spawn_map(look_up.clone(), 0..100).into_vec().unwrap();
    assert!(found.iter().zip(&*table).all(|(found, expected)| **found == *expected));
    let results: Vec<_> = pool.spawn_map(look_up, 95..105).chunk_size(3).collect();
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [[true; 5], [false; 5]].concat());
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
    let (queued, asked) = mpsc::channel();
    let submits = std::thread::spawn(move || {
        let input = receiver.into_iter().inspect(move |x| queued.send(*x).unwrap());
        core.submit_tasks(|x: u64| x, input, TaskOptions::new())
    });
    (0..4).for_each(|x| sender.send(x).unwrap());
    (0..4).for_each(|x| assert_eq!(asked.recv_timeout(LONG), Ok(x)));
    // The last one was asked for; it is queued when the worker is seen to have all of them before it.
    while pool.stats().queued < 4 {
        std::thread::yield_now();
    }
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

#[test]
fn nothing_of_a_map_into_a_vec_is_left_in_the_queue_when_its_time_is_up() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let held: Vec<_> = (0..3).map(|_| hold(&pool)).collect();
    let answers = pool.map(|x: u64| x, 0..100).timeout(Duration::from_millis(10)).into_vec();
    assert_eq!(answers, Err(TaskError::DeadlineExceeded));
    let stats = pool.stats();
    for (barrier, busy) in held {
        barrier.wait();
        assert_eq!(busy.result(), Ok(()));
    }
    assert_eq!((stats.queued, stats.cancelled), (0, 3));
}

/// A worker that comes when nothing is left of the map need not come at all.
#[test]
fn a_map_into_a_vec_has_ended_when_its_items_have_answers() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    for limit in [None, Some(LONG)] {
        let gate = Arc::new(Barrier::new(3));
        let hold = |options| {
            let gate = Arc::clone(&gate);
            let held = move || _ = gate.wait();
            pool.spawn_with(held, options).unwrap()
        };
        let first = hold(TaskOptions::new());
        while pool.stats().running < 1 {
            std::thread::yield_now();
        }
        let mut second = None;
        let input = std::iter::once_with(|| second = Some(hold(TaskOptions::new().priority(1))));
        let map = pool.spawn_map(|()| 7, input.chain([(); 2]).filter(|()| true));
        let map = if let Some(limit) = limit { map.timeout(limit) } else { map };
        assert_eq!(map.into_vec(), Ok(vec![7; 3]));
        // The tasks that hold the workers have waited for the end of the map.
        gate.wait();
        assert_eq!((first.result(), second.map(TaskFuture::result)), (Ok(()), Some(Ok(()))));
    }
    assert_eq!(pool.stats().queued, 0);
}

#[test]
fn a_pool_that_grows_starts_no_more_workers_than_it_has_tasks() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (gate, held) = hold(&pool);
    let queued = pool.spawn(|| 7).unwrap();
    pool.resize(50).unwrap();
    let workers = pool.stats().workers;
    assert_eq!(queued.result(), Ok(7));
    gate.wait();
    held.result().unwrap();
    assert!(workers <= 2, "{workers}");
}

/// So no other worker stands in for the one that looks.
#[test]
fn a_look_at_what_is_not_done_is_no_wait() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (_promise, future) = executor_core::Promise::<()>::new();
    let (go_on, wait) = mpsc::channel();
    let looks = pool.spawn(move || {
        wait.recv_timeout(LONG).unwrap();
        let is_done = future.wait_timeout(Duration::ZERO);
        let waited = executor_core::wait([&future], Some(Duration::ZERO), executor_core::ReturnWhen::AllCompleted);
        (is_done, waited.not_done.len())
    });
    let queued = pool.spawn(|| 7).unwrap();
    go_on.send(()).unwrap();
    assert_eq!((looks.unwrap().result(), queued.result()), (Ok((false, 1)), Ok(7)));
    assert_eq!(pool.stats().workers, 1);
}
