//! A map over an input without an end, with a bounded buffer: neither this process nor its workers grow with it.
//!
//! The part that runs with all tests is small. Ten million items: `cargo test --release -p executor-core --test endless_map --
//! --ignored --nocapture`
#![cfg(target_os = "linux")]

use std::{fs, time::Instant};

use executor_core::{Executor, ProcessPoolExecutor, StartMethod, Transport};

executor_core::test_worker!();

fn square(x: u64) -> u64 {
    x.wrapping_mul(x)
}

/// Resident memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    memory.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}

fn map_without_end(transport: Transport, method: StartMethod, items: u64) {
    /// What allocator and code take while they warm up.
    const SLACK: u64 = 8 << 10;
    let start = Instant::now();
    let pool = ProcessPoolExecutor::builder().transport(transport).start_method(method).max_workers(2).build().unwrap();
    pool.warm_up().unwrap();
    let pids: Vec<u32> = pool.worker_pids().into_iter().chain([std::process::id()]).collect();
    let now = || pids.iter().map(|pid| memory(*pid)).collect::<Vec<_>>();
    let mut early = Vec::new();
    for (x, result) in (0..items).zip(pool.map(square, 0..).buffer_size(1000)) {
        assert_eq!(result, Ok(square(x)));
        if x == items / 10 {
            early = now();
        }
    }
    let late = now();
    println!(
        "{transport:?}: {items} items in {:?}, KiB of workers and parent {early:?}, then {late:?}",
        start.elapsed()
    );
    for (early, late) in early.iter().zip(&late) {
        assert!(*late <= early + SLACK, "{early} KiB, later {late} KiB");
    }
}

#[test]
fn memory_stays_flat() {
    map_without_end(Transport::SharedMemory, StartMethod::Spawn, 100_000);
    map_without_end(Transport::Socket, StartMethod::ForkServer, 10_000);
}

#[test]
#[ignore = "ten million items"]
fn memory_stays_flat_over_ten_million_items() {
    map_without_end(Transport::SharedMemory, StartMethod::Spawn, 10_000_000);
    map_without_end(Transport::SharedMemory, StartMethod::ForkServer, 10_000_000);
}

/// What the socket has room for at once is sent by the thread that submits, and nothing else comes over the socket for long.
#[test]
fn long_arguments_leave_nothing() {
    const SLACK: u64 = 32 << 10;
    for transport in [Transport::SharedMemory, Transport::Socket] {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let pool = ProcessPoolExecutor::builder().transport(transport).start_method(method).max_workers(1);
            let pool = pool.build().unwrap();
            pool.warm_up().unwrap();
            let early = memory(std::process::id());
            for _ in 0..600 {
                let future = pool.submit(|text: String| text.len(), "x".repeat(150_000)).unwrap();
                // A sleeping thread would be woken through the socket.
                while !future.done() {
                    pool.stats();
                    std::thread::yield_now();
                }
                assert_eq!(future.result(), Ok(150_000));
            }
            let late = memory(std::process::id());
            assert!(late <= early + SLACK, "{transport:?} {method:?}: {early} KiB, later {late} KiB");
        }
    }
}
