//! Failures of a worker process: each fails one task, and no other one.

mod deaths;
#[path = "../pool_kinds/mod.rs"]
mod pool_kinds;
mod startup;
mod values;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use executor_core::{ProcessPoolExecutor, TaskError, WorkerExit};

use pool_kinds::Kind;

executor_core::test_worker!();

fn pool(kind: Kind, workers: usize) -> ProcessPoolExecutor {
    kind.builder().max_workers(workers).grace(Duration::from_millis(200)).build().unwrap()
}

fn square(x: u64) -> u64 {
    x * x
}

/// Says that it runs by making a file, and then does so for ever.
fn run_for_ever(started: String) {
    fs::write(started, "").unwrap();
    loop {
        std::thread::park();
    }
}

/// Waits for the file of `run_for_ever`: there is no other event between the two processes.
fn wait_until_exists(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "the task has not started");
        std::thread::yield_now();
    }
}

fn exit_of(error: TaskError) -> WorkerExit {
    match error {
        TaskError::WorkerDied { exit, .. } => exit,
        other => panic!("{other}"),
    }
}
