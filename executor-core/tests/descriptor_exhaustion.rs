//! A program that has no file descriptor left: calls that need one fail and say so, everything else goes on, and all works again
//! when there are some. The limit is the process's, so this is a file of its own with one test.
#![cfg(target_os = "linux")]

use std::{fs::File, time::Duration};

use executor_core::{Executor, PoolState, ProcessPoolExecutor, SharedBytes, StartMethod, TaskError, Transport};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

mod gated;

use gated::result;

executor_core::test_worker!();

const MIB: usize = 1 << 20;

fn square(x: u64) -> u64 {
    x * x
}

fn share(byte: u8) -> SharedBytes {
    SharedBytes::with_len(MIB, |bytes| bytes.fill(byte))
}

fn repeat(byte: u8) -> Vec<u8> {
    vec![byte; MIB]
}

fn sum(bytes: Vec<u8>) -> u64 {
    bytes.into_iter().map(u64::from).sum()
}

fn sum_shared(bytes: SharedBytes) -> u64 {
    bytes.iter().copied().map(u64::from).sum()
}

/// Takes all descriptors that this process may have, until it is dropped.
struct Plugs {
    _files: Vec<File>,
    limit: Rlimit,
}

impl Plugs {
    fn new() -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..limit }).unwrap();
        Self { _files: std::iter::from_fn(|| File::open("/dev/null").ok()).collect(), limit }
    }
}

impl Drop for Plugs {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.limit).unwrap();
    }
}

fn without_descriptors(method: StartMethod, transport: Transport) {
    let builder = ProcessPoolExecutor::builder().start_method(method).transport(transport);
    let pool = builder.max_workers(2).build().unwrap();
    pool.warm_up().unwrap();
    let pids = pool.worker_pids();
    let says_why = |error: &TaskError| matches!(error, TaskError::Decode { cause, .. } if cause.to_string().contains("too many files open"));

    let plugs = Plugs::new();
    for round in 0..3 {
        // A worker sends a file.
        let error = result(pool.submit(share, 1).unwrap()).unwrap_err();
        assert!(says_why(&error), "{error:?}");
        for part in pool.map(share, 1..4).chunk_size(3) {
            assert!(says_why(&part.unwrap_err()));
        }
        // A long result comes in shared memory as well, and over the socket where that is in use.
        let long = pool.map(repeat, [2]).chain(pool.map(repeat, 1..4).chunk_size(3));
        let long: Vec<_> = long.chain([result(pool.submit(repeat, 2).unwrap())]).collect();
        let lost =
            long.iter().filter_map(|result| result.as_ref().err()).inspect(|error| assert!(says_why(error))).count();
        assert_eq!(lost > 0, transport == Transport::SharedMemory);
        // The program would send one, and sends the bytes instead.
        assert_eq!(result(pool.submit(sum, vec![1; MIB]).unwrap()), Ok(MIB as u64));
        assert_eq!(result(pool.submit(sum_shared, share(1)).unwrap()), Ok(MIB as u64));
        assert_eq!(result(pool.submit(square, round).unwrap()), Ok(round * round));
    }
    drop(plugs);

    assert!(result(pool.submit(share, 3).unwrap()).unwrap() == share(3));
    for (byte, part) in (1..).zip(pool.map(repeat, 1..10).chunk_size(2)) {
        assert!(part == Ok(vec![byte; MIB]));
    }
    assert_eq!(result(pool.submit(sum, vec![2; MIB]).unwrap()), Ok(2 * MIB as u64));
    assert_eq!(pool.worker_pids(), pids, "no worker has had to go");
}

/// What is submitted while no worker can be started fails, and the pool lives on.
fn without_workers(method: StartMethod, transport: Transport) {
    let builder = ProcessPoolExecutor::builder().start_method(method).transport(transport).max_workers(2);
    let pool = builder.idle_timeout(Duration::from_millis(10)).build().unwrap();
    for round in 0..3 {
        assert_eq!(result(pool.submit(square, round).unwrap()), Ok(round * round));
        while !pool.worker_pids().is_empty() {
            std::thread::yield_now();
        }
        let plugs = Plugs::new();
        let refused: Vec<_> = (0..3).map(|x| pool.submit(square, x).unwrap()).collect();
        for future in refused {
            let error = result(future).unwrap_err();
            assert!(matches!(error, TaskError::NoWorker { .. }), "{error:?}");
        }
        assert!(pool.warm_up().is_err());
        assert_eq!(pool.state(), PoolState::Active);
        // One that comes while there is no descriptor, and waits until there is one.
        let patient = pool.submit(square, 3).unwrap();
        drop(plugs);
        assert_eq!(result(patient), Ok(9));
    }
}

/// Memory that has to wait until there is room in the socket needs a descriptor meanwhile; the worker runs something else.
fn a_piece_that_cannot_be_sent_costs_its_task_alone(method: StartMethod) {
    let builder = ProcessPoolExecutor::builder().start_method(method).transport(Transport::SharedMemory);
    let pool = gated::quick_pool(builder, 1);
    let pids = pool.worker_pids();
    gated::assert_squares(gated::squares(&pool, 100));
    let bytes = share(1);
    let gate = gated::Gate::new();
    let long = gate.close(&pool);
    let text = pool.submit(|text: String| text.len(), "x".repeat(MIB)).unwrap();
    let plugs = Plugs::new();
    let shared = pool.submit(sum_shared, bytes.clone()).unwrap();
    drop(plugs);
    gate.open();
    assert_eq!(result(long), Ok(7));
    assert_eq!(result(text), Ok(MIB));
    let shared = result(shared);
    assert!(matches!(&shared, Ok(1_048_576) | Err(TaskError::Decode { .. })), "{shared:?}");
    assert_eq!(result(pool.submit(sum_shared, bytes).unwrap()), Ok(MIB as u64));
    assert_eq!(pool.worker_pids(), pids, "no worker has had to go");
}

#[test]
fn without_descriptors_what_needs_one_says_so_and_the_rest_goes_on() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        for transport in [Transport::SharedMemory, Transport::Socket] {
            without_descriptors(method, transport);
            without_workers(method, transport);
        }
        a_piece_that_cannot_be_sent_costs_its_task_alone(method);
    }
}
