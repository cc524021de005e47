//! Values that cannot travel or hardly can, and items of a chunk that fail.

use std::time::Duration;

use executor_core::{Executor, ProcessPoolExecutor, TaskError, WorkerExit, partial};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use crate::{
    exit_of, pool,
    pool_kinds::{Kind, on_every_kind_of_pool},
};

on_every_kind_of_pool!(
    a_time_limit_is_for_each_item_of_a_chunk,
    an_item_that_ends_when_it_is_told_to_leaves_its_time_limit_to_no_other_one,
    values_that_cannot_travel_cost_their_own_task,
    of_a_chunk_only_the_item_that_was_running_is_lost,
    a_chunk_with_items_that_cannot_be_encoded_or_panic_keeps_the_others,
    a_chunk_with_results_that_cannot_be_decoded_keeps_the_others,
    large_values_travel_both_ways,
    more_configurations_than_a_worker_keeps,
);

/// Encodes into as many bytes as it is told, and reads any number.
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

/// On one kind of pool only: it takes a gibibyte or two.
#[test]
fn values_that_are_too_long_cost_only_themselves() {
    const LONGEST: usize = 512 << 20;
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let reason = |outcome: Result<usize, TaskError>| match outcome {
        Err(TaskError::Encode { what, cause }) => format!("{what}: {cause}"),
        other => format!("{other:?}"),
    };
    let sizes: Vec<_> = pool.map(Bulk, [1, LONGEST + 1, 2]).chunk_size(3).map(|bulk| bulk.map(|bulk| bulk.0)).collect();
    assert_eq!((&sizes[0], &sizes[2]), (&Ok(1), &Ok(2)));
    assert_eq!(reason(sizes[1].clone()), "result: it is longer than 512 MiB: use SharedBytes::with_len");
    let single = pool.submit(Bulk, LONGEST + 1).unwrap().result().map(|bulk| bulk.0);
    assert_eq!(reason(single), "result: it is longer than 512 MiB: use SharedBytes::with_len");

    let length = |bulk: Bulk| bulk.0;
    let items = [1, LONGEST / 2, LONGEST / 2, LONGEST + 1, 2].map(Bulk);
    let lengths: Vec<_> = pool.map(length, items).chunk_size(5).collect();
    assert_eq!((&lengths[0], &lengths[1], &lengths[4]), (&Ok(1), &Ok(LONGEST / 2), &Ok(2)));
    assert_eq!(reason(lengths[2].clone()), "argument: its chunk is longer than 512 MiB: set a smaller chunk_size");
    assert_eq!(reason(lengths[3].clone()), "argument: it is longer than 512 MiB: use SharedBytes");
    assert_eq!(pool.stats().died, 0);
}

fn a_time_limit_is_for_each_item_of_a_chunk(kind: Kind) {
    // The items before the endless one take longer than the limit together, and none of them does.
    let limit = Duration::from_millis(800);
    let pool = kind.builder().max_workers(1).grace(Duration::ZERO).task_timeout(limit).build().unwrap();
    let work = |item: u64| {
        std::thread::sleep(Duration::from_millis(200));
        if item == 5 {
            loop {
                std::thread::park();
            }
        }
        item
    };
    let results: Vec<_> = pool.map(work, 0..8).chunk_size(8).collect();
    for (item, result) in results.into_iter().enumerate() {
        match result {
            Err(TaskError::TimedOut { ran_for }) if item == 5 => assert!(ran_for >= limit),
            other => assert_eq!(other, Ok(item as u64)),
        }
    }
    assert_eq!(pool.stats().died, 0);
}

/// The first item ends when it gets SIGTERM, as a program does that shuts down in order; the next one never ends.
fn an_item_that_ends_when_it_is_told_to_leaves_its_time_limit_to_no_other_one(kind: Kind) {
    let work = |item: u64| {
        if item == 0 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let kind = tokio::signal::unix::SignalKind::terminate();
                tokio::signal::unix::signal(kind).unwrap().recv().await;
            });
        }
        if item == 1 {
            loop {
                std::thread::park();
            }
        }
        item
    };
    let limit = Duration::from_millis(300);
    let pool = kind.builder().max_workers(1).grace(Duration::from_secs(2)).task_timeout(limit).build().unwrap();
    let mut results: Vec<_> = pool.map(work, 0..4).chunk_size(4).collect();
    let died = results.remove(1).unwrap_err();
    assert_eq!((results, exit_of(died)), (vec![Ok(0), Ok(2), Ok(3)], WorkerExit::Signal(9)));
}

/// Cannot be written (0), cannot be read back (1), panics when it is read (9), or is none of this.
#[derive(Debug, PartialEq)]
struct Odd(u8);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 0 { Err(S::Error::custom("will not be written")) } else { serializer.serialize_u8(self.0) }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Err(D::Error::custom("will not be read")),
            9 => panic!("nine"),
            other => Ok(Self(other)),
        }
    }
}

fn values_that_cannot_travel_cost_their_own_task(kind: Kind) {
    let pool = pool(kind, 1);
    let result = |kind: u8| pool.submit(|kind: u8| Odd(kind), kind).unwrap().result();
    let argument = |kind: u8| pool.submit(|odd: Odd| odd.0, Odd(kind)).unwrap().result();
    assert!(matches!(result(0), Err(TaskError::Encode { what, .. }) if what == "result"));
    assert!(matches!(result(1), Err(TaskError::Decode { what, .. }) if what == "result"));
    assert_eq!(result(2), Ok(Odd(2)));
    assert!(matches!(argument(0), Err(TaskError::Encode { what, .. }) if what == "argument"));
    assert!(matches!(argument(1), Err(TaskError::Decode { what, .. }) if what == "argument"));
    assert_eq!(argument(2), Ok(2));
    assert_eq!(pool.stats().died, 0, "nothing of this harms a worker");
}

fn of_a_chunk_only_the_item_that_was_running_is_lost(kind: Kind) {
    let pool = pool(kind, 2);
    let results: Vec<_> =
        pool.map(|x: u64| if x == 13 { std::process::abort() } else { x * 2 }, 0..40).chunk_size(10).collect();
    for (x, result) in results.into_iter().enumerate() {
        if x == 13 {
            assert_eq!(exit_of(result.unwrap_err()), WorkerExit::Signal(6));
        } else {
            assert_eq!(result, Ok(2 * x as u64));
        }
    }
}

fn a_chunk_with_items_that_cannot_be_encoded_or_panic_keeps_the_others(kind: Kind) {
    let pool = pool(kind, 1);
    let items = [2, 0, 3, 1, 4].map(Odd);
    let results: Vec<_> =
        pool.map(|odd: Odd| if odd.0 == 3 { panic!("three") } else { odd.0 }, items).chunk_size(5).collect();
    assert_eq!((&results[0], &results[4]), (&Ok(2), &Ok(4)));
    assert!(matches!(results[1], Err(TaskError::Encode { .. })));
    assert!(matches!(&results[2], Err(TaskError::Panicked { message, .. }) if message == "three"));
    assert!(matches!(results[3], Err(TaskError::Decode { .. })));
}

fn a_chunk_with_results_that_cannot_be_decoded_keeps_the_others(kind: Kind) {
    let pool = pool(kind, 1);
    let results: Vec<_> = pool.map(|kind: u8| Odd(kind), [2, 1, 3, 9, 0, 4]).chunk_size(6).collect();
    assert!(matches!(&results[1], Err(TaskError::Decode { what, .. }) if what == "result"));
    assert!(
        matches!(&results[3], Err(TaskError::Decode { what, cause }) if what == "result" && cause.to_string().contains("nine"))
    );
    assert!(matches!(&results[4], Err(TaskError::Encode { what, .. }) if what == "result"));
    assert_eq!([0, 2, 5].map(|index: usize| results[index].as_ref()), [Ok(&Odd(2)), Ok(&Odd(3)), Ok(&Odd(4))]);
}

fn large_values_travel_both_ways(kind: Kind) {
    let pool = pool(kind, 2);
    let reverse = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let bytes: Vec<u8> = (0..8 << 20).map(|index| index as u8).collect();
    let futures: Vec<_> = (0..3).map(|_| pool.submit(reverse, bytes.clone()).unwrap()).collect();
    let expected: Vec<u8> = bytes.iter().rev().copied().collect();
    for future in futures {
        assert!(future.result().unwrap() == expected);
    }
}

fn more_configurations_than_a_worker_keeps(kind: Kind) {
    fn add(x: u64, config: &u64) -> u64 {
        x + config
    }
    let pool = pool(kind, 1);
    let partials: Vec<_> = (0..150).map(|config| partial(add, config)).collect();
    for round in 0..2 {
        for (config, partial) in partials.iter().enumerate() {
            let answer = pool.submit(partial.clone(), round).unwrap().result();
            assert_eq!(answer, Ok(round + config as u64));
        }
    }
}
