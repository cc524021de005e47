//! Operations of thread pools only: closures, nested waits, scopes, resizes.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use executor_core::{
    Executor, ReturnWhen, Shutdown, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor, TryMapError, as_completed,
    wait, with_worker_state,
};
use workloads::Random;

use super::{
    checks::{Counted, Expect, Hazards, Plan, Round, Tally},
    draw::{below, perhaps},
    driver::{Built, Driver, StressSubject},
    tasks::{self, answer},
};
use crate::error::LabError;

type Pool = Counted<ThreadPoolExecutor>;

impl StressSubject for Pool {
    type Variant = ();

    fn build((): (), random: &mut Random) -> Result<Built<Self>, LabError> {
        let workers = 1 + below(random, 5) as usize;
        let capacity = perhaps(random, 3, 24);
        let idle = [None, Some(Duration::from_millis(1)), Some(Duration::from_secs(30))][below(random, 3) as usize];
        let round = Arc::new(Round::new(Hazards::default()));
        let tally = Arc::new(Tally::default());
        let mut builder = ThreadPoolExecutor::builder()
            .max_workers(workers)
            .thread_name_prefix("stressed")
            .idle_timeout(idle)
            .initializer(|| tasks::prepares(0))
            .worker_state(|| AtomicU64::new(0))
            .observer(Arc::clone(&tally));
        if let Some(tasks) = capacity {
            builder = builder.queue_capacity(tasks);
        }
        let about = format!("thread, {workers} workers, capacity {capacity:?}, idle timeout {idle:?}");
        Ok(Built { pool: Self::new(builder.build()?, &round), round, tally: Some(tally), about })
    }

    fn special(driver: &mut Driver<'_, Self>, random: &mut Random) {
        let x = random.next_u64();
        let what = below(random, 10);
        driver.heartbeat.step(format!("special {what} of threads"));
        match what {
            0 => {
                let text = "captured".repeat(4);
                let priority = below(random, 3) as i32 - 1;
                let spawned = driver.pool.inner.spawn_with(
                    move || {
                        with_worker_state(|count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed));
                        answer(x) + text.len() as u64 - 32
                    },
                    TaskOptions::new().priority(priority),
                );
                driver.hold(spawned, Expect::new(Plan::Answer, x), false);
            }
            1 | 2 => tree(driver, below(random, 7), x),
            3 => chain(driver, below(random, 200)),
            4 => wait_inside(driver, random),
            5 => scope(driver, random),
            6 => failing_scope(driver, random),
            7 => drop(driver.pool.inner.resize(1 + below(random, 6) as usize)),
            8 => spawn_map(driver, random),
            _ => own_end(driver, x),
        }
    }
}

/// Checks the outcome of nested tasks, which a shutdown may have cancelled. A task that finds its pool gone returns `None`.
fn check_nested(round: &Round, expected: u64, outcome: Result<Option<u64>, TaskError>) {
    let good = match &outcome {
        Ok(Some(value)) => *value == expected,
        Ok(None) | Err(TaskError::Cancelled) => round.is_ending(),
        Err(_) => false,
    };
    round.require(good, || format!("nested tasks gave {outcome:?}, and not {expected}"));
}

/// Sums the answers of a binary tree of tasks that wait for tasks.
fn sum(pool: &Weak<Pool>, depth: u64, x: u64) -> Option<u64> {
    if depth == 0 {
        return Some(answer(x));
    }
    let branch = |x| {
        let below = Weak::clone(pool);
        pool.upgrade()?.inner.spawn(move || sum(&below, depth - 1, x)).ok()
    };
    let (left, right) = (branch(x)?, branch(x.wrapping_add(1 << (depth - 1)))?);
    let left = left.result().ok().flatten()?;
    let right = if x.is_multiple_of(3) {
        match right.result_timeout(Duration::from_micros(50)) {
            Ok(outcome) => outcome,
            Err(right) => right.result(),
        }
    } else {
        right.result()
    };
    Some(left.wrapping_add(right.ok().flatten()?))
}

fn tree(driver: &Driver<'_, Pool>, depth: u64, x: u64) {
    let weak = Arc::downgrade(driver.pool);
    let expected = (0..1_u64 << depth).fold(0_u64, |sum, number| sum.wrapping_add(answer(x.wrapping_add(number))));
    match driver.pool.inner.spawn(move || sum(&weak, depth, x)) {
        Ok(future) => check_nested(driver.round, expected, future.result()),
        Err(error) => driver.round.check_refusal(error, false),
    }
}

/// Each task waits for the next one.
fn count(pool: &Weak<Pool>, depth: u64) -> Option<u64> {
    if depth == 0 {
        return Some(0);
    }
    let below = Weak::clone(pool);
    let next = pool.upgrade()?.inner.spawn(move || count(&below, depth - 1)).ok()?;
    Some(next.result().ok().flatten()? + 1)
}

fn chain(driver: &Driver<'_, Pool>, depth: u64) {
    let weak = Arc::downgrade(driver.pool);
    match driver.pool.inner.spawn(move || count(&weak, depth)) {
        Ok(future) => check_nested(driver.round, depth, future.result()),
        Err(error) => driver.round.check_refusal(error, false),
    }
}

/// A task that waits for many others at once.
fn wait_inside(driver: &Driver<'_, Pool>, random: &mut Random) {
    let (weak, x) = (Arc::downgrade(driver.pool), random.next_u64() >> 8);
    let (items, way) = (below(random, 20), below(random, 3));
    let work = move || {
        let pool = weak.upgrade()?;
        let futures = pool.submit_many(tasks::busy, x..x + items).ok()?;
        drop(pool);
        let mut total = 0_u64;
        let mut add = |future: TaskFuture<u64>| future.result().ok().map(|value| total = total.wrapping_add(value));
        match way {
            0 => {
                for future in as_completed(futures, None) {
                    add(future.ok()?)?;
                }
            }
            1 => {
                let first = wait(futures, Some(Duration::from_micros(200)), ReturnWhen::FirstCompleted);
                let rest = wait(first.not_done, None, ReturnWhen::AllCompleted);
                for future in first.done.into_iter().chain(rest.done) {
                    add(future)?;
                }
            }
            _ => {
                for future in futures {
                    add(future)?;
                }
            }
        }
        Some(total)
    };
    let expected = (x..x + items).fold(0_u64, |sum, x| sum.wrapping_add(answer(x)));
    match driver.pool.inner.spawn(work) {
        Ok(future) => check_nested(driver.round, expected, future.result()),
        Err(error) => driver.round.check_refusal(error, false),
    }
}

fn scope(driver: &Driver<'_, Pool>, random: &mut Random) {
    let first = random.next_u64() >> 8;
    let mut values: Vec<u64> = (first..first + below(random, 60)).collect();
    let total = AtomicU64::new(0);
    let panics = below(random, 6) == 0 && !values.is_empty();
    let mut refused = false;
    let outcome = driver.pool.inner.scope(|scope| {
        for (place, value) in values.iter_mut().enumerate() {
            let total = &total;
            let spawned = scope.spawn(move || {
                *value = answer(*value);
                total.fetch_add(1, Ordering::SeqCst);
                if panics && place == 0 {
                    tasks::panics(7);
                }
                // Spawned from inside of a task.
                if place % 8 == 0 {
                    let _ = scope.spawn(move || _ = total.load(Ordering::SeqCst));
                }
            });
            refused |= spawned.is_err();
        }
    });
    match outcome {
        Ok(()) => {
            let good = values.iter().copied().eq((first..first + values.len() as u64).map(answer));
            let whole = total.load(Ordering::SeqCst) == values.len() as u64;
            driver.round.require(good && whole && !panics || refused, || "a scope has lost a task".to_owned());
        }
        Err(error) => {
            let good = match error {
                TaskError::Panicked { .. } => panics,
                // A shutdown cancels a scope before its start.
                TaskError::Cancelled => driver.round.may_cancel_queued(),
                _ => false,
            };
            driver.round.require(good, || format!("a scope failed: {error:?}"));
        }
    }
    driver.round.require(!refused || driver.round.is_ending(), || "a scope was refused".to_owned());
}

fn failing_scope(driver: &Driver<'_, Pool>, random: &mut Random) {
    let (items, bad) = (1 + below(random, 30), below(random, 60));
    let ran = AtomicU64::new(0);
    let outcome: Result<(), TryMapError<u64>> = driver.pool.inner.try_scope(|scope| {
        for number in 0..items {
            let ran = &ran;
            // A pool that is shut down takes no more tasks.
            let _ = scope.try_spawn(move || {
                ran.fetch_add(1, Ordering::SeqCst);
                if number == bad { Err(number) } else { Ok(()) }
            });
        }
    });
    let ran = ran.load(Ordering::SeqCst);
    let good = match outcome {
        Ok(()) => bad >= items && ran == items || driver.round.is_ending(),
        Err(TryMapError::Output(number)) => number == bad && ran <= items,
        Err(TryMapError::Task(TaskError::Cancelled)) => driver.round.may_cancel_queued(),
        Err(TryMapError::Task(_)) => false,
    };
    driver.round.require(good, || format!("a scope of {items} with an error in {bad}: {outcome:?}, {ran} ran"));
}

fn spawn_map(driver: &Driver<'_, Pool>, random: &mut Random) {
    let (items, offset) = (below(random, 3000), random.next_u64());
    let map = driver.pool.inner.spawn_map(move |x: u64| answer(x.wrapping_add(offset)), 0..items);
    let outcome: Result<Vec<u64>, TaskError> = match below(random, 3) {
        0 => map.into_vec(),
        1 => map.chunk_size(7).unordered().collect::<Result<Vec<u64>, _>>().map(|mut values| {
            values.sort_unstable();
            values
        }),
        _ => map.collect(),
    };
    match outcome {
        Ok(mut values) => {
            let mut expected: Vec<u64> = (0..items).map(|x| answer(x.wrapping_add(offset))).collect();
            // One of the three variants does not keep the order.
            values.sort_unstable();
            expected.sort_unstable();
            driver.round.require(values == expected, || "spawn_map has a wrong answer".to_owned());
        }
        Err(TaskError::Cancelled | TaskError::ShutDown) if driver.round.is_ending() => {}
        Err(error) => driver.round.wrong(format!("spawn_map failed: {error:?}")),
    }
}

/// A pool whose last owner is one of its own tasks.
fn own_end(driver: &Driver<'_, Pool>, x: u64) {
    let Ok(pool) = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("stressed-own").build() else {
        return driver.round.wrong("a small pool could not be built");
    };
    let pool = Arc::new(pool);
    let inside = Arc::clone(&pool);
    let future = pool.spawn(move || {
        let last = inside.submit(tasks::quick, x);
        if x.is_multiple_of(2) {
            inside.shutdown(Shutdown::Drain, None);
        }
        drop(inside);
        last
    });
    drop(pool);
    let good = match future.map(TaskFuture::result) {
        Ok(Ok(Ok(last))) => last.result() == Ok(answer(x)),
        _ => false,
    };
    driver.round.require(good, || "a pool that ends in its own task lost one".to_owned());
}
