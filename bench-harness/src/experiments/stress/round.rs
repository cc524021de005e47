//! One round: a pool is built, several drivers work with it, and it ends.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use executor_core::{Shutdown, SubmitError};
use workloads::Random;

use super::{
    checks::{self, Round},
    draw::{below, mix, shutdown},
    driver::{Built, Driver, Held, StressSubject},
    outcome::Settings,
    tasks, user_code,
    watchdog::{self, Watchdog},
};
use crate::error::LabError;

/// The outcome of one round.
pub(super) struct RoundOutcome {
    pub(super) operations: u64,
    pub(super) tasks: u64,
    pub(super) results: u64,
    pub(super) callbacks: u64,
    pub(super) workers_died: u64,
    pub(super) wrong: Vec<String>,
    pub(super) about: String,
}

pub(super) fn run_round<S: StressSubject>(
    settings: &Settings,
    variant: S::Variant,
    number: u64,
    until: Instant,
    watchdog: &Watchdog,
) -> Result<RoundOutcome, LabError> {
    let seed = mix(mix(settings.seed, settings.target as u64), number);
    let mut random = Random::new(seed);
    let Built { pool, round, tally, about } = S::build(variant, &mut random)?;
    let pool = Arc::new(pool);
    let described = Arc::downgrade(&pool);
    let entered = Arc::downgrade(&pool);
    user_code::set_entrance(Some(Arc::new(move || {
        if let Some(pool) = entered.upgrade() {
            drop((pool.stats(), pool.try_submit(tasks::quick, 1)));
        }
    })));
    let prefix = format!("round {number}: {about}");
    watchdog.describe(Some(Arc::new(move || {
        let state = described.upgrade().map(|pool| format!("{:?} {}", pool.stats(), pool.details()));
        format!("{prefix}: {}", state.as_deref().unwrap_or("gone"))
    })));
    let heartbeat = watchdog.heartbeat("the round");
    let (drivers, operations) = (1 + below(&mut random, 5), 20 + below(&mut random, 150));
    let ends_early = below(&mut random, 3) == 0;
    let mut held: Vec<Held> = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..drivers)
            .map(|number| {
                let heartbeat = watchdog.heartbeat(format!("driver {number}"));
                let driver = Driver { pool: &pool, round: &round, heartbeat, held: Vec::new() };
                let seed = mix(seed, number);
                scope.spawn(move || driver.run(seed, operations, ends_early, until))
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(left) => held.extend(left),
                Err(_) => round.wrong("a driver panicked"),
            }
        }
    });
    let (stats, workers_died) = end(pool, &round, &mut random, &heartbeat, tally.as_deref());
    heartbeat.step("asks for what the drivers have left");
    for (expect, future) in held {
        // Where the pool was only dropped, a task or a callback may have held its last reference.
        round.require(future.done() || !stats.is_complete, || {
            format!("{future:?} is pending after the end of its pool")
        });
        round.check(&expect, &future.result());
    }
    heartbeat.step("waits for callbacks");
    let (added, called) = round.callbacks.wait(settings.patience);
    round.require(added == called, || format!("{added} callbacks were added, and {called} called"));
    watchdog.describe(None);
    user_code::set_entrance(None);
    let outcome = RoundOutcome {
        operations: round.operations.load(Ordering::SeqCst),
        tasks: stats.tasks,
        results: round.results.load(Ordering::SeqCst),
        callbacks: called,
        workers_died,
        wrong: round.take_wrong(),
        about: format!("round {number}: {about}"),
    };
    Ok(outcome)
}

/// How a pool has ended.
struct End {
    /// No task of it can be pending.
    is_complete: bool,
    tasks: u64,
}

/// Ends the pool in a random manner, and checks its numbers.
fn end<S: StressSubject>(
    pool: Arc<S>,
    round: &Round,
    random: &mut Random,
    heartbeat: &watchdog::Heartbeat,
    tally: Option<&checks::Tally>,
) -> (End, u64) {
    let mut steps: Vec<(Shutdown, Option<Duration>)> = Vec::new();
    let manner = below(random, 5);
    if manner == 0 {
        steps.push((shutdown(random), Some(Duration::from_micros(below(random, 3000)))));
    }
    if manner < 4 {
        steps.push((shutdown(random), None));
    }
    for (how, deadline) in &steps {
        heartbeat.step(format!("ends the pool: {how:?}, {deadline:?}"));
        round.begin_end(*how);
        let report = pool.shutdown(*how, *deadline);
        round
            .require(deadline.is_some() || report.is_complete(), || format!("{how:?} without a limit left {report:?}"));
    }
    let mut end = End { is_complete: false, tasks: 0 };
    let stats = pool.stats();
    if steps.is_empty() {
        round.begin_end(Shutdown::Drain);
    } else {
        end.is_complete = true;
        round.check_stats(&stats, tally);
        let refused = pool.submit(tasks::quick, 0).map(drop);
        round.require(refused == Err(SubmitError::ShutDown), || format!("after the end: {refused:?}"));
    }
    end.tasks = round.submitted(&stats);
    heartbeat.step("drops the pool");
    // Otherwise a callback or a task holds a reference for a moment, and drops the pool.
    if let Some(pool) = Arc::into_inner(pool) {
        drop(pool);
        end.is_complete = true;
    }
    (end, stats.died)
}
