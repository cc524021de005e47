//! Needs `max_tasks_per_child`.

use std::{collections::HashSet, time::Duration};

use executor_core::{Executor, Shutdown, SubmitError, TaskError};

use crate::{
    kinds::{LONG, Processes},
    tasks::{exists, picky, square, whoami},
};

pub(crate) fn test_max_tasks_per_child(kind: Processes) {
    let pool = kind.builder(1).max_tasks_per_child(3).build().unwrap();
    let workers: Vec<_> = (0..4).map(|_| pool.submit(whoami, ()).unwrap().result().unwrap()).collect();
    assert!(workers[0] == workers[1] && workers[1] == workers[2] && workers[2] != workers[3], "{workers:?}");
}

pub(crate) fn test_max_tasks_per_child_pending_tasks_gh115634(kind: Processes) {
    let pool = kind.builder(1).max_tasks_per_child(2).build().unwrap();
    let futures: Vec<_> = (0..8).map(|_| pool.submit(whoami, ()).unwrap()).collect();
    let workers: HashSet<_> = futures.into_iter().map(|future| future.result_timeout(LONG).unwrap().unwrap()).collect();
    assert_eq!(workers.len(), 4);
}

pub(crate) fn test_shutdown_no_wait_max_tasks_gh119592(kind: Processes) {
    let pool = kind.builder(1).max_tasks_per_child(1).build().unwrap();
    let futures: Vec<_> = (0..4).map(|x| pool.submit(square, x).unwrap()).collect();
    pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    for (x, future) in (0..).zip(futures) {
        assert_eq!(future.result_timeout(LONG).unwrap(), Ok(x * x));
    }
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

pub(crate) fn test_gc_during_max_tasks_worker_exit_gh152967(kind: Processes) {
    let pool = kind.builder(1).max_tasks_per_child(1).build().unwrap();
    let futures: Vec<_> = (0..4).map(|x| pool.submit(square, x).unwrap()).collect();
    // Its worker is being replaced while the pool is dropped.
    assert!(futures[0].wait_timeout(LONG));
    drop(pool);
    for (x, future) in (0..).zip(futures) {
        assert!(future.done());
        assert_eq!(future.result(), Ok(x * x));
    }
}

pub(crate) fn test_force_shutdown_during_max_tasks_worker_exit(kind: Processes) {
    let pool = kind.builder(1).max_tasks_per_child(1).build().unwrap();
    let futures: Vec<_> = (0..20).map(|x| pool.submit(square, x).unwrap()).collect();
    assert!(futures[0].wait_timeout(LONG));
    assert!(pool.kill_workers().is_complete());
    assert!(pool.worker_pids().is_empty(), "a replacement was started");
    let answers: Vec<_> = futures.into_iter().map(|future| future.result_timeout(LONG).unwrap()).collect();
    let ended = |answer: &Result<u64, TaskError>| {
        matches!(answer, Ok(_) | Err(TaskError::Cancelled | TaskError::ShutDown | TaskError::WorkerDied { .. }))
    };
    assert!(answers.iter().all(ended), "{answers:?}");
    assert_eq!(pool.submit(square, 2).err(), Some(SubmitError::ShutDown));
}

pub(crate) fn test_max_tasks_early_shutdown(kind: Processes) {
    let pool = kind.builder(3).max_tasks_per_child(1).build().unwrap();
    let futures: Vec<_> = (0..6).map(|_| pool.submit(whoami, ()).unwrap()).collect();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    let workers: HashSet<_> = futures.into_iter().map(|future| future.result().unwrap()).collect();
    assert_eq!(workers.len(), 6);
    assert!(!workers.into_iter().any(|(pid, _)| exists(pid)));
}

fn recycling_failure_and_shutdown(kind: Processes, workers: usize) {
    let pool = kind.builder(workers).max_tasks_per_child(1).build().unwrap();
    let futures: Vec<_> = (1..=4).map(|x| pool.submit(picky, x).unwrap()).collect();
    pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    for (x, future) in (1..).zip(futures) {
        assert_eq!(future.result_timeout(LONG).unwrap().ok(), (x != 3).then_some(x));
    }
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

pub(crate) fn test_shutdown_gh_132969_case_1(kind: Processes) {
    recycling_failure_and_shutdown(kind, 2);
}

pub(crate) fn test_shutdown_gh_132969_case_2(kind: Processes) {
    recycling_failure_and_shutdown(kind, 4);
}
