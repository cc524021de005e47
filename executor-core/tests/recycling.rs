//! Workers that are replaced because they have grown.
#![cfg(target_os = "linux")]

use std::sync::Mutex;

use executor_core::{Executor, ProcessPoolExecutor, Transport};

executor_core::test_worker!();

static LEAKED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Keeps so many bytes for ever, and tells where.
fn leak(bytes: usize) -> u32 {
    LEAKED.lock().unwrap().push(vec![1; bytes]);
    std::process::id()
}

fn replaced_when_grown(transport: Transport) {
    const LIMIT: u64 = 64 << 20;
    let builder = ProcessPoolExecutor::builder().max_workers(1).transport(transport).recycle_above(LIMIT);
    let pool = builder.build().unwrap();
    let first = pool.submit(leak, 0).unwrap().result().unwrap();
    assert_eq!(pool.submit(leak, 1 << 20).unwrap().result(), Ok(first), "a small worker stays");
    assert_eq!(pool.submit(leak, 100 << 20).unwrap().result(), Ok(first));
    // It looks at its size now and then, so it may get a few tasks more.
    let second = (0..10_000).map(|_| pool.submit(leak, 0).unwrap().result().unwrap()).find(|pid| *pid != first);
    assert!(second.is_some(), "a worker that has grown is replaced");
    assert_eq!((pool.stats().failed, pool.stats().died), (0, 0), "and nothing is lost");
}

#[test]
fn a_worker_that_has_grown_is_replaced_over_shared_memory() {
    replaced_when_grown(Transport::SharedMemory);
}

#[test]
fn a_worker_that_has_grown_is_replaced_over_a_socket() {
    replaced_when_grown(Transport::Socket);
}
