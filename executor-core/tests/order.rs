//! First come, first started: the order in which tasks begin, and that no task waits longer because of the worker that it was sent
//! to.

mod gated;
mod pool_kinds;

use std::{
    fs,
    io::Write,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use executor_core::{Executor, Shutdown, Submit, TaskFuture, TaskOptions, ThreadPoolExecutor};
use gated::{Gate, LONG, assert_squares, quick_pool, result, squares};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(what_stands_behind_a_long_task_is_taken_before_what_came_later);

/// Tasks that wait until so many of them run.
struct Meeting {
    present: Mutex<usize>,
    complete: Condvar,
    members: usize,
}

impl Meeting {
    fn new(members: usize) -> Arc<Self> {
        Arc::new(Self { present: Mutex::new(0), complete: Condvar::new(), members })
    }

    /// Whether all have come.
    fn attend(&self) -> bool {
        let mut present = self.present.lock().unwrap();
        *present += 1;
        self.complete.notify_all();
        let waiting = |present: &mut usize| *present < self.members;
        !self.complete.wait_timeout_while(present, LONG, waiting).unwrap().1.timed_out()
    }
}

/// As many tasks as there are workers meet, whatever was measured of those before them, and whatever is in flight behind them.
#[test]
fn tasks_that_meet_run_at_the_same_time_whatever_came_before_and_comes_after() {
    for workers in 2..=4 {
        let pool = ThreadPoolExecutor::new(workers).unwrap();
        for round in 0..50 {
            let before: Vec<_> = (0..round * 7).map(|x| pool.spawn(move || x).unwrap()).collect();
            let meetings: Vec<_> = (0..5).map(|_| Meeting::new(workers)).collect();
            let attend = |meeting: &Arc<Meeting>| {
                let meeting = Arc::clone(meeting);
                pool.spawn(move || meeting.attend()).unwrap()
            };
            let meet: Vec<_> =
                meetings.iter().flat_map(|meeting| (0..workers).map(move |_| meeting)).map(attend).collect();
            let (gate, closed) = mpsc::channel::<()>();
            let closed = Arc::new(Mutex::new(closed));
            let gated: Vec<_> = (0..40)
                .map(|_| {
                    let closed = Arc::clone(&closed);
                    pool.spawn(move || _ = closed.lock().unwrap().recv()).unwrap()
                })
                .collect();
            assert!(meet.into_iter().all(|future| future.result().unwrap()), "some have waited for others in vain");
            drop(gate);
            before.into_iter().for_each(|future| assert!(future.result().is_ok()));
            gated.into_iter().for_each(|future| future.result().unwrap());
        }
    }
}

/// Where one worker is held up, the other one runs everything, in the order in which it came.
#[test]
fn a_long_task_lets_no_task_be_overtaken() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    // Those before have been short.
    pool.submit_many(|x: u64| x, 0..1000).unwrap().into_iter().for_each(|future| assert!(future.result().is_ok()));
    let order = Arc::new(Mutex::new(Vec::new()));
    let ((release, held), (started, has_started)) = (mpsc::channel::<()>(), mpsc::channel());
    let long = pool.spawn(move || {
        started.send(()).unwrap();
        held.recv_timeout(LONG).is_err()
    });
    has_started.recv_timeout(LONG).unwrap();
    let tasks: Vec<_> = (0..2000)
        .map(|number| {
            let order = Arc::clone(&order);
            pool.spawn(move || order.lock().unwrap().push(number)).unwrap()
        })
        .collect();
    tasks.into_iter().for_each(|task| task.result().unwrap());
    drop(release);
    assert!(long.unwrap().result().unwrap());
    assert_eq!(*order.lock().unwrap(), (0..2000).collect::<Vec<_>>());
}

/// A task that another one has submitted, and that is not waited for, is run although its worker is held up and there is always
/// something to do outside.
#[test]
fn what_a_long_task_has_submitted_does_not_wait_for_its_end() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let core = pool.handle().clone();
    let ((release, held), ran) = (mpsc::channel::<()>(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&ran);
    let long = pool.spawn(move || {
        let inner: Vec<TaskFuture<u64>> =
            (0..20).map(|x| core.submit_task(|x: u64| x, x, TaskOptions::new()).unwrap()).collect();
        for future in &inner {
            let count = Arc::clone(&count);
            future.add_done_callback(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
        }
        held.recv_timeout(LONG).is_err()
    });
    let (start, mut last) = (Instant::now(), None);
    while ran.load(Ordering::SeqCst) < 20 {
        assert!(start.elapsed() < LONG, "{} of 20 have run", ran.load(Ordering::SeqCst));
        // The queue is never empty, and never long.
        if pool.stats().queued < 100 {
            last = Some(pool.spawn(|| std::thread::sleep(Duration::from_micros(50))).unwrap());
        }
    }
    drop(release);
    assert!(long.unwrap().result().unwrap());
    last.unwrap().result().unwrap();
    assert!(pool.shutdown(Shutdown::Drain, None).is_complete());
}

/// Both workers are held up, and tasks are in flight behind either. The worker that is free first takes them in the order in which
/// they came.
fn what_stands_behind_a_long_task_is_taken_before_what_came_later(kind: Kind) {
    let note = |(path, number): (String, u64)| {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(&[number as u8])).is_ok()
    };
    let mut wait = Duration::from_millis(20);
    // The pool does not tell how soon it notices that the workers are held up.
    for _ in 0..7 {
        let pool = quick_pool(kind.builder(), 2);
        assert_squares(squares(&pool, 200));
        let (first, second) = (Gate::new(), Gate::new());
        let (one, other) = (first.close(&pool), second.close(&pool));
        let path = first.name("order");
        let tasks: Vec<_> = (0..60).map(|number| pool.submit(note, (path.clone(), number)).unwrap()).collect();
        std::thread::sleep(wait);
        second.open();
        assert_eq!(result(other), Ok(7));
        tasks.into_iter().for_each(|task| assert_eq!(result(task), Ok(true)));
        first.open();
        assert_eq!(result(one), Ok(7));
        if fs::read(path).unwrap() == (0..60).collect::<Vec<_>>() {
            return;
        }
        wait *= 2;
    }
    panic!("they have overtaken one another");
}
