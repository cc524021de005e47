//! Needs `on_worker_death`: CPython's own meaning of `test_killed_child`.

use executor_core::{Executor, OnWorkerDeath, TaskError};
use rustix::process::Signal;

use crate::{
    gate::{Gate, pass},
    kinds::{LONG, Processes},
    tasks::{signal, square},
};

pub(crate) fn test_killed_child_in_strict_mode(kind: Processes) {
    let pool = kind.builder(2).on_worker_death(OnWorkerDeath::BreakPool).build().unwrap();
    let gate = Gate::new();
    let running = [(); 2].map(|()| pool.submit(pass, gate.key()).unwrap());
    let queued = pool.submit(square, 5).unwrap();
    let worker = gate.wait_for(2)[0];
    signal(worker, Signal::KILL);
    let errors = running.map(|future| future.result_timeout(LONG).unwrap().unwrap_err());
    let own = |error: &TaskError| matches!(error, TaskError::WorkerDied { pid, .. } if *pid == worker);
    let others = |error: &TaskError| matches!(error, TaskError::PoolBroken { .. });
    assert!(errors.iter().any(own) && errors.iter().any(others), "{errors:?}");
    assert!(queued.result_timeout(LONG).unwrap().is_err());
    assert!(pool.submit(square, 6).unwrap().result_timeout(LONG).unwrap().is_err());
}
