//! What travels between the program and its workers arrives, or is the end of who sent it: kicks, requests that fill the ring,
//! answers of workers that have died, floods, and files that are slow to close.
//!
//! All of this program runs with SIGPIPE at its default, as command line tools do: a write to a worker that is gone must not
//! end it.
#![cfg(target_os = "linux")]

mod pool_kinds;

use std::{
    fs::File,
    sync::Once,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, SharedBytes, TaskError, TaskFuture, Transport, partial};
use pool_kinds::{Kind, on_every_kind_of_pool};
use serde::{Deserialize, Serialize};

executor_core::test_worker!();

on_every_kind_of_pool!(a_worker_that_is_gone_sends_no_signal);

/// For what must happen: a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

fn result<T: Send + 'static>(future: TaskFuture<T>) -> Result<T, TaskError> {
    match future.result_timeout(LONG) {
        Ok(result) => result,
        Err(future) => panic!("no result: {future:?}"),
    }
}

fn square(x: u64) -> u64 {
    x * x
}

/// SIGPIPE ends this process.
fn restore_sigpipe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default action is no handler that could do anything wrong.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    });
}

/// A pool of this kind, whose tasks are known to be short: several of them stand with a worker.
fn warm_pool(kind: Kind, workers: usize) -> ProcessPoolExecutor {
    restore_sigpipe();
    let pool = kind.builder().max_workers(workers).build().unwrap();
    for x in 0..200 {
        assert_eq!(result(pool.submit(square, x).unwrap()), Ok(x * x));
    }
    pool
}

fn a_worker_that_is_gone_sends_no_signal(kind: Kind) {
    restore_sigpipe();
    let pool = kind.builder().max_workers(1).retry(5).build().unwrap();
    for round in 0..150 {
        assert_eq!(result(pool.submit(square, 3).unwrap()), Ok(9));
        let pid = rustix::process::Pid::from_raw(pool.worker_pids()[0].cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        // It dies somewhere in the middle of what follows.
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(round * 7 % 600) {}
        let length = |text: String| text.len();
        assert_eq!(result(pool.submit(length, "x".repeat(100_000)).unwrap()), Ok(100_000));
    }
}

/// A text, all letters of it the same, and pieces of shared memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Big {
    text: String,
    pieces: Vec<SharedBytes>,
}

fn is_all(text: &str, letter: u8) -> bool {
    text.bytes().all(|byte| byte == letter)
}

/// The longest definition and the longest argument that stand in a ring, with as many pieces of memory before them as there
/// may be, and everything full behind them.
#[test]
fn what_comes_before_a_request_has_room_as_well() {
    fn both(argument: Big, bound: &Big) -> (bool, bool, usize) {
        let pieces = argument.pieces.len() + bound.pieces.len();
        (is_all(&argument.text, b'a'), is_all(&bound.text, b'c'), pieces)
    }
    fn hold((text, path): (String, std::path::PathBuf)) -> bool {
        while !path.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        is_all(&text, b'h')
    }
    fn eat(text: String) -> (usize, bool) {
        (text.len(), is_all(&text, b'e'))
    }
    let kind = Kind { transport: Transport::SharedMemory, method: executor_core::StartMethod::ForkServer };
    let pieces: Vec<SharedBytes> =
        (0..240).map(|piece| SharedBytes::with_len(1 << 16, |bytes| bytes.fill(piece as u8))).collect();
    // Where in the ring it comes makes a difference.
    for (squares, shift) in [(300, 18), (200, 3), (250, 40)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("go");
        let pool = warm_pool(kind, 1);
        for x in 200..squares {
            assert_eq!(result(pool.submit(square, x).unwrap()), Ok(x * x));
        }
        for _ in 0..shift {
            assert_eq!(result(pool.submit(eat, "e".repeat(2990)).unwrap()), Ok((2990, true)));
        }
        let config = Big { text: "c".repeat(64_500), pieces: pieces[..120].to_vec() };
        let argument = Big { text: "a".repeat(64_600), pieces: pieces[120..].to_vec() };
        let first = pool.submit(hold, ("h".repeat(65_200), path.clone())).unwrap();
        let second = pool.submit(partial(both, config), argument).unwrap();
        let behind: Vec<_> = (0..40).map(|_| pool.submit(eat, "e".repeat(60_000)).unwrap()).collect();
        File::create(&path).unwrap();
        assert_eq!(result(first), Ok(true));
        assert_eq!(result(second), Ok((true, true, 240)));
        for future in behind {
            assert_eq!(result(future), Ok((60_000, true)));
        }
        assert_eq!(pool.stats().died, 0);
    }
}
