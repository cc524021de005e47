//! Workers that are replaced after some tasks: the tests of test_process_pool.py and test_shutdown.py.

use std::{collections::HashSet, time::Duration};

use executor_core::{BuildError, Executor, ProcessPoolExecutor, Shutdown, SubmitError, TaskError};

use crate::{
    gate::{Gate, pass},
    kinds::{LONG, Processes},
    tasks::{exists, picky, square, whoami},
};

/// A pool whose workers are replaced after so many tasks.
fn recycling(kind: Processes, workers: usize, tasks: u32) -> ProcessPoolExecutor {
    kind.builder(workers).max_tasks_per_child(tasks).build().unwrap()
}

fn whose(pool: &ProcessPoolExecutor) -> u32 {
    pool.submit(whoami, ()).unwrap().result_timeout(LONG).unwrap().unwrap().0
}

pub(crate) fn test_max_tasks_per_child(kind: Processes) {
    let pool = recycling(kind, 1, 3);
    let workers = [(); 4].map(|()| whose(&pool));
    assert!(workers[0] == workers[1] && workers[1] == workers[2] && workers[2] != workers[3], "{workers:?}");
    assert!(matches!(kind.builder(1).max_tasks_per_child(0).build(), Err(BuildError::NoTasks)));
}

pub(crate) fn test_max_tasks_per_child_pending_tasks_gh115634(kind: Processes) {
    let pool = recycling(kind, 1, 2);
    let futures: Vec<_> = (0..8).map(|_| pool.submit(whoami, ()).unwrap()).collect();
    let workers: HashSet<_> =
        futures.into_iter().map(|future| future.result_timeout(LONG).unwrap().unwrap().0).collect();
    assert_eq!(workers.len(), 4);
}

pub(crate) fn test_shutdown_no_wait_max_tasks_gh119592(kind: Processes) {
    let pool = recycling(kind, 1, 1);
    let gate = Gate::new();
    let held = pool.submit(pass, gate.key()).unwrap();
    let futures: Vec<_> = (0..3).map(|x| pool.submit(square, x).unwrap()).collect();
    gate.wait_for(1);
    let report = pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    assert_eq!((report.running, report.queued), (1, 3));
    gate.open();
    // Each of them needs a worker that is started after the shutdown.
    for (x, future) in (0..).zip(futures) {
        assert_eq!(future.result_timeout(LONG).unwrap(), Ok(x * x));
    }
    assert!(held.result().is_ok());
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

pub(crate) fn test_gc_during_max_tasks_worker_exit_gh152967(kind: Processes) {
    let pool = recycling(kind, 1, 1);
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
    let pool = recycling(kind, 1, 1);
    let gate = Gate::new();
    let first = pool.submit(square, 2).unwrap();
    // None of them can end by itself.
    let futures: Vec<_> = (0..20).map(|_| pool.submit(pass, gate.key()).unwrap()).collect();
    // Its worker is being replaced while the pool is shut down.
    assert_eq!(first.result_timeout(LONG).unwrap(), Ok(4));
    let report = pool.kill_workers();
    assert!(report.is_complete());
    assert_eq!(report.killed + report.cancelled, 20);
    assert!(pool.worker_pids().is_empty(), "a replacement was started");
    for future in futures {
        assert!(future.done());
        let error = future.result().unwrap_err();
        assert!(matches!(error, TaskError::Cancelled | TaskError::ShutDown), "{error}");
    }
    assert_eq!(pool.submit(square, 2).err(), Some(SubmitError::ShutDown));
}

pub(crate) fn test_max_tasks_early_shutdown(kind: Processes) {
    let pool = recycling(kind, 3, 1);
    let futures: Vec<_> = (0..6).map(|_| pool.submit(whoami, ()).unwrap()).collect();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    let workers: HashSet<_> = futures.into_iter().map(|future| future.result().unwrap().0).collect();
    assert_eq!(workers.len(), 6);
    assert!(!workers.into_iter().any(exists));
}

fn failure_and_shutdown(kind: Processes, workers: usize) {
    let pool = recycling(kind, workers, 1);
    let futures: Vec<_> = (1..=4).map(|x| pool.submit(picky, x).unwrap()).collect();
    pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    for (x, future) in (1..).zip(futures) {
        match future.result_timeout(LONG).unwrap() {
            Ok(result) => assert_eq!((result, x != 3), (x, true)),
            Err(error) => assert!(x == 3 && matches!(error, TaskError::Panicked { .. }), "{x}: {error}"),
        }
    }
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

pub(crate) fn test_shutdown_gh_132969_case_1(kind: Processes) {
    failure_and_shutdown(kind, 2);
}

pub(crate) fn test_shutdown_gh_132969_case_2(kind: Processes) {
    failure_and_shutdown(kind, 4);
}
