//! The executors without workers of their own: serial, and a rayon pool.

use std::{sync::Arc, time::Duration};

use executor_core::{Executor, RayonExecutor, SerialExecutor, SubmitError, TaskFuture};
use workloads::Random;

use super::{
    checks::{Counted, Expect, Hazards, Plan, Round},
    draw::below,
    driver::{Built, Driver, StressSubject},
    tasks::{self, answer},
};
use crate::error::LabError;

impl StressSubject for Counted<SerialExecutor> {
    const RUNS_AT_ONCE: bool = true;

    type Variant = ();

    fn build((): (), _: &mut Random) -> Result<Built<Self>, LabError> {
        let round = Arc::new(Round::new(Hazards::default()));
        let pool = Self::new(SerialExecutor::new(), &round);
        Ok(Built { pool, round, tally: None, about: "serial".to_owned() })
    }

    fn special(driver: &mut Driver<'_, Self>, random: &mut Random) {
        let x = random.next_u64();
        let inner = Arc::clone(driver.pool);
        // A task that submits to its own executor.
        let outcome = driver.pool.inner.spawn(move || {
            inner.submit(tasks::quick, x).map_or_else(|_| answer(x), |future| future.result().unwrap_or_default())
        });
        hold_spawned(driver, outcome, x);
    }
}

impl StressSubject for Counted<RayonExecutor> {
    type Variant = ();

    fn build((): (), random: &mut Random) -> Result<Built<Self>, LabError> {
        let round = Arc::new(Round::new(Hazards::default()));
        let workers = 1 + below(random, 4) as usize;
        let pool = Self::new(RayonExecutor::builder().max_workers(workers).build()?, &round);
        Ok(Built { pool, round, tally: None, about: format!("rayon, {workers} workers") })
    }

    fn special(driver: &mut Driver<'_, Self>, random: &mut Random) {
        let (x, depth) = (random.next_u64(), below(random, 5));
        if below(random, 2) == 0 {
            let outcome = driver.pool.inner.spawn(move || answer(x));
            hold_spawned(driver, outcome, x);
            return;
        }
        let weak = Arc::downgrade(driver.pool);
        let outcome = driver.pool.inner.spawn(move || {
            // The task waits, with and without a limit, for tasks of its own pool.
            for number in 0..depth {
                let Some(pool) = weak.upgrade() else { break };
                let Ok(future) = pool.submit(tasks::quick, number) else { break };
                drop(pool);
                if number % 2 == 0 {
                    drop(future.result());
                } else {
                    future.wait_timeout(Duration::from_millis(1));
                }
            }
            answer(x)
        });
        hold_spawned(driver, outcome, x);
    }
}

/// Holds a task that was spawned without being counted.
fn hold_spawned<S: StressSubject>(driver: &mut Driver<'_, S>, outcome: Result<TaskFuture<u64>, SubmitError>, x: u64) {
    if outcome.is_ok() {
        driver.round.count_submitted();
    }
    driver.hold(outcome, Expect::new(Plan::Answer, x), false);
}
