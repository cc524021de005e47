//! The executors under test, by their kind.

mod any;
mod kind;
mod per_task;

use any::Pool;
use executor_core::Executor;

pub(crate) use self::{any::AnyExecutor, kind::Kind};
use crate::error::LabError;

/// An action on an executor of any type.
pub(crate) trait Visit {
    type Output;
    fn visit<E: Executor + Sync>(self, executor: &E, pids: &dyn Fn() -> Vec<u32>) -> Self::Output;
}

/// Builds a pool with its workers ready, and passes it to `visit`, which is compiled for each type of pool: for
/// measurements of so little time that one more branch would show. `pids` returns its worker processes.
pub(crate) fn with_pool<V: Visit>(kind: Kind, workers: usize, visit: V) -> Result<V::Output, LabError> {
    let none: &dyn Fn() -> Vec<u32> = &Vec::new;
    Ok(match AnyExecutor::start(kind, workers)?.into_pool() {
        Pool::Thread(pool) => visit.visit(&pool, none),
        Pool::Rayon(pool) => visit.visit(&pool, none),
        Pool::Process(pool) => visit.visit(&pool, &|| pool.worker_pids()),
        Pool::Serial(_) | Pool::PerTask(_) => return Err(LabError::Sample(format!("{kind} keeps no workers"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Those with processes are used by the tests of `lab run`: a test's own program has no `main` that could be a worker.
    #[test]
    fn every_kind_without_processes_runs_every_task_by_the_one_type_that_all_have() {
        for kind in Kind::ALL.into_iter().filter(|kind| !kind.has_processes()) {
            let executor = AnyExecutor::start(kind, 3).unwrap();
            let squares = executor.map(|x: u64| x * x, 0..20).map(|result| result.unwrap());
            assert!(squares.eq((0..20).map(|x| x * x)), "{kind}");
            executor.shutdown(executor_core::Shutdown::Drain, None);
            assert!(kind == Kind::ThreadPerTask || executor.submit(|x: u64| x, 1).is_err(), "{kind}");
        }
    }
}
