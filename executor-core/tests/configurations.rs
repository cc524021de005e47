//! A configuration bound to a function is decoded by the user's code, in a worker. Where that fails, only the task fails that
//! needed it.
#![cfg(target_os = "linux")]

mod pool_kinds;
mod tasks;

use std::{
    fs,
    net::Shutdown,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use executor_core::{
    CancelToken, Executor, OnWorkerDeath, ProcessPoolExecutor, SharedBytes, TaskError, TaskOptions, WorkerExit, partial,
};
use pool_kinds::{Kind, on_every_kind_of_pool};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tasks::hold;

executor_core::test_worker!();

on_every_kind_of_pool!(
    one_that_ends_its_worker_costs_one_task,
    one_that_ends_its_worker_is_tried_as_often_as_was_asked,
    one_that_ends_its_worker_breaks_a_strict_pool,
    one_that_never_ends_is_stopped_by_the_time_limit_and_by_kill,
    one_beyond_the_memory_limit_says_so,
    one_that_cannot_be_decoded_now_is_tried_again,
    long_ones_reach_the_tasks_around_them_whatever_is_cancelled,
    destructors_that_panic_or_never_end_cost_no_other_task,
    what_ends_every_worker_before_it_claims_a_task_ends_that_task,
);

const LONG: Duration = Duration::from_secs(60);

fn pool(kind: Kind) -> ProcessPoolExecutor {
    kind.builder().max_workers(1).grace(Duration::ZERO).build().unwrap()
}

fn square(x: u64) -> u64 {
    x * x
}

/// What happens where it is decoded, and where it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Act {
    Nothing,
    Abort,
    Exit,
    NeverEnd,
    /// Fails as long as this file does not exist, which it makes.
    FailOnce(u32),
    Panic,
}

impl Act {
    fn act(self) {
        match self {
            Self::Abort => std::process::abort(),
            Self::Exit => std::process::exit(3),
            Self::NeverEnd => loop {
                std::thread::park();
            },
            Self::Panic => panic!("this panic is part of the test"),
            Self::Nothing | Self::FailOnce(_) => {}
        }
    }
}

#[derive(Clone, Serialize)]
struct Config(Act);

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let act = Act::deserialize(deserializer)?;
        act.act();
        if let Act::FailOnce(parent) = act {
            let path = std::env::temp_dir().join(format!("executor-core-{parent}-{}", std::process::id()));
            if fs::remove_file(&path).is_err() {
                fs::write(path, "").map_err(D::Error::custom)?;
                return Err(D::Error::custom("this error is part of the test"));
            }
        }
        Ok(Self(act))
    }
}

fn add(x: u64, _: &Config) -> u64 {
    x + 1
}

fn one_that_ends_its_worker_costs_one_task(kind: Kind) {
    let pool = pool(kind);
    for (act, exit) in [(Act::Abort, WorkerExit::Signal(6)), (Act::Exit, WorkerExit::Code(3))] {
        let before = pool.submit(square, 3).unwrap();
        let dead = pool.submit(partial(add, Config(act)), 1).unwrap();
        let after = pool.submit(square, 4).unwrap();
        assert_eq!((before.result(), after.result()), (Ok(9), Ok(16)));
        assert!(matches!(dead.result(), Err(TaskError::WorkerDied { exit: how, .. }) if how == exit));
    }
    assert_eq!(pool.stats().died, 2);
    // Of a chunk each item is tried.
    let outcomes: Vec<_> = pool.map(partial(add, Config(Act::Abort)), 0..3).chunk_size(3).collect();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(TaskError::WorkerDied { .. }))), "{outcomes:?}");
    assert_eq!((outcomes.len(), pool.stats().died), (3, 5));
}

fn one_that_ends_its_worker_is_tried_as_often_as_was_asked(kind: Kind) {
    let pool = kind.builder().max_workers(1).retry(2).build().unwrap();
    let dead = pool.submit(partial(add, Config(Act::Abort)), 1).unwrap();
    assert!(matches!(dead.result(), Err(TaskError::WorkerDied { .. })));
    assert_eq!((pool.stats().died, pool.submit(square, 3).unwrap().result()), (3, Ok(9)));
}

fn one_that_ends_its_worker_breaks_a_strict_pool(kind: Kind) {
    let pool = kind.builder().max_workers(1).on_worker_death(OnWorkerDeath::BreakPool).build().unwrap();
    let dead = pool.submit(partial(add, Config(Act::Abort)), 1).unwrap();
    assert!(matches!(dead.result(), Err(TaskError::WorkerDied { .. } | TaskError::PoolBroken { .. })));
    assert!(matches!(pool.submit(square, 1).unwrap().result(), Err(TaskError::PoolBroken { .. })));
}

fn one_that_never_ends_is_stopped_by_the_time_limit_and_by_kill(kind: Kind) {
    let pool = pool(kind);
    let limit = TaskOptions::new().timeout(Duration::from_millis(50));
    let late = pool.submit_with(partial(add, Config(Act::NeverEnd)), 1, limit).unwrap();
    assert!(matches!(late.result(), Err(TaskError::TimedOut { .. })));
    assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));

    let killed = pool.submit(partial(add, Config(Act::NeverEnd)), 1).unwrap();
    while !killed.running() {
        std::thread::yield_now();
    }
    assert!(!killed.cancel() && killed.kill());
    assert_eq!(killed.result(), Err(TaskError::Cancelled));
    assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
}

fn one_beyond_the_memory_limit_says_so(kind: Kind) {
    fn length(x: u64, config: &(String,)) -> u64 {
        x + config.0.len() as u64
    }
    let pool = kind.builder().max_workers(1).memory_limit(32 << 20).build().unwrap();
    let large = pool.submit(partial(length, ("x".repeat(40 << 20),)), 1).unwrap();
    assert_eq!(large.result(), Err(TaskError::MemoryLimit));
    assert_eq!((pool.stats().died, pool.submit(square, 3).unwrap().result()), (1, Ok(9)));
}

fn one_that_cannot_be_decoded_now_is_tried_again(kind: Kind) {
    let pool = pool(kind);
    let task = partial(add, Config(Act::FailOnce(std::process::id())));
    let outcome = pool.submit(task.clone(), 1).unwrap().result();
    assert!(matches!(&outcome, Err(TaskError::Decode { what, .. }) if what == "configuration"), "{outcome:?}");
    assert_eq!(pool.submit(task, 1).unwrap().result(), Ok(2));
}

/// They travel over another channel than the records before and behind them.
fn long_ones_reach_the_tasks_around_them_whatever_is_cancelled(kind: Kind) {
    type Value = (u64, Vec<SharedBytes>, String);
    fn weigh(argument: Value, config: &Value) -> u64 {
        let weigh = |(x, pieces, text): &Value| {
            let bytes = pieces.iter().flat_map(|piece| piece.iter());
            x + bytes.map(|byte| u64::from(*byte)).sum::<u64>() + text.len() as u64
        };
        weigh(&argument) + weigh(config)
    }
    let pool = pool(kind);
    // Tasks are short, so that several are in flight at the worker.
    for x in 0..200 {
        assert_eq!(pool.submit(square, x).unwrap().result(), Ok(x * x));
    }
    let mut random = 7_u64;
    let mut next = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for round in 0..30 {
        let token = CancelToken::new();
        let held = pool.submit(hold, token.clone()).unwrap();
        let mut expected = Vec::new();
        for _ in 0..8 {
            let mut value = |x| {
                let length = [10, 70_000, 300_000][next(3) as usize];
                let pieces: Vec<_> = (0..next(3)).map(|_| SharedBytes::from(vec![1; 65_536])).collect();
                (x, pieces, "x".repeat(length))
            };
            let (argument, config) = (value(round), value(1));
            let sum = weigh(argument.clone(), &config);
            let future = pool.submit(partial(weigh, config), argument).unwrap();
            let is_cancelled = next(3) == 0 && future.cancel();
            expected.push((future, if is_cancelled { Err(TaskError::Cancelled) } else { Ok(sum) }));
        }
        token.cancel();
        held.result().unwrap();
        for (future, outcome) in expected {
            assert_eq!(future.result(), outcome);
        }
    }
    assert_eq!(pool.stats().died, 0);
}

/// Acts where it is dropped, in a worker.
struct Dropped(Act);

impl Serialize for Dropped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Dropped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Act::deserialize(deserializer).map(Self)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if executor_core::in_worker() {
            self.0.act();
        }
    }
}

fn destructors_that_panic_or_never_end_cost_no_other_task(kind: Kind) {
    fn take(x: u64, _: &Dropped) -> u64 {
        x
    }
    let pool = kind.builder().max_workers(1).grace(Duration::ZERO).task_timeout(LONG).build().unwrap();
    for act in [Act::Panic, Act::NeverEnd] {
        for x in 0..100 {
            // A worker keeps some, and then lets the oldest go.
            let act = if x % 8 == 0 { act } else { Act::Nothing };
            assert_eq!(pool.submit(partial(take, Dropped(act)), x).unwrap().result(), Ok(x));
        }
    }
    assert_eq!(pool.stats().died, 0);
}

/// A worker cannot be told of shared memory any more: it ends when it is told, before it has begun anything.
fn deafen(_: u64) {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    let is_socket = |path| fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
    for entry in entries.into_iter().filter(|entry| is_socket(entry.path())) {
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        // SAFETY: the process has it open until it ends.
        let socket: OwnedFd = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().unwrap();
        let _ = UnixStream::from(socket).shutdown(Shutdown::Read);
    }
}

fn what_ends_every_worker_before_it_claims_a_task_ends_that_task(kind: Kind) {
    let pool = kind.builder().max_workers(1).initializer(deafen, 1).build().unwrap();
    let first = pool.submit(|bytes: SharedBytes| bytes.len(), SharedBytes::from(vec![1; 1 << 20])).unwrap();
    assert!(matches!(first.result(), Err(TaskError::WorkerDied { .. })));
    // It may look like kills from outside, of which more are tolerated.
    assert!(pool.stats().died <= 100);
}

/// On one kind of pool only: it takes gibibytes, and no worker sees any of them.
#[test]
fn one_that_is_too_long_is_refused_where_it_is_submitted() {
    struct Bulk(usize);
    impl Serialize for Bulk {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&vec![0; self.0])
        }
    }
    impl<'de> Deserialize<'de> for Bulk {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(<&[u8]>::deserialize(deserializer)?.len()))
        }
    }
    fn length(x: usize, config: &Bulk) -> usize {
        x + config.0
    }
    let pool = ProcessPoolExecutor::new(1).unwrap();
    match pool.submit(partial(length, Bulk((512 << 20) + 1)), 1).unwrap().result() {
        Err(TaskError::Encode { what, cause }) => {
            let cause = cause.to_string();
            assert!(what == "configuration" && cause.starts_with("it is longer than 512 MiB"), "{what}: {cause}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.stats().workers, 0);
}
