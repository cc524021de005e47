//! The options of a task on a process pool: priorities, and how long to wait for space and for a worker.
#![cfg(unix)]

mod tasks;

use std::{fs::OpenOptions, io::Write, path::PathBuf, time::Duration};

use executor_core::{CancelToken, Executor, ProcessPoolExecutor, SubmitError, TaskError, TaskFuture, TaskOptions};
use tasks::hold;

executor_core::test_worker!();

const LONG: Duration = Duration::from_secs(60);

fn echo(x: u64) -> u64 {
    x
}

/// Appends a line to a file.
fn note(line: String, path: PathBuf) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// A pool whose one worker is busy until the token is cancelled.
fn busy_pool(capacity: usize) -> (ProcessPoolExecutor, TaskFuture<()>, CancelToken) {
    let pool = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(capacity).build().unwrap();
    let token = CancelToken::new();
    let held = pool.submit(hold, token.clone()).unwrap();
    while !held.running() {
        std::thread::yield_now();
    }
    (pool, held, token)
}

#[test]
fn a_higher_priority_starts_first_and_equal_ones_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("order");
    let (pool, held, token) = busy_pool(100);
    let submit = |name: &str, priority| {
        let options = TaskOptions::new().priority(priority);
        pool.submit_with(note, (name.to_owned(), path.clone()), options).unwrap()
    };
    let futures = [("c", 0), ("e", -5), ("a", 7), ("d", 0), ("b", 7)].map(|(name, priority)| submit(name, priority));
    token.cancel();
    held.result().unwrap();
    futures.into_iter().for_each(|future| future.result().unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\nc\nd\ne\n");
}

#[test]
fn a_task_that_waits_too_long_expires_and_never_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ran");
    let (pool, held, token) = busy_pool(100);
    let limit = Duration::from_millis(20);
    let options = TaskOptions::new().queue_timeout(limit);
    let late = pool.submit_with(note, ("late".to_owned(), path.clone()), options).unwrap();
    let patient = pool.submit_with(echo, 7, TaskOptions::new().queue_timeout(LONG)).unwrap();
    match late.result_timeout(LONG) {
        Ok(Err(TaskError::Expired { waited })) => assert!(waited >= limit),
        other => panic!("{other:?}"),
    }
    token.cancel();
    held.result().unwrap();
    assert_eq!(patient.result(), Ok(7));
    assert!(!path.exists());
    assert_eq!(pool.stats().failed, 1);
}

#[test]
fn a_submit_waits_for_space_for_as_long_as_it_may() {
    let (pool, held, token) = busy_pool(1);
    let waiting = pool.submit(echo, 1).unwrap();
    assert_eq!(pool.try_submit(echo, 2).unwrap_err(), SubmitError::Full);
    assert_eq!(pool.submit_timeout(echo, 3, Duration::from_millis(10)).unwrap_err(), SubmitError::Full);
    std::thread::scope(|scope| {
        let submitted = scope.spawn(|| pool.submit_timeout(echo, 4, LONG).unwrap().result());
        token.cancel();
        assert_eq!(submitted.join().unwrap(), Ok(4));
    });
    held.result().unwrap();
    assert_eq!(waiting.result(), Ok(1));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let pool = ProcessPoolExecutor::builder().max_workers(1).current_dir(&missing).build().unwrap();
    match pool.submit(echo, 1).unwrap().result() {
        Err(TaskError::NoWorker { cause }) => {
            assert!(cause.to_string().contains(missing.to_str().unwrap()), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_submitted_at_once_come_back_in_their_order() {
    let pool = ProcessPoolExecutor::builder().max_workers(2).build().unwrap();
    let futures = pool.submit_many(echo, 0..100).unwrap();
    let results: Vec<u64> = futures.into_iter().map(|future| future.result().unwrap()).collect();
    assert_eq!(results, (0..100).collect::<Vec<_>>());
}
