//! executor.py: submit and map, on every executor.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use executor_core::{
    BuildError, Executor, ProcessPoolExecutor, RayonExecutor, Shutdown, TaskError, ThreadPoolExecutor, partial,
};
use serde::{Deserialize, Serialize};

use crate::{
    gate::{Gate, pass},
    kinds::{Kind, LONG, Processes, Rayon, Threads},
    tasks::{power, square},
    tracked::{self, Tracked},
};

pub(crate) fn test_submit(kind: impl Kind) {
    let pool = kind.pool(2);
    assert_eq!(pool.submit(power, (2, 8)).unwrap().result(), Ok(256));
}

/// Names that are special to Python's `submit`, and are names like any other here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Named {
    self_: u8,
    fn_: String,
    rest: Option<Vec<i64>>,
}

pub(crate) fn test_submit_keyword(kind: impl Kind) {
    let pool = kind.pool(2);
    let named = Named { self_: 1, fn_: "2".to_owned(), rest: Some(vec![-3, i64::MAX]) };
    let echo = |named: Named, fn_: u8, (): ()| (named, fn_);
    assert_eq!(pool.submit(echo, (named.clone(), 4, ())).unwrap().result(), Ok((named.clone(), 4)));
    let bound = partial(|fn_: u8, named: &Named| (named.clone(), fn_), named.clone());
    assert_eq!(pool.submit(bound, 5).unwrap().result(), Ok((named, 5)));
}

pub(crate) fn test_map(kind: impl Kind) {
    let pool = kind.pool(2);
    let input = || (0..10).zip(0..10);
    let expected: Vec<u64> = input().map(|(base, exponent)| power(base, exponent)).collect();
    assert_eq!(pool.map(power, input()).into_vec().unwrap(), expected);
    assert_eq!(pool.map(power, input()).chunk_size(3).into_vec().unwrap(), expected);
}

pub(crate) fn test_map_exception(kind: impl Kind) {
    let pool = kind.pool(2);
    let divide = |dividend: u64, divisor: u64| dividend / divisor;
    let input = [(1, 1), (4, 2), (5, 0), (6, 2)];
    let mut map = pool.map(divide, input);
    assert_eq!((map.next(), map.next()), (Some(Ok(1)), Some(Ok(2))));
    assert!(matches!(map.next(), Some(Err(TaskError::Panicked { message, .. })) if message.contains("divide by zero")));
    assert_eq!(map.next(), Some(Ok(3)), "one item's error is that item's alone");
    let stopped: Vec<_> = pool.map(divide, input).stop_on_error(true).collect();
    assert_eq!(stopped.len(), 3, "which is how Python's map ends");
}

pub(crate) fn test_map_timeout(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let limit = Duration::from_millis(100);
    // Where tasks run within `submit`, the time passes there.
    let last = pool.map(square, std::iter::repeat(2)).timeout(limit).last();
    assert_eq!(last, Some(Err(TaskError::DeadlineExceeded)));
    if !kind.runs_in_submit() {
        let open = Gate::opened();
        let keys = [open.key(), open.key(), gate.key()];
        let mut map = pool.map(pass, keys).chunk_size(1).timeout(limit);
        let results: Vec<_> = map.by_ref().collect();
        let (last, earlier) = results.split_last().unwrap();
        assert_eq!(last, &Err(TaskError::DeadlineExceeded));
        assert!(earlier.len() <= 2 && earlier.iter().all(Result::is_ok), "{earlier:?}");
        assert_eq!(map.next(), None);
    }
}

pub(crate) fn test_map_buffersize_value_validation(kind: impl Kind) {
    let pool = kind.pool(1);
    let refused = |make: &dyn Fn()| catch_unwind(AssertUnwindSafe(make)).is_err();
    assert!(refused(&|| drop(pool.map(square, 0..3).buffer_size(0))));
    assert!(!refused(&|| drop(pool.map(square, 0..3).buffer_size(1))));
}

pub(crate) fn test_map_buffersize(kind: impl Kind) {
    let pool = kind.pool(2);
    let expected: Vec<u64> = (0..4).map(square).collect();
    for buffer in [1, 2, 4, 8] {
        assert_eq!(pool.map(square, 0..4).buffer_size(buffer).into_vec().unwrap(), expected, "{buffer}");
    }
}

pub(crate) fn test_map_buffersize_on_multiple_iterables(kind: impl Kind) {
    let pool = kind.pool(2);
    let expected: Vec<u64> = (0..4).map(|x| power(x, 4 - x as u32)).collect();
    for buffer in [1, 2, 4, 8] {
        let input = (0..4).zip((1..5).rev());
        assert_eq!(pool.map(power, input).buffer_size(buffer).into_vec().unwrap(), expected, "{buffer}");
    }
}

pub(crate) fn test_map_buffersize_on_infinite_iterable(kind: impl Kind) {
    let pool = kind.pool(2);
    let mut map = pool.map(square, 0..).buffer_size(2);
    for x in 0..100 {
        assert_eq!(map.next(), Some(Ok(x * x)));
    }
}

pub(crate) fn test_map_buffersize_on_multiple_infinite_iterables(kind: impl Kind) {
    let pool = kind.pool(2);
    let mut map = pool.map(|a: u64, b: u64| a + b, (0..).zip(10..)).buffer_size(2);
    for x in 0..100 {
        assert_eq!(map.next(), Some(Ok(2 * x + 10)));
    }
}

pub(crate) fn test_map_buffersize_on_empty_iterable(kind: impl Kind) {
    let pool = kind.pool(2);
    assert_eq!(pool.map(square, []).buffer_size(2).next(), None);
}

pub(crate) fn test_map_buffersize_when_buffer_is_full(kind: impl Kind) {
    let pool = kind.pool(2);
    let pulled = AtomicUsize::new(0);
    let input = (0..).inspect(|_| _ = pulled.fetch_add(1, Ordering::Relaxed));
    let mut map = pool.map(square, input).buffer_size(4).start();
    assert_eq!(pulled.load(Ordering::Relaxed), 4);
    assert_eq!(map.next(), Some(Ok(0)));
    assert!(pulled.load(Ordering::Relaxed) <= 5, "one more for the one that was yielded");
}

pub(crate) fn test_shutdown_race_issue12456(kind: impl Kind) {
    let pool = kind.pool(5);
    let map = pool.map(|x: u64| x.to_string(), [2; 6]).start();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(map.collect::<Result<Vec<_>, _>>().unwrap(), ["2"; 6]);
}

pub(crate) fn test_no_stale_references(kind: impl Kind) {
    let pool = kind.pool(1);
    let gate = Gate::new();
    let [argument, result, cancelled] = [(); 3].map(|()| tracked::new_key());
    drop(pool.submit(|value: Tracked| value.key(), Tracked::new(argument)).unwrap());
    drop(pool.submit(Tracked::new, result).unwrap());
    // With one worker, the others have been run when this one has.
    assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
    tracked::wait_until_gone(argument);
    tracked::wait_until_gone(result);
    if !kind.runs_in_submit() {
        let _running = pool.submit(pass, gate.key()).unwrap();
        gate.wait_for(1);
        let queued = pool.submit(|value: Tracked| value.key(), Tracked::new(cancelled)).unwrap();
        assert!(queued.cancel());
        tracked::wait_until_gone(cancelled);
    }
}

/// Each executor that has workers.
pub(crate) trait RefusesNoWorkers: Kind {
    fn with_no_workers(self) -> Result<Self::Pool, BuildError>;
}

impl RefusesNoWorkers for Threads {
    fn with_no_workers(self) -> Result<ThreadPoolExecutor, BuildError> {
        ThreadPoolExecutor::new(0)
    }
}

impl RefusesNoWorkers for Processes {
    fn with_no_workers(self) -> Result<ProcessPoolExecutor, BuildError> {
        self.builder(0).build()
    }
}

impl RefusesNoWorkers for Rayon {
    fn with_no_workers(self) -> Result<RayonExecutor, BuildError> {
        RayonExecutor::builder().max_workers(0).build()
    }
}

pub(crate) fn test_max_workers_negative(kind: impl RefusesNoWorkers) {
    assert!(matches!(kind.with_no_workers(), Err(BuildError::NoWorkers)));
}

pub(crate) fn test_free_reference(kind: impl Kind) {
    let pool = kind.pool(2);
    let keys: Vec<u64> = (0..10).map(|_| tracked::new_key()).collect();
    for result in pool.map(Tracked::new, keys).chunk_size(3) {
        let value = result.unwrap();
        let key = value.key();
        assert_eq!(tracked::alive(key), 1);
        drop(value);
        assert_eq!(tracked::alive(key), 0, "the map or the executor kept it");
    }
}
