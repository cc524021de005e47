//! Tasks that wait for tasks of other pools, or for others of their own.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use executor_core::{
    Executor, Promise, RayonExecutor, ReturnWhen, Shutdown, Submit, TaskFuture, TaskOptions, ThreadPoolExecutor,
    as_completed, wait,
};

use crate::{LONG, square};

/// A pool whose tasks are closures.
trait Spawn: Send + Sync + 'static {
    fn one_worker() -> Arc<Self>;
    fn spawn_boxed(&self, work: Box<dyn FnOnce() -> u64 + Send>) -> TaskFuture<u64>;
}

impl Spawn for ThreadPoolExecutor {
    fn one_worker() -> Arc<Self> {
        Arc::new(Self::new(1).unwrap())
    }

    fn spawn_boxed(&self, work: Box<dyn FnOnce() -> u64 + Send>) -> TaskFuture<u64> {
        self.spawn(work).unwrap()
    }
}

impl Spawn for RayonExecutor {
    fn one_worker() -> Arc<Self> {
        Arc::new(Self::new(1).unwrap())
    }

    fn spawn_boxed(&self, work: Box<dyn FnOnce() -> u64 + Send>) -> TaskFuture<u64> {
        self.spawn(work).unwrap()
    }
}

#[derive(Debug, Clone, Copy)]
enum Wait {
    Result,
    ResultInTime,
    All,
    AsCompleted,
    Sleepily,
    MapOfAnother,
}

fn wait_for(how: Wait, future: TaskFuture<u64>) -> u64 {
    match how {
        Wait::Result => future.result().unwrap(),
        Wait::ResultInTime => future.result_timeout(LONG).unwrap().unwrap(),
        Wait::All => wait([future], Some(LONG), ReturnWhen::AllCompleted).done.remove(0).result().unwrap(),
        Wait::AsCompleted => as_completed([future], None).next().unwrap().unwrap().result().unwrap(),
        Wait::Sleepily => {
            // Long enough for every thread to fall asleep.
            std::thread::sleep(Duration::from_millis(20));
            future.result().unwrap()
        }
        Wait::MapOfAnother => {
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let future = std::sync::Mutex::new(Some(future));
            let take = move |()| future.lock().unwrap().take().unwrap().result().unwrap();
            pool.spawn_map(take, [()]).next().unwrap().unwrap()
        }
    }
}

/// A task of one pool waits for one of the other, which waits for one of the first, and so on.
fn mutual<A: Spawn, B: Spawn>(first: Arc<A>, second: Arc<B>, depth: u64, how: Wait) -> TaskFuture<u64> {
    if depth == 0 {
        return first.spawn_boxed(Box::new(|| 0));
    }
    let pool = Arc::clone(&first);
    pool.spawn_boxed(Box::new(move || 1 + wait_for(how, mutual(second, first, depth - 1, how))))
}

fn pools_may_wait_for_each_other<A: Spawn, B: Spawn>() {
    for how in [Wait::Result, Wait::ResultInTime, Wait::All, Wait::AsCompleted, Wait::Sleepily, Wait::MapOfAnother] {
        // Dropped here: to drop a pool is to wait for its tasks.
        let (first, second) = (A::one_worker(), B::one_worker());
        let future = mutual(Arc::clone(&first), Arc::clone(&second), 9, how);
        assert_eq!(future.result_timeout(LONG).map_err(|future| (how, future)).unwrap(), Ok(9));
    }
}

/// A task that runs while another one waits does not run on the stack of that one: either may wait for the other.
fn a_waiting_task_is_held_up_by_no_other<A: Spawn>() {
    let pool = A::one_worker();
    let (go, begin) = Promise::<u64>::new();
    let (said, wanted) = Promise::<u64>::new();
    let first = pool.spawn_boxed(Box::new(move || {
        let number = begin.result().unwrap();
        said.set_result(number + 1).unwrap();
        number
    }));
    let second = pool.spawn_boxed(Box::new(move || wanted.result().unwrap() + 1));
    while second.state() == executor_core::TaskState::Pending {
        std::thread::yield_now();
    }
    go.set_result(1).unwrap();
    assert_eq!(second.result_timeout(LONG).unwrap(), Ok(3));
    assert_eq!(first.result_timeout(LONG).unwrap(), Ok(1));
    // A wait that runs out is no longer than it was to be, whatever waits in the queue.
    let (_held, never) = Promise::<u64>::new();
    let (held, endless) = Promise::<u64>::new();
    let own = Arc::clone(&pool);
    let waits = pool.spawn_boxed(Box::new(move || {
        let behind = own.spawn_boxed(Box::new(move || endless.result().unwrap_or(7)));
        assert!(!never.wait_timeout(Duration::from_millis(10)) && !behind.wait_timeout(Duration::from_millis(10)));
        drop(held);
        behind.result().unwrap()
    }));
    assert_eq!(waits.result_timeout(LONG).unwrap(), Ok(7));
}

#[test]
fn rayon_for_rayon() {
    pools_may_wait_for_each_other::<RayonExecutor, RayonExecutor>();
    a_waiting_task_is_held_up_by_no_other::<RayonExecutor>();
}

#[test]
fn rayon_for_threads_and_threads_for_rayon() {
    pools_may_wait_for_each_other::<RayonExecutor, ThreadPoolExecutor>();
    pools_may_wait_for_each_other::<ThreadPoolExecutor, RayonExecutor>();
}

#[test]
fn threads_for_threads() {
    pools_may_wait_for_each_other::<ThreadPoolExecutor, ThreadPoolExecutor>();
    a_waiting_task_is_held_up_by_no_other::<ThreadPoolExecutor>();
}

/// Many tasks wait at once, each for a task behind all of them.
#[test]
fn many_tasks_of_a_rayon_pool_wait_for_another_one() {
    let (rayon, threads) = (Arc::new(RayonExecutor::new(2).unwrap()), Arc::new(ThreadPoolExecutor::new(2).unwrap()));
    let work = |_| {
        let (rayon, threads) = (Arc::clone(&rayon), Arc::clone(&threads));
        let own = Arc::clone(&rayon);
        let inner = move || own.spawn(|| 1).unwrap().result().unwrap();
        rayon.spawn(move || threads.spawn(inner).unwrap().result().unwrap()).unwrap()
    };
    let futures: Vec<_> = (0..200).map(work).collect();
    let sum: u64 = futures.into_iter().map(|future| future.result_timeout(LONG).unwrap().unwrap()).sum();
    assert_eq!(sum, 200);
    assert!(rayon.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(rayon.stats().done, 400);
}

/// Joins in a pool of rayon's: the second part runs on another thread, and ends when it is told to. The first one ends when the
/// second runs, so that this thread waits for it in rayon.
fn join_and_wait(second: impl FnOnce() + Send) {
    let (runs, begun) = mpsc::channel();
    let second = move || {
        runs.send(()).unwrap();
        second();
    };
    ::rayon::join(move || wait_for_a_thief(&begun), second);
}

/// Waits within rayon's operation until another thread has taken its other part. rayon may overlook a sleeping thread when a job
/// is posted by one of its own threads ("acceptable", says its description of sleep, because the poster itself will come to it),
/// so jobs are posted until one has come.
fn wait_for_a_thief(begun: &mpsc::Receiver<()>) {
    let end = Instant::now() + LONG;
    while begun.recv_timeout(Duration::from_millis(10)).is_err() {
        assert!(Instant::now() < end, "no other thread of rayon's takes the other part");
        ::rayon::spawn(|| ());
    }
}

/// Starts a task that is `busy` with rayon's operations, and then one that waits for it, when no other thread of the pool is
/// left.
fn is_waited_for_while_busy(threads: usize, busy: impl FnOnce(mpsc::Sender<()>, mpsc::Receiver<()>) + Send + 'static) {
    // Where a thread hangs its end would not come.
    let rayon = std::mem::ManuallyDrop::new(RayonExecutor::new(threads).unwrap());
    let (ready, is_ready) = mpsc::channel();
    let (release, held) = mpsc::channel();
    let busy = rayon.spawn(move || busy(ready, held)).unwrap();
    is_ready.recv_timeout(LONG).unwrap();
    let (begins, has_begun) = mpsc::channel();
    let waits = rayon.spawn(move || {
        begins.send(()).unwrap();
        busy.result()
    });
    has_begun.recv_timeout(LONG).unwrap();
    let others = rayon.submit_many(square, 0..100).unwrap();
    let others: u64 = others.into_iter().map(|other| other.result_timeout(LONG).unwrap().unwrap()).sum();
    drop(release);
    assert_eq!((others, waits.unwrap().result_timeout(LONG).unwrap()), (328_350, Ok(Ok(()))));
    drop(std::mem::ManuallyDrop::into_inner(rayon));
}

#[test]
fn a_task_does_not_begin_on_the_stack_of_the_one_that_it_waits_for() {
    is_waited_for_while_busy(2, |ready, held| {
        join_and_wait(move || {
            ready.send(()).unwrap();
            held.recv().unwrap_err();
        });
    });
}

/// Not where a part of it was moved to, either.
#[test]
fn a_task_does_not_begin_on_the_stack_of_a_part_of_the_one_that_it_waits_for() {
    is_waited_for_while_busy(3, |ready, held| {
        let (ends, over) = mpsc::channel::<()>();
        let part = move || {
            let ends = ends;
            join_and_wait(move || {
                ready.send(()).unwrap();
                held.recv().unwrap_err();
            });
            drop(ends);
        };
        let (runs, begun) = mpsc::channel();
        let part = move || {
            runs.send(()).unwrap();
            part();
        };
        // This thread takes nothing from rayon meanwhile.
        let first = move || {
            wait_for_a_thief(&begun);
            over.recv().unwrap_err();
        };
        ::rayon::join(first, part);
    });
}

/// One thread waits within an operation whose other part has a second one. Tasks may come to either of the others or to the one that
/// waits.
#[test]
fn tasks_that_come_to_a_thread_within_an_operation_run_beside_each_other() {
    let rayon = std::mem::ManuallyDrop::new(RayonExecutor::new(4).unwrap());
    let (ready, is_ready) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let busy = rayon.spawn(move || {
        join_and_wait(move || {
            ready.send(()).unwrap();
            held.recv().unwrap_err();
        });
    });
    is_ready.recv_timeout(LONG).expect("a thread that takes a part of the task");
    for number in 0..100 {
        let (sender, receiver) = mpsc::channel();
        let waits = rayon.spawn(move || receiver.recv()).unwrap();
        let sends = rayon.spawn(move || sender.send(number).unwrap()).unwrap();
        let outcome = waits.result_timeout(LONG);
        assert!(outcome.is_ok(), "round {number}, the other task {:?}, {:?}", sends.state(), rayon.stats());
        assert_eq!(outcome.unwrap(), Ok(Ok(number)));
        assert_eq!(sends.result(), Ok(()));
    }
    drop(release);
    assert_eq!(busy.unwrap().result(), Ok(()));
    drop(std::mem::ManuallyDrop::into_inner(rayon));
}

/// Each comes when the stand-in that has done the one before is about to leave.
#[test]
fn a_stand_in_that_leaves_is_not_counted_on() {
    let (rayon, threads) = (RayonExecutor::new(1).unwrap(), ThreadPoolExecutor::new(1).unwrap());
    let core = rayon.handle().clone();
    let outer = rayon.spawn(move || {
        let ask = move || {
            let ask = |x: u64| core.submit_task(square, x, TaskOptions::new()).unwrap().result_timeout(LONG);
            (0..5000).filter(|x| ask(*x).unwrap() == Ok(x * x)).count()
        };
        threads.spawn(ask).unwrap().result()
    });
    assert_eq!(outer.unwrap().result(), Ok(Ok(5000)));
}
