//! The promises of the portable API, each kept by every executor.

mod pool_kinds;

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use executor_core::{
    Executor, PoolState, ProcessPoolExecutor, Promise, RayonExecutor, ReturnWhen, SerialExecutor, Shutdown, Submit,
    SubmitError, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor, TryMapError, Waitable, as_completed, partial,
    wait, wait_until,
};

use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

const LONG: Duration = Duration::from_secs(60);

fn square(x: u64) -> u64 {
    x * x
}

fn picky(x: u64) -> u64 {
    assert!(x != 3, "not three");
    x
}

fn two_processes(kind: Kind) -> ProcessPoolExecutor {
    kind.builder().max_workers(2).build().unwrap()
}

/// One `#[test]` per executor for each scenario.
macro_rules! on_every_executor {
    ($($scenario:ident),* $(,)?) => {
        mod serial {
            $(#[test] fn $scenario() { super::$scenario(super::SerialExecutor::new()); })*
        }
        mod thread {
            $(#[test] fn $scenario() { super::$scenario(super::ThreadPoolExecutor::new(2).unwrap()); })*
        }
        mod rayon {
            $(#[test] fn $scenario() { super::$scenario(super::RayonExecutor::builder().max_workers(2).build().unwrap()); })*
        }
        mod process {
            use super::*;

            on_every_kind_of_pool!(from crate::two_processes; $($scenario),*);
        }
    };
}

on_every_executor!(
    submit_takes_one_argument_or_a_tuple,
    map_keeps_the_order_and_a_panic_keeps_its_neighbors,
    map_variants,
    map_takes_no_more_input_than_its_buffer,
    try_map_ends_at_the_first_error_of_either_kind,
    every_kind_of_wait_sees_every_result,
    wait_returns_when_it_should,
    callbacks_are_called_once_and_harm_nothing,
    the_end_waits_for_callbacks,
    a_callback_may_end_its_executor,
    a_callback_may_wait_for_the_pool_whose_task_ends_its_executor,
    a_wait_that_runs_out_gives_the_future_back,
    after_shutdown_nothing_is_taken_and_everything_is_done,
    a_map_of_a_pool_that_shut_down_says_so,
    a_bound_configuration_reaches_every_task,
    options_of_a_map_that_has_begun_lose_nothing,
    an_input_that_panics_leaks_nothing,
);

fn submit_takes_one_argument_or_a_tuple(executor: impl Executor) {
    assert_eq!(executor.submit(square, 12).unwrap().result(), Ok(144));
    assert_eq!(
        executor.submit(|a: u64, b: String| format!("{a}{b}"), (1, "x".to_owned())).unwrap().result().unwrap(),
        "1x"
    );
    assert_eq!(executor.submit(|| 7_u8, ()).unwrap().result(), Ok(7));
    assert_eq!(executor.try_submit(|pair: (u8, u8)| pair.1, (1, 2)).unwrap().result(), Ok(2));
}

fn map_keeps_the_order_and_a_panic_keeps_its_neighbors(executor: impl Executor) {
    for chunk in [1, 3, 100] {
        let results: Vec<_> = executor.map(picky, 0..10).chunk_size(chunk).collect();
        assert_eq!(results.len(), 10);
        for (x, result) in results.into_iter().enumerate() {
            match result {
                Ok(answer) => assert_eq!(answer, x as u64),
                Err(TaskError::Panicked { message, .. }) => assert_eq!((x, message.as_str()), (3, "not three")),
                Err(error) => panic!("{x}: {error}"),
            }
        }
    }
}

fn map_variants(executor: impl Executor) {
    assert_eq!(executor.map(square, 0..1000).into_vec().unwrap(), (0..1000).map(square).collect::<Vec<_>>());
    let mut unordered: Vec<u64> = executor.map(square, 0..100).unordered().collect::<Result<_, _>>().unwrap();
    unordered.sort_unstable();
    assert_eq!(unordered, (0..100).map(square).collect::<Vec<_>>());
    assert_eq!(executor.map(square, 0..0).count(), 0);
    let stopped: Vec<_> = executor.map(picky, 0..10).chunk_size(1).stop_on_error(true).collect();
    assert_eq!(stopped.len(), 4);
    assert!(stopped[3].is_err());
    let started = executor.map(square, 0..10).start();
    assert_eq!(started.map(Result::unwrap).sum::<u64>(), 285);
    assert!(executor.map(picky, 0..10).into_vec().is_err());
    let late: Vec<_> = executor
        .map(|()| std::thread::sleep(Duration::from_millis(1)), std::iter::repeat_n((), 100_000))
        .timeout(Duration::from_millis(50))
        .collect();
    assert_eq!(late.last(), Some(&Err(TaskError::DeadlineExceeded)));
    assert!(late.len() < 100_000);
}

fn map_takes_no_more_input_than_its_buffer(executor: impl Executor) {
    let taken = AtomicUsize::new(0);
    let input = (0..).inspect(|_| _ = taken.fetch_add(1, Ordering::Relaxed));
    let mut map = executor.map(square, input).buffer_size(5).start();
    assert_eq!(taken.load(Ordering::Relaxed), 5);
    assert_eq!(map.next(), Some(Ok(0)));
    assert!(taken.load(Ordering::Relaxed) <= 10);
    assert_eq!(map.by_ref().take(1000).count(), 1000, "an endless input can be read on");
}

fn try_map_ends_at_the_first_error_of_either_kind(executor: impl Executor) {
    let half = |x: u64| if x.is_multiple_of(2) { Ok(x / 2) } else { Err(format!("{x} is odd")) };
    assert_eq!(executor.try_map(half, [2, 4]).collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2]));
    let results: Vec<_> = executor.try_map(half, [2, 3, 4]).collect();
    assert_eq!(results, [Ok(1), Err(TryMapError::Output("3 is odd".to_owned()))]);
    let broken = |x: u64| -> Result<u64, String> { panic!("{x}") };
    let results: Vec<_> = executor.try_map(broken, [2, 3]).collect();
    assert!(matches!(results[..], [Err(TryMapError::Task(TaskError::Panicked { .. }))]));
}

fn every_kind_of_wait_sees_every_result(executor: impl Executor) {
    let text = executor.submit(|x: u64| x.to_string(), 5).unwrap();
    let number = executor.submit(square, 5).unwrap();
    let mixed: [Box<dyn Waitable + '_>; 3] = [Box::new(&text), Box::new(&number), Box::new(&number)];
    assert_eq!(as_completed(mixed, Some(LONG)).map(Result::unwrap).count(), 2, "a duplicate counts once");
    assert_eq!((text.result().unwrap(), number.result()), ("5".to_owned(), Ok(25)));
    assert_eq!(pollster::block_on(executor.submit(square, 6).unwrap()), Ok(36));

    let mut set = as_completed([executor.submit(square, 1).unwrap()], Some(LONG));
    let mut sum = 0;
    while let Some(done) = set.next() {
        let answer = done.unwrap().result().unwrap();
        sum += answer;
        if answer < 10 {
            set.add(executor.submit(|x: u64| x + 1, answer).unwrap());
        }
    }
    assert_eq!(sum, 55, "1 to 10, each added while draining");
}

fn wait_returns_when_it_should(executor: impl Executor) {
    let (_held, never) = Promise::<u64>::new();
    let good = executor.submit(square, 2).unwrap();
    let waited = wait([&never, &good], Some(LONG), ReturnWhen::FirstCompleted);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));

    let bad = executor.submit(picky, 3).unwrap();
    let waited = wait([&good, &bad, &never], Some(LONG), ReturnWhen::FirstError);
    assert!(waited.done.iter().any(|future| future.id() == bad.id()));
    assert_eq!(waited.not_done[0].id(), never.id());

    let found = wait_until([&never, &good], Some(LONG), |future| future.id() == good.id());
    assert_eq!(found.done.len(), 1);

    assert!(never.cancel());
    let waited = wait([&good, &bad, &never], Some(LONG), ReturnWhen::AllCompleted);
    assert_eq!(waited.done.len(), 3, "cancelled is done");
    assert_eq!(never.result(), Err(TaskError::Cancelled));
}

fn callbacks_are_called_once_and_harm_nothing(executor: impl Executor) {
    let (sender, receiver) = mpsc::channel();
    let future = executor.submit(square, 2).unwrap();
    let id = future.id();
    future.add_done_callback(|_| panic!("this panic is part of the test"));
    for name in ["first", "second"] {
        let sender = sender.clone();
        future.add_done_callback(move |done| sender.send((name, done.id(), done.failed())).unwrap());
    }
    assert!(future.wait_timeout(LONG));
    let late = sender.clone();
    future.add_done_callback(move |done| late.send(("late", done.id(), done.failed())).unwrap());
    let mut heard: Vec<_> = (0..3).map(|_| receiver.recv_timeout(LONG).unwrap()).collect();
    heard.sort_unstable();
    assert_eq!(heard, [("first", id, false), ("late", id, false), ("second", id, false)]);
    let counter = Arc::new(AtomicUsize::new(0));
    let (counted, done) = (Arc::clone(&counter), sender.clone());
    executor.submit(square, 3).unwrap().on_result(move |result| {
        counted.fetch_add(result.unwrap() as usize, Ordering::Relaxed);
        done.send(("result", id, false)).unwrap();
    });
    assert_eq!(receiver.recv_timeout(LONG).unwrap().0, "result");
    assert_eq!(counter.load(Ordering::Relaxed), 9);
    assert_eq!(future.result(), Ok(4));
}

fn the_end_waits_for_callbacks(executor: impl Executor) {
    let (gate, called) = (Arc::new(RwLock::new(())), Arc::new(AtomicUsize::new(0)));
    let closed = gate.write().unwrap();
    for x in 0..8 {
        let future = executor.submit(square, x).unwrap();
        let (gate, called) = (Arc::clone(&gate), Arc::clone(&called));
        assert!(future.wait_timeout(LONG));
        future.on_result(move |result| {
            drop(gate.read());
            assert_eq!(result, Ok(x * x));
            called.fetch_add(1, Ordering::SeqCst);
        });
    }
    let report = executor.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    assert_eq!((report.callbacks, report.is_complete()), (8, false));
    drop(closed);
    drop(executor);
    assert_eq!(called.load(Ordering::SeqCst), 8);
}

fn a_callback_may_end_its_executor(executor: impl Executor + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let future = executor.submit(square, 3).unwrap();
    future.on_result(move |result| {
        let report = executor.shutdown(Shutdown::Drain, None);
        drop(executor);
        sender.send((result, report.is_complete())).unwrap();
    });
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), (Ok(9), true));
}

fn a_callback_may_wait_for_the_pool_whose_task_ends_its_executor(executor: impl Executor + Send + 'static) {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let core = pool.handle().clone();
    let (sender, receiver) = mpsc::channel();
    let future = executor.submit(square, 3).unwrap();
    assert!(future.wait_timeout(LONG));
    let ends = pool.spawn(move || {
        future.add_done_callback(move |_| {
            let asked = core.submit_task(square, 4, TaskOptions::new()).unwrap();
            sender.send(asked.result_timeout(LONG).unwrap()).unwrap();
        });
        executor.shutdown(Shutdown::Drain, None).is_complete()
    });
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), Ok(16));
    assert_eq!(ends.unwrap().result_timeout(LONG).unwrap(), Ok(true));
}

fn a_wait_that_runs_out_gives_the_future_back(executor: impl Executor) {
    let (promise, never) = Promise::<u64>::new();
    let never = never.result_timeout(Duration::ZERO).unwrap_err();
    assert!(!never.done());
    // Done already: a worker process may take its time to start.
    let square = wait([executor.submit(square, 3).unwrap()], Some(LONG), ReturnWhen::AllCompleted).done.remove(0);
    let mut set = as_completed([never, square], Some(Duration::from_millis(100)));
    assert_eq!(set.next().unwrap().unwrap().result(), Ok(9));
    assert_eq!(set.next().unwrap().unwrap_err().unfinished, 1);
    assert!(set.next().is_none());
    let never = set.into_pending().remove(0);
    promise.set_result(1).unwrap();
    assert_eq!(never.result_timeout(LONG).unwrap(), Ok(1));
}

fn after_shutdown_nothing_is_taken_and_everything_is_done(executor: impl Executor) {
    let futures: Vec<_> = (0..50).map(|x| executor.submit(square, x).unwrap()).collect();
    let report = executor.shutdown(Shutdown::Drain, Some(LONG));
    assert!(report.is_complete() && report.cancelled == 0, "{report:?}");
    assert!(futures.iter().all(|future| future.done()));
    assert!(matches!(executor.submit(square, 1), Err(SubmitError::ShutDown)));
    assert!(executor.shutdown(Shutdown::Kill, Some(LONG)).is_complete(), "again, and harder");
    assert_eq!(executor.stats().done, 50);
}

fn a_map_of_a_pool_that_shut_down_says_so(executor: impl Executor) {
    let mut map = executor.map(square, 0..1000).buffer_size(4).chunk_size(1).start();
    executor.shutdown(Shutdown::Drain, Some(LONG));
    drop(executor);
    let results: Vec<_> = map.by_ref().collect();
    assert_eq!(results[..4], [Ok(0), Ok(1), Ok(4), Ok(9)]);
    assert_eq!(results[4..], [Err(TaskError::ShutDown)], "and not an end that looks like the end of the input");
}

fn a_bound_configuration_reaches_every_task(executor: impl Executor) {
    let join = |item: u64, config: &(String, u64)| format!("{}{}", config.0, item * config.1);
    let names = executor.map(partial(join, ("n".to_owned(), 3)), 0..4).into_vec().unwrap();
    assert_eq!(names, ["n0", "n3", "n6", "n9"]);
}

/// The options that a map has, by name.
macro_rules! change {
    ($map:expr, $option:expr) => {
        match $option {
            "unordered" => $map.unordered(),
            "chunk_size" => $map.chunk_size(3),
            "large chunk_size" => $map.chunk_size(usize::MAX),
            "buffer_size" => $map.buffer_size(2),
            "timeout" => $map.timeout(LONG),
            "task_timeout" => $map.task_timeout(LONG),
            "stop_on_error" => $map.stop_on_error(true),
            "start" => $map.start(),
            _ => $map,
        }
    };
}

const OPTIONS: [&str; 9] = [
    "none",
    "unordered",
    "chunk_size",
    "large chunk_size",
    "buffer_size",
    "timeout",
    "task_timeout",
    "stop_on_error",
    "start",
];

fn options_of_a_map_that_has_begun_lose_nothing(executor: impl Executor) {
    const ITEMS: u64 = 10;
    let all: Vec<u64> = (0..ITEMS).map(square).collect();
    for first in ["none", "unordered", "chunk_size", "buffer_size", "stop_on_error"] {
        for begun in ["start", "next", "start and next", "two of a chunk"] {
            for then in OPTIONS {
                for last in ["collect", "into_vec"] {
                    let mut map = change!(executor.map(square, 0..ITEMS), first);
                    let mut results = Vec::new();
                    if begun == "two of a chunk" {
                        map = map.chunk_size(4);
                        results.extend(map.by_ref().take(2).map(Result::unwrap));
                    }
                    if begun.starts_with("start") {
                        map = map.start();
                    }
                    if begun.ends_with("next") {
                        results.push(map.next().unwrap().unwrap());
                    }
                    let mut map = change!(map, then);
                    if last == "into_vec" {
                        results.extend(map.into_vec().unwrap());
                    } else {
                        results.extend(map.by_ref().map(Result::unwrap));
                        assert_eq!(map.next(), None);
                    }
                    if first == "unordered" || then == "unordered" {
                        results.sort_unstable();
                    }
                    assert_eq!(results, all, "{first}, then {begun}, then {then}, then {last}");
                }
            }
        }
    }
    let stopped = executor.map(picky, [3, 1, 2]).chunk_size(1).start().stop_on_error(true);
    assert_eq!(stopped.count(), 1);
}

/// An item that says whether it is still there.
#[derive(serde::Serialize, serde::Deserialize)]
struct Counted {
    number: u64,
    #[serde(skip)]
    _alive: Option<Arc<()>>,
}

fn an_input_that_panics_leaks_nothing(executor: impl Executor) {
    let alive = Arc::new(());
    let input = |stop: u64| {
        let alive = Arc::clone(&alive);
        (0..1000).map(move |x| {
            assert!(x != stop, "this panic is part of the test");
            Counted { number: x, _alive: Some(Arc::clone(&alive)) }
        })
    };
    let value = |counted: Counted| counted.number;
    for stop in [0, 1, 499, 500, 900] {
        let iterate = || executor.map(value, input(stop)).chunk_size(500).count();
        let at_once = || executor.map(value, input(stop)).into_vec().unwrap().len();
        let start = || executor.map(value, input(stop)).start().count();
        // Promises fewer items than there are.
        let filtered = || executor.map(value, input(stop).filter(|_| true)).chunk_size(usize::MAX).count();
        let submitted = || executor.submit_many(value, input(stop)).unwrap().len();
        let ways: [&dyn Fn() -> usize; 5] = [&iterate, &at_once, &start, &filtered, &submitted];
        for (way, run) in ways.into_iter().enumerate() {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            assert!(outcome.is_err(), "{way} to {stop}");
        }
    }
    executor.shutdown(Shutdown::Drain, None);
    drop(executor);
    assert_eq!(Arc::strong_count(&alive), 1, "items that were never dropped");
}

/// The pool starts as many workers as it has tasks for, whatever the number is.
fn absurd_numbers_of_workers_lose_nothing(kind: Kind) {
    for workers in [1 << 62, 1 << 63, usize::MAX] {
        let pool = kind.builder().max_workers(workers).build().unwrap();
        let all: Vec<u64> = (0..3).map(square).collect();
        assert_eq!(pool.map(square, 0..3).collect::<Result<Vec<_>, _>>().unwrap(), all);
        assert_eq!(pool.map(square, 0..3).start().unordered().count(), 3);
        assert_eq!(pool.map(square, 0..3).into_vec().unwrap(), all);
    }
}

mod absurd {
    use super::*;

    on_every_kind_of_pool!(absurd_numbers_of_workers_lose_nothing);
}

/// Where tasks run in the call that pulls them, the time of a map may be over before it knows that its input is.
#[test]
fn a_map_that_has_answered_everything_is_not_late() {
    let limit = Duration::from_millis(300);
    let outlast = |nanos: u64| std::thread::sleep(Duration::from_nanos(nanos));
    for (items, is_late) in [(2, false), (3, true)] {
        let nanos = limit.as_nanos() as u64;
        let results: Vec<_> = SerialExecutor::new()
            .map(outlast, std::iter::repeat_n(nanos, items))
            .chunk_size(2)
            .timeout(limit)
            .collect();
        let errors = if is_late { vec![Err(TaskError::DeadlineExceeded)] } else { Vec::new() };
        assert_eq!(results, [vec![Ok(()), Ok(())], errors].concat());
    }
}

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

mod waits {
    use super::*;

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
        let (rayon, threads) =
            (Arc::new(RayonExecutor::new(2).unwrap()), Arc::new(ThreadPoolExecutor::new(2).unwrap()));
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
    fn is_waited_for_while_busy(
        threads: usize,
        busy: impl FnOnce(mpsc::Sender<()>, mpsc::Receiver<()>) + Send + 'static,
    ) {
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
}

/// A serial executor may be shared, too.
#[test]
fn the_end_of_a_serial_executor_waits_for_what_another_thread_runs_there() {
    let executor = SerialExecutor::new();
    let (running, runs) = mpsc::channel();
    let (release, held) = mpsc::channel();
    std::thread::scope(|scope| {
        let submits = scope.spawn(|| {
            let task = move || {
                running.send(()).unwrap();
                held.recv_timeout(LONG).is_ok()
            };
            executor.spawn(task).unwrap().result()
        });
        runs.recv_timeout(LONG).unwrap();
        let report = executor.shutdown(Shutdown::Drain, Some(Duration::ZERO));
        assert_eq!((report.running, report.is_complete()), (1, false));
        let ends = scope.spawn(|| {
            let report = executor.shutdown(Shutdown::Drain, None);
            (report.is_complete(), executor.stats().done)
        });
        release.send(()).unwrap();
        assert_eq!((submits.join().unwrap(), ends.join().unwrap()), (Ok(true), (true, 1)));
    });
    // What it refuses never counts as a task of its.
    let executor = SerialExecutor::new();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = executor.submit(square, 1);
                }
            });
        }
        let report = executor.shutdown(Shutdown::Drain, None);
        let unfit =
            (0..100_000).filter(|_| executor.state() != PoolState::Ended || executor.stats().running > 0).count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!((report.is_complete(), unfit), (true, 0));
    });
    // A task does not wait for itself, nor for the task that it is part of.
    let executor = Arc::new(SerialExecutor::new());
    let inner = Arc::clone(&executor);
    let nested = move || {
        let innermost = Arc::clone(&inner);
        let report = move || innermost.shutdown(Shutdown::Drain, None);
        inner.spawn(report).unwrap().result().unwrap().running
    };
    assert_eq!(executor.spawn(nested).unwrap().result(), Ok(2));
    assert!(executor.shutdown(Shutdown::Drain, None).is_complete());
}
