//! `bytes::Bytes` crosses to worker processes like a vector: all at once, and through shared memory where there are many.
#![cfg(unix)]

mod pool_kinds;

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use executor_core::{Executor, SerialExecutor, ThreadPoolExecutor};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    bytes_of_every_length_arrive,
    many_at_once_do_not_wait_for_memory,
    items_of_a_map_and_parts_of_others_arrive,
    many_bytes_come_through_shared_memory,
);

const MIB: usize = 1 << 20;

fn pattern(length: usize) -> Bytes {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn reverse(bytes: Bytes) -> Bytes {
    bytes.iter().rev().copied().collect()
}

/// Held by tests that use up the shared memory that arguments of this process may have, and by those that count on some.
static SHARED_MEMORY: Mutex<()> = Mutex::new(());

fn bytes_of_every_length_arrive(kind: Kind) {
    let _all_of_it = SHARED_MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = kind.builder().max_workers(2).build().unwrap();
    for length in [0, 1, 100, 65_519, 65_535, 65_536, 65_537, MIB, 5 * MIB, 33 * MIB] {
        let bytes = pattern(length);
        let result = pool.submit(reverse, bytes.clone()).unwrap().result().unwrap();
        assert!(result.iter().rev().eq(bytes.iter()), "{length} bytes did not come back");
        // A part of something larger.
        let part = bytes.slice(length / 3..);
        let result = pool.submit(reverse, part.clone()).unwrap().result().unwrap();
        assert!(result.iter().rev().eq(part.iter()), "a part of {length} bytes did not come back");
    }
}

fn many_at_once_do_not_wait_for_memory(kind: Kind) {
    let _all_of_it = SHARED_MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = kind.builder().max_workers(2).build().unwrap();
    let bytes = pattern(MIB);
    // More than may be in shared memory at the same time: the others wait as what they are.
    let futures: Vec<_> = (0..80).map(|_| pool.submit(|bytes: Bytes| bytes.len(), bytes.clone()).unwrap()).collect();
    assert!(futures.into_iter().all(|future| future.result() == Ok(MIB)));
}

fn items_of_a_map_and_parts_of_others_arrive(kind: Kind) {
    let pool = kind.builder().max_workers(2).build().unwrap();
    let results: Vec<_> = pool.map(reverse, (0..20).map(|index| pattern(70_000 + index))).chunk_size(3).collect();
    for (index, result) in results.into_iter().enumerate() {
        assert!(result.unwrap().iter().rev().eq(pattern(70_000 + index).iter()));
    }
    let both = |(one, other): (Bytes, Vec<Bytes>)| (one.len(), other);
    let argument = (pattern(10), vec![pattern(70_000); 2]);
    assert_eq!(pool.submit(both, argument.clone()).unwrap().result(), Ok((10, argument.1)));
}

/// A worker has memory of the parent as long as the argument.
fn many_bytes_come_through_shared_memory(kind: Kind) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let _some_of_it = SHARED_MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = kind.builder().max_workers(1).build().unwrap();
    let by_reference = |bytes: Bytes| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let length = |line: &str| {
            let (start, end) = line.split_whitespace().next()?.split_once('-')?;
            Some(usize::from_str_radix(end, 16).ok()? - usize::from_str_radix(start, 16).ok()?)
        };
        let lines = maps.lines().filter(|line| line.contains("memfd:executor-core") && line.contains("r--s"));
        lines.filter_map(length).filter(|length| *length >= bytes.len()).count()
    };
    assert_eq!(pool.submit(by_reference, pattern(2 * MIB)).unwrap().result(), Ok(1));
}

#[test]
fn in_one_process_they_are_passed_as_they_are() {
    let address = |bytes: Bytes| bytes.as_ptr() as usize;
    let bytes = pattern(MIB);
    assert_eq!(SerialExecutor::new().submit(address, bytes.clone()).unwrap().result(), Ok(address(bytes.clone())));
    let threads = ThreadPoolExecutor::new(1).unwrap();
    assert_eq!(threads.submit(address, bytes.clone()).unwrap().result(), Ok(address(bytes)));
}
