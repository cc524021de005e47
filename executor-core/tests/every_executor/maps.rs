//! Maps: their order, their options, their time, and their input.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use executor_core::{
    Executor, Payload, PoolState, SerialExecutor, Shutdown, ShutdownReport, Stats, Submit, SubmitError, Task,
    TaskError, TaskFuture, TaskOptions, TryMapError, partial,
};

use crate::{
    LONG, picky,
    pool_kinds::{Kind, on_every_kind_of_pool},
    square,
};

on_every_executor!(
    map_keeps_the_order_and_a_panic_keeps_its_neighbors,
    map_variants,
    map_takes_no_more_input_than_its_buffer,
    try_map_ends_at_the_first_error_of_either_kind,
    a_bound_configuration_reaches_every_task,
    options_of_a_map_that_has_begun_lose_nothing,
    an_input_that_panics_leaks_nothing,
    a_chunk_without_items_runs_nothing,
);

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

fn a_chunk_without_items_runs_nothing(executor: impl Executor) {
    let dies = |(): ()| -> u64 { std::process::abort() };
    let submit = || Submit::submit_chunk(executor.handle(), dies, Vec::new().into(), TaskOptions::new());
    let output = submit().unwrap().result().unwrap();
    assert_eq!((output.values, output.errors), (vec![], vec![]));
    assert_eq!((executor.stats().submitted(), executor.stats().done), (1, 1));
    executor.shutdown(Shutdown::Drain, None);
    assert!(matches!(submit(), Err(SubmitError::ShutDown)));
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

/// An executor of a user's whose workers come and go: it has none at the moment. What it is given runs later, or here, at once.
#[derive(Clone)]
struct NoWorkersYet(<SerialExecutor as Executor>::Handle);

impl Submit for NoWorkersYet {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.0.submit_task(task, args, options)
    }

    fn max_workers(&self) -> usize {
        0
    }
}

impl Executor for NoWorkersYet {
    type Handle = Self;

    fn handle(&self) -> &Self {
        self
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn state(&self) -> PoolState {
        PoolState::Active
    }

    fn shutdown(&self, _: Shutdown, _: Option<Duration>) -> ShutdownReport {
        ShutdownReport::default()
    }
}

#[test]
fn a_map_of_an_executor_without_workers_loses_nothing() {
    let serial = SerialExecutor::new();
    let executor = NoWorkersYet(serial.handle().clone());
    let all: Result<Vec<u64>, TaskError> = Ok((0..10).map(square).collect());
    assert_eq!(executor.map(square, 0..10).into_vec(), all);
    assert_eq!(executor.map(square, 0..10).unordered().collect::<Result<Vec<_>, _>>(), all);
    assert_eq!(executor.map(square, 0..10).start().collect::<Result<Vec<_>, _>>(), all);
}
