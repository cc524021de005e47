//! The number of workers, what each of them keeps, batches for all of them, and what an observer hears.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use executor_core::{
    BuildError, Executor, Observer, Shutdown, SubmitError, TaskEnd, TaskFuture, TaskId, TaskOptions,
    ThreadPoolExecutor, with_worker_state,
};

use crate::{LONG, hold};

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
