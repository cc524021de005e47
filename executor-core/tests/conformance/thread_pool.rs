//! test_thread_pool.py; some of its rows are about every executor.

use std::{collections::HashSet, time::Duration};

use executor_core::{Executor, Shutdown, TaskError, ThreadPoolExecutor};

use crate::{
    gate::{Gate, pass},
    kinds::{Kind, LONG, Threads},
    tasks::whoami,
};

pub(crate) fn test_map_submits_without_iteration(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::opened();
    let _never_iterated = pool.map(pass, vec![gate.key(); 10]).start();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(gate.visitors().len(), 10);
}

pub(crate) fn test_default_workers(_: Threads) {
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert_eq!(ThreadPoolExecutor::builder().build().unwrap().max_workers(), (cpus + 4).min(32));
}

pub(crate) fn test_saturation(kind: Threads) {
    let pool = kind.pool(4);
    let gate = Gate::new();
    let futures: Vec<_> = (0..60).map(|_| pool.submit(pass, gate.key()).unwrap()).collect();
    gate.wait_for(4);
    let stats = pool.stats();
    assert_eq!((stats.workers, stats.running, stats.queued), (4, 4, 56));
    gate.open();
    let threads: HashSet<_> = futures.into_iter().map(|future| future.result_timeout(LONG).unwrap().unwrap()).collect();
    assert!(threads.len() <= 4);
}

/// Without a moment's pause between a result and the next task; often, because the worker has to lose a race.
pub(crate) fn test_idle_thread_reuse(kind: Threads) {
    for _ in 0..5000 {
        let pool = kind.pool(4);
        let threads: HashSet<_> = (0..3).map(|_| pool.submit(whoami, ()).unwrap().result().unwrap()).collect();
        assert_eq!((threads.len(), pool.stats().workers), (1, 1));
    }
}

pub(crate) fn test_executor_map_current_future_cancel(kind: impl Kind) {
    let pool = kind.pool(1);
    let gate = Gate::new();
    let mut map = pool.map(pass, vec![gate.key(); 3]).chunk_size(1).timeout(Duration::from_millis(100)).start();
    gate.wait_for(1);
    assert_eq!(map.next(), Some(Err(TaskError::DeadlineExceeded)));
    assert_eq!(map.next(), None);
    gate.open();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(gate.visitors().len(), 1, "what had not started was cancelled");
}
