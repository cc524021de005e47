//! The end of test_process_pool.py: `terminate_workers` and `kill_workers`.

use std::time::Duration;

use executor_core::{Executor, ProcessPoolExecutor, ShutdownReport, SubmitError, TaskError};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    gate::{Gate, Key, pass},
    kinds::{Initialized, Kind, LONG, Processes},
    tasks::{exists, square},
};

type Force = fn(&ProcessPoolExecutor) -> ShutdownReport;

const BOTH: [Force; 2] = [ProcessPoolExecutor::terminate_workers, ProcessPoolExecutor::kill_workers];

/// Returns when SIGTERM comes; only SIGKILL ends it before.
fn until_terminated(gate: Key) -> String {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        pass(gate);
        terminate.recv().await;
        "SIGTERM".to_owned()
    })
}

fn result_after(kind: Processes, force: Force) -> Result<String, TaskError> {
    // Time enough to handle the signal.
    let pool = kind.builder(1).grace(Duration::from_secs(2)).build().unwrap();
    let gate = Gate::opened();
    let running = pool.submit(until_terminated, gate.key()).unwrap();
    let queued = pool.submit(square, 2).unwrap();
    gate.wait_for(1);
    let report = force(&pool);
    assert_eq!((report.killed, report.cancelled, report.is_complete()), (1, 1, true));
    assert_eq!(queued.result(), Err(TaskError::Cancelled));
    running.result_timeout(LONG).unwrap()
}

pub(crate) fn test_terminate_workers(kind: Processes) {
    assert_eq!(result_after(kind, BOTH[0]).as_deref(), Ok("SIGTERM"));
}

pub(crate) fn test_kill_workers(kind: Processes) {
    assert_eq!(result_after(kind, BOTH[1]), Err(TaskError::ShutDown));
}

pub(crate) fn test_force_shutdown_workers(kind: Processes) {
    for force in BOTH {
        let pool = kind.pool(1);
        let gate = Gate::new();
        let blocked = pool.submit(pass, gate.key()).unwrap();
        let worker = gate.wait_for(1)[0];
        assert_eq!(force(&pool).killed, 1);
        // While the gate is still closed.
        assert!(!exists(worker), "it can go on");
        assert_eq!(blocked.result_timeout(LONG).unwrap(), Err(TaskError::ShutDown));
    }
}

pub(crate) fn test_force_shutdown_workers_dead_workers(kind: Processes) {
    for force in BOTH {
        let pool = kind.pool_with(1, |_: String| -> () { std::process::exit(99) }, String::new());
        let error = pool.submit(square, 2).unwrap().result_timeout(LONG).unwrap().unwrap_err();
        assert!(matches!(error, TaskError::NoWorker { .. }), "{error}");
        assert_eq!(force(&pool), ShutdownReport::default(), "there is no worker left");
    }
}

pub(crate) fn test_force_shutdown_workers_not_started_yet(kind: Processes) {
    for force in BOTH {
        let pool = kind.pool(1);
        assert_eq!(force(&pool), ShutdownReport::default());
        assert!(pool.worker_pids().is_empty());
    }
}

pub(crate) fn test_force_shutdown_workers_stops_pool(kind: Processes) {
    for force in BOTH {
        let pool = kind.pool(2);
        pool.warm_up().unwrap();
        let workers = pool.worker_pids();
        assert!(force(&pool).is_complete());
        assert_eq!(pool.submit(square, 2).err(), Some(SubmitError::ShutDown));
        assert!(!workers.into_iter().any(exists), "workers are left");
    }
}
