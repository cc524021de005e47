//! Needs a thread pool that counts a worker as free before the future of its task is resolved.

use std::collections::HashSet;

use executor_core::Executor;

use crate::{
    kinds::{Kind, Threads},
    tasks::whoami,
};

/// Without a moment's pause between a result and the next task; often, because the worker has to lose a race.
pub(crate) fn test_idle_thread_reuse_at_once(kind: Threads) {
    for _ in 0..5000 {
        let pool = kind.pool(4);
        let threads: HashSet<_> = (0..3).map(|_| pool.submit(whoami, ()).unwrap().result().unwrap()).collect();
        assert_eq!((threads.len(), pool.stats().workers), (1, 1));
    }
}
