//! test_shutdown.py: its tests of processes.

use std::{collections::HashSet, time::Duration};

use executor_core::{Executor, ProcessPoolExecutor, Shutdown};

use crate::{
    gate::{Gate, pass, stay},
    kinds::{Kind, LONG, Processes},
    tasks::{exists, square},
};

/// Starts three workers, and returns their process ids.
fn use_three(pool: &ProcessPoolExecutor) -> Vec<u32> {
    let gate = Gate::new();
    let futures = [(); 3].map(|()| pool.submit(pass, gate.key()).unwrap());
    let workers = gate.wait_for(3);
    gate.open();
    for future in futures {
        future.result().unwrap();
    }
    assert_eq!(HashSet::<u32>::from_iter(pool.worker_pids()), HashSet::from_iter(workers.iter().copied()));
    workers
}

pub(crate) fn test_processes_terminate(kind: Processes) {
    let pool = kind.pool(5);
    let workers = use_three(&pool);
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert!(pool.worker_pids().is_empty());
    assert!(!workers.into_iter().any(exists));
}

pub(crate) fn test_context_manager_shutdown(kind: Processes) {
    let pool = kind.pool(5);
    let workers = use_three(&pool);
    drop(pool);
    assert!(!workers.into_iter().any(exists));
}

pub(crate) fn test_del_shutdown(kind: Processes) {
    let pool = kind.pool(2);
    pool.warm_up().unwrap();
    let workers = pool.worker_pids();
    let map = pool.map(square, 0..20).start();
    drop(pool);
    assert!(!workers.into_iter().any(exists));
    assert_eq!(map.into_vec().unwrap(), (0..20).map(square).collect::<Vec<_>>());
}

pub(crate) fn test_shutdown_no_wait(kind: Processes) {
    let pool = kind.pool(2);
    let (gate, wires) = (Gate::new(), Gate::new());
    let held: Vec<_> = (0..2).map(|_| pool.submit(pass, gate.key()).unwrap()).collect();
    let queued: Vec<_> = (0..4).map(|_| pool.submit(stay, wires.key()).unwrap()).collect();
    gate.wait_for(2);
    let report = pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    assert_eq!((report.running, report.queued), (2, 4));
    gate.open();
    assert!(held.into_iter().chain(queued).all(|future| future.result_timeout(LONG).unwrap().is_ok()));
    wires.wait_until_they_end(4);
}
