//! Large values in worker processes: by reference, for as long as they have a holder, whichever process dies meanwhile.
#![cfg(target_os = "linux")]

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use executor_core::{
    Executor, ProcessPoolExecutor, SerialExecutor, SharedBytes, StartMethod, TaskError, ThreadPoolExecutor, Transport,
    partial,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

executor_core::test_worker!();

/// One `#[test]` per start method and transport for each scenario.
macro_rules! on_every_kind_of_pool {
    ($($scenario:ident),* $(,)?) => {
        on_every_kind_of_pool!(@ spawn_rings, Spawn, SharedMemory, $($scenario),*);
        on_every_kind_of_pool!(@ spawn_socket, Spawn, Socket, $($scenario),*);
        on_every_kind_of_pool!(@ fork_server_rings, ForkServer, SharedMemory, $($scenario),*);
        on_every_kind_of_pool!(@ fork_server_socket, ForkServer, Socket, $($scenario),*);
    };
    (@ $kind:ident, $method:ident, $transport:ident, $($scenario:ident),*) => {
        mod $kind {
            $(#[test] fn $scenario() {
                let _alone = super::alone();
                super::$scenario(&super::Kind(super::StartMethod::$method, super::Transport::$transport));
            })*
        }
    };
}

on_every_kind_of_pool!(
    bytes_cross_by_reference_both_ways,
    a_worker_has_a_piece_before_it_is_sent,
    vectors_of_every_length_arrive,
    a_task_may_keep_bytes_longer_than_the_program,
    a_worker_that_is_killed_holds_nothing,
    a_task_that_is_run_again_gets_its_bytes_again,
    a_configuration_is_given_to_each_worker,
    many_submits_at_once_do_not_wait_for_memory,
    more_segments_than_there_are_files,
    cancelled_tasks_hold_nothing,
    chunks_carry_references_both_ways,
    a_chunk_that_several_workers_answer_has_the_segments_of_each,
    a_forged_reference_is_an_error,
);

struct Kind(StartMethod, Transport);

impl Kind {
    fn pool(&self, workers: usize) -> ProcessPoolExecutor {
        let builder = ProcessPoolExecutor::builder().start_method(self.0).transport(self.1).retry(1);
        builder.max_workers(workers).build().unwrap()
    }
}

/// Scenarios count what the whole process has, so they come one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const MIB: usize = 1 << 20;
/// More than is kept for the next use, so that it is given back as soon as it has no holder.
const LARGE: usize = 33 * MIB;

/// Bytes of a preallocated segment, which workers are given before there is a value in it.
const PREALLOCATED: usize = 256 * MIB;

fn filled(length: usize, byte: u8) -> SharedBytes {
    SharedBytes::with_len(length, |bytes| bytes.fill(byte))
}

/// Files of shared memory that this process has open, except preallocated segments, which have no pages.
fn files() -> usize {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("memfd:executor-core"))
    };
    let is_preallocated =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.len() as usize == PREALLOCATED && file.blocks() == 0);
    entries.filter(|path| is_ours(path) && !is_preallocated(path)).count()
}

/// Mappings of shared memory in a process that are as long as `LARGE` at least: the numbers of their files, their lengths,
/// and how much of them has been touched.
fn mappings(pid: &str) -> Vec<(u64, usize, usize)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let mut mappings = Vec::new();
    let mut is_ours = false;
    for line in maps.lines() {
        if let Some((start, end)) = range(line) {
            is_ours = line.contains("memfd:executor-core") && end - start >= LARGE;
            if is_ours {
                mappings.push((line.split_whitespace().nth(4).unwrap().parse().unwrap(), end - start, 0));
            }
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| is_ours) {
            mappings.last_mut().unwrap().2 = 1024 * size.trim().trim_end_matches(" kB").parse::<usize>().unwrap();
        }
    }
    mappings
}

/// Bytes of shared memory that a process has touched and not unmapped, as far as it is as long as `LARGE` at least.
fn mapped(pid: &str) -> usize {
    mappings(pid).iter().map(|(_, _, touched)| touched).sum()
}

fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

/// The file that is mapped where these bytes are: the same number in two processes means the same memory.
fn inode(bytes: &[u8]) -> u64 {
    let at = bytes.as_ptr() as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| range(line).is_some_and(|(start, end)| (start..end).contains(&at))).unwrap();
    line.split_whitespace().nth(4).unwrap().parse().unwrap()
}

/// Waits for a step of another process: there is no event between the two.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} has not come true");
        thread::yield_now();
    }
}

fn look(bytes: SharedBytes) -> (u64, u8, usize) {
    (inode(&bytes), bytes[bytes.len() - 1], bytes.len())
}

fn echo(bytes: SharedBytes) -> SharedBytes {
    bytes
}

fn make((length, byte): (usize, u8)) -> (SharedBytes, u64) {
    let bytes = filled(length, byte);
    let inode = inode(&bytes);
    (bytes, inode)
}

fn bytes_cross_by_reference_both_ways(kind: &Kind) {
    let pool = kind.pool(2);
    let bytes = filled(MIB + 5, 7);
    for _ in 0..4 {
        assert_eq!(pool.submit(look, bytes.clone()).unwrap().result(), Ok((inode(&bytes), 7, MIB + 5)));
    }
    let back = pool.submit(echo, bytes.clone()).unwrap().result().unwrap();
    assert_eq!((inode(&back), &back), (inode(&bytes), &bytes));
    let (made, inode_there) = pool.submit(make, (MIB, 9)).unwrap().result().unwrap();
    assert_eq!((inode(&made), made.len(), made[MIB - 1]), (inode_there, MIB, 9));
    // What one worker has made, another one can have.
    for _ in 0..4 {
        assert_eq!(pool.submit(look, made.clone()).unwrap().result(), Ok((inode_there, 9, MIB)));
    }
    // Bytes that are not made in shared memory are put there once.
    let vector = SharedBytes::from(vec![3; MIB]);
    let first = pool.submit(look, vector.clone()).unwrap().result().unwrap();
    assert_eq!(pool.submit(look, vector).unwrap().result(), Ok(first));
    // Few bytes are copied.
    let few = SharedBytes::from(&b"few"[..]);
    assert_eq!(pool.submit(echo, few.clone()).unwrap().result(), Ok(few));
}

fn a_worker_has_a_piece_before_it_is_sent(kind: &Kind) {
    let pool = kind.pool(1);
    let pid = pool.submit(keep, filled(MIB, 1)).unwrap().result().unwrap().to_string();
    let preallocated = || mappings(&pid).iter().filter(|(_, length, _)| *length == PREALLOCATED).count();
    for byte in 0..10 {
        wait_until("the worker has preallocated segments", || preallocated() >= 4);
        let bytes = filled(LARGE, byte);
        assert!(mappings(&pid).iter().any(|(file, _, _)| *file == inode(&bytes)));
        assert_eq!(pool.submit(look, bytes.clone()).unwrap().result(), Ok((inode(&bytes), byte, LARGE)));
    }
    // A value that is longer than a preallocated segment has a file of its own.
    let bytes = SharedBytes::with_len(PREALLOCATED + 1, |bytes| bytes[PREALLOCATED] = 3);
    assert_eq!(pool.submit(look, bytes.clone()).unwrap().result(), Ok((inode(&bytes), 3, PREALLOCATED + 1)));
}

fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

fn vectors_of_every_length_arrive(kind: &Kind) {
    let pool = kind.pool(2);
    for length in [0, 1, 8191, 65_519, 65_535, 65_536, 65_537, MIB - 1, MIB, 5 * MIB, 17 * MIB, 40 * MIB] {
        let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let mut result = pool.submit(reverse, bytes.clone()).unwrap().result().unwrap();
        result.reverse();
        assert!(result == bytes, "{length} bytes did not come back");
    }
}

static KEPT: Mutex<Option<SharedBytes>> = Mutex::new(None);

fn keep(bytes: SharedBytes) -> u32 {
    *KEPT.lock().unwrap() = Some(bytes);
    std::process::id()
}

fn kept(_: ()) -> Option<SharedBytes> {
    KEPT.lock().unwrap().clone()
}

fn drop_kept(_: ()) {
    *KEPT.lock().unwrap() = None;
}

/// Drops the value after the task, on a thread of its own.
fn drop_kept_later(started: String) {
    thread::spawn(move || {
        while Path::new(&started).exists() {
            thread::yield_now();
        }
        drop_kept(());
    });
}

fn a_task_may_keep_bytes_longer_than_the_program(kind: &Kind) {
    let pool = kind.pool(1);
    pool.warm_up().unwrap();
    let before = files();
    let bytes = filled(LARGE, 5);
    let inode_here = inode(&bytes);
    let pid = pool.submit(keep, bytes).unwrap().result().unwrap();
    // The program has no holder of it any more, and others come and go.
    for byte in 10..14 {
        assert_eq!(pool.submit(look, filled(LARGE, byte)).unwrap().result().unwrap().1, byte);
    }
    let back = pool.submit(kept, ()).unwrap().result().unwrap().unwrap();
    assert_eq!(inode(&back), inode_here);
    assert!(back.iter().all(|byte| *byte == 5));
    pool.submit(drop_kept, ()).unwrap().result().unwrap();
    assert!(back.iter().all(|byte| *byte == 5));
    drop(back);
    wait_until("everything is given back", || files() == before && mapped(&pid.to_string()) == 0);

    let flag = tempfile::NamedTempFile::new().unwrap();
    pool.submit(keep, filled(LARGE, 6)).unwrap().result().unwrap();
    pool.submit(drop_kept_later, flag.path().to_string_lossy().into_owned()).unwrap().result().unwrap();
    assert_eq!(files(), before + 1);
    drop(flag);
    wait_until("everything is given back", || files() == before && mapped(&pid.to_string()) == 0);
    assert_eq!(mapped("self"), 0);
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

fn a_worker_that_is_killed_holds_nothing(kind: &Kind) {
    let pool = kind.pool(1);
    pool.warm_up().unwrap();
    let before = files();
    let bytes = filled(LARGE, 5);
    let pid = pool.submit(keep, bytes.clone()).unwrap().result().unwrap();
    drop(bytes);
    assert_eq!(files(), before + 1);
    kill(pid);
    wait_until("everything is given back", || files() == before && mapped("self") == 0);
    // Segments that a dead worker has made live on here.
    let (made, _) = pool.submit(make, (LARGE, 9)).unwrap().result().unwrap();
    pool.worker_pids().into_iter().for_each(kill);
    assert!(made.iter().all(|byte| *byte == 9));
    drop(made);
    wait_until("everything is given back", || files() == before && mapped("self") == 0);
}

/// Kills its process the first time.
fn sum_at_the_second_try((bytes, tried): (SharedBytes, String)) -> u64 {
    if !Path::new(&tried).exists() {
        fs::write(tried, "").unwrap();
        kill(std::process::id());
        loop {
            thread::park();
        }
    }
    bytes.iter().copied().map(u64::from).sum()
}

fn length_of(bytes: Vec<u8>) -> usize {
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    bytes.len()
}

fn a_task_that_is_run_again_gets_its_bytes_again(kind: &Kind) {
    let directory = tempfile::tempdir().unwrap();
    let pool = kind.pool(1);
    for round in 0..3 {
        let tried = directory.path().join(round.to_string()).to_string_lossy().into_owned();
        let future = pool.submit(sum_at_the_second_try, (filled(MIB, 2), tried)).unwrap();
        // These are in flight behind it, and go to the next worker.
        let behind: Vec<_> =
            (0..4).map(|index| pool.submit(length_of, vec![index; MIB + usize::from(index)]).unwrap()).collect();
        assert_eq!(future.result(), Ok(2 * MIB as u64));
        for (index, future) in behind.into_iter().enumerate() {
            assert_eq!(future.result(), Ok(MIB + index));
        }
    }
}

fn sum_with(tried: String, config: &(SharedBytes, SharedBytes)) -> u64 {
    sum_at_the_second_try((config.0.clone(), tried)) + config.1.len() as u64
}

fn a_configuration_is_given_to_each_worker(kind: &Kind) {
    let directory = tempfile::tempdir().unwrap();
    let pool = kind.pool(1);
    pool.warm_up().unwrap();
    let before = files();
    let sum = partial(sum_with, (filled(LARGE, 1), SharedBytes::from(&b"few"[..])));
    let tried = directory.path().join("tried").to_string_lossy().into_owned();
    for _ in 0..3 {
        assert_eq!(pool.submit(sum.clone(), tried.clone()).unwrap().result(), Ok(LARGE as u64 + 3));
    }
    assert_eq!(files(), before + 1);
}

fn many_submits_at_once_do_not_wait_for_memory(kind: &Kind) {
    let pool = kind.pool(2);
    thread::scope(|scope| {
        for thread in 0..8_u8 {
            let pool = &pool;
            scope.spawn(move || {
                let futures: Vec<_> =
                    (0..25).map(|index| pool.submit(length_of, vec![thread; MIB + index]).unwrap()).collect();
                for (index, future) in futures.into_iter().enumerate() {
                    assert_eq!(future.result(), Ok(MIB + index));
                }
            });
        }
    });
    // Results that were not asked for yet hold up nothing.
    let futures: Vec<_> = (0..40).map(|byte| pool.submit(make, (MIB, byte)).unwrap()).collect();
    let vectors: Vec<_> = (0..40).map(|byte| pool.submit(reverse, vec![byte; MIB]).unwrap()).collect();
    for (byte, future) in (0..).zip(vectors) {
        assert_eq!(future.result(), Ok(vec![byte; MIB]));
    }
    for (byte, future) in (0..).zip(futures) {
        assert!(future.result().unwrap().0.iter().all(|other| *other == byte));
    }
}

fn more_segments_than_there_are_files(kind: &Kind) {
    let pool = kind.pool(2);
    let all: Vec<_> = (0..300).map(|index| filled(65_536, index as u8)).collect();
    let futures: Vec<_> = all.iter().map(|bytes| pool.submit(echo, bytes.clone()).unwrap()).collect();
    for (bytes, future) in all.iter().zip(futures) {
        assert_eq!(future.result().as_ref(), Ok(bytes));
    }
    // All of them in one argument.
    let lengths = |all: Vec<SharedBytes>| all.iter().map(|bytes| bytes.len()).sum::<usize>();
    assert_eq!(pool.submit(lengths, all).unwrap().result(), Ok(300 * 65_536));
}

fn wait_for(path: String) {
    while !Path::new(&path).exists() {
        thread::yield_now();
    }
}

fn cancelled_tasks_hold_nothing(kind: &Kind) {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let pool = kind.pool(1);
    pool.warm_up().unwrap();
    let before = files();
    let first = pool.submit(wait_for, go.to_string_lossy().into_owned()).unwrap();
    let bytes = filled(LARGE, 1);
    let futures: Vec<_> = (0..10).map(|_| pool.submit(look, bytes.clone()).unwrap()).collect();
    drop(bytes);
    assert_eq!(files(), before + 1);
    assert!(futures.iter().all(|future| future.cancel()));
    wait_until("everything is given back", || files() == before && mapped("self") == 0);
    fs::write(go, "").unwrap();
    first.result().unwrap();
    assert_eq!(pool.submit(look, filled(MIB, 4)).unwrap().result().unwrap().1, 4);
}

fn chunks_carry_references_both_ways(kind: &Kind) {
    let pool = kind.pool(2);
    let bytes = filled(MIB, 8);
    let parts = (0..100).map(|index| (index, if index % 3 == 0 { bytes.clone() } else { filled(70_000, index) }));
    let pick = |(index, bytes): (u8, SharedBytes)| match index % 4 {
        0 => (index, bytes),
        1 => (index, filled(80_000, index)),
        2 => (index, SharedBytes::default()),
        _ => panic!("every fourth"),
    };
    let results: Vec<_> = pool.map(pick, parts).chunk_size(7).collect();
    assert_eq!(results.len(), 100);
    for (index, result) in (0..).zip(results) {
        let expected = match (index % 4, index % 3) {
            (0, 0) => bytes.clone(),
            (0, _) => filled(70_000, index),
            (1, _) => filled(80_000, index),
            (2, _) => SharedBytes::default(),
            _ => {
                assert!(matches!(result, Err(TaskError::Panicked { .. })), "{result:?}");
                continue;
            }
        };
        assert_eq!(result, Ok((index, expected)));
    }
    // Vectors as items.
    let vectors = (0..20).map(|index| vec![index; 100_000]);
    let results: Vec<_> = pool.map(reverse, vectors).chunk_size(3).collect();
    for (index, result) in (0..).zip(results) {
        assert_eq!(result, Ok(vec![index; 100_000]));
    }
}

fn make_or_end(index: u8) -> SharedBytes {
    if index % 8 == 7 {
        std::process::abort();
    }
    filled(70_000, index)
}

/// Each of them numbers what it makes, and the answers of all are decoded together.
fn a_chunk_that_several_workers_answer_has_the_segments_of_each(kind: &Kind) {
    let builder = ProcessPoolExecutor::builder().start_method(kind.0).transport(kind.1);
    let pool = builder.max_workers(1).build().unwrap();
    let results: Vec<_> = pool.map(make_or_end, 0..24).chunk_size(24).collect();
    for (index, result) in (0..).zip(results) {
        match result {
            Ok(bytes) => assert!(index % 8 != 7 && bytes == filled(70_000, index), "{index} is {}", bytes[0]),
            Err(error) => assert!(index % 8 == 7 && matches!(error, TaskError::WorkerDied { .. }), "{index}: {error}"),
        }
    }
}

/// Written as a reference to a segment that was neither leased nor attached.
#[derive(Debug, PartialEq)]
struct Forged(Option<SharedBytes>, (bool, u64, u64));

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant("SharedBytes", 1, "Shared", &self.1)
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedBytes::deserialize(deserializer).map(|bytes| Self(Some(bytes), (false, 0, 0)))
    }
}

fn forge(reference: (bool, u64, u64)) -> Forged {
    Forged(None, reference)
}

fn a_forged_reference_is_an_error(kind: &Kind) {
    let pool = kind.pool(1);
    let bytes = filled(MIB, 1);
    pool.submit(keep, bytes.clone()).unwrap().result().unwrap();
    for from_worker in [false, true] {
        for id in (0..50).chain([u64::MAX]) {
            for length in [0, MIB as u64, u64::MAX] {
                let result = pool.submit(forge, (from_worker, id, length)).unwrap().result();
                assert!(matches!(result, Err(TaskError::Decode { .. })), "{result:?}");
            }
        }
    }
    assert_eq!(pool.submit(kept, ()).unwrap().result(), Ok(Some(bytes)));
}

#[test]
fn in_one_process_bytes_are_shared_as_they_are() {
    let address = |bytes: SharedBytes| bytes.as_ptr() as usize;
    for bytes in [filled(MIB, 1), SharedBytes::from(vec![1; MIB]), SharedBytes::default()] {
        assert_eq!(SerialExecutor::new().submit(address, bytes.clone()).unwrap().result(), Ok(address(bytes.clone())));
        let threads = ThreadPoolExecutor::new(1).unwrap();
        assert_eq!(threads.submit(address, bytes.clone()).unwrap().result(), Ok(address(bytes)));
    }
}
