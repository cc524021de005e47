//! Tasks that wait on tasks: the Fibonacci number by its definition, one of the two calls as a task, beside rayon's join.

use std::{hint::black_box, time::Instant};

use executor_core::ThreadPoolExecutor;
use reports::{
    model::{OverheadGroup, Reason},
    overhead::Unit,
};

use super::{
    interleave::measure_interleaved,
    map::rayon_pool,
    measurement::{Probe, Reading},
};
use crate::error::chain;

pub(super) const NO_CUTOFF: &str = "forks, no cutoff";
pub(super) const CUTOFF: &str = "forks, cutoff at about 2 µs";
pub(super) const RAYON: &str = "rayon join";

/// The time that a leaf should take with a cutoff.
const LEAF_NANOS: f64 = 2000.0;
/// Levels of forks above the leaves with a cutoff, of which there are 17,711.
const LEVELS: u32 = 20;

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    // The pool is leaked, so that tasks can hold a reference without counting it; this process measures nothing else.
    let pool: &'static ThreadPoolExecutor =
        Box::leak(Box::new(ThreadPoolExecutor::new(probe.workers).map_err(|error| chain(&error))?));
    let rayon = rayon_pool(probe.workers)?;
    let leaf = leaf();
    let forked = |index: u32, cutoff: u32| {
        forks_per_second(index, cutoff, || {
            let root = pool.spawn(move || by_tasks(pool, index, cutoff)).ok()?;
            root.result().ok()?
        })
    };
    let joined =
        |index: u32, cutoff: u32| forks_per_second(index, cutoff, || Some(rayon.install(|| by_join(index, cutoff))));
    let (whole, cut) = ((probe.sizes.fib, 1), (leaf + LEVELS, leaf));
    let mut forked_whole = || forked(whole.0, whole.1);
    let mut forked_cut = || forked(cut.0, cut.1);
    let mut join_whole = || joined(whole.0, whole.1);
    let mut join_cut = || joined(cut.0, cut.1);
    let mut variants = [
        (NO_CUTOFF, &mut forked_whole as &mut dyn FnMut() -> Result<f64, Reason>),
        (CUTOFF, &mut forked_cut),
        (RAYON, &mut join_whole),
        (RAYON, &mut join_cut),
    ];
    let figures = measure_interleaved(probe.sizes.rounds, probe.seed, &mut variants)?;
    let [forked_whole, forked_cut, join_whole, join_cut] = figures.try_into().unwrap_or_default();
    let whole = format!("fib({})", whole.0);
    let cut = format!("fib({}), serial from fib({}) on", cut.0, cut.1);
    let beside = |name, values| Reading::beside(RAYON, OverheadGroup::Peer, name, Unit::PerSecond, values);
    Ok(vec![
        Reading::new(probe.subject, NO_CUTOFF, Unit::PerSecond, forked_whole).with_note(&*whole),
        Reading::new(probe.subject, CUTOFF, Unit::PerSecond, forked_cut).with_note(&*cut),
        beside(NO_CUTOFF, join_whole).with_note(whole),
        beside(CUTOFF, join_cut).with_note(cut),
    ])
}

fn serial(index: u32) -> u64 {
    if index < 2 { index.into() } else { serial(index - 1) + serial(index - 2) }
}

/// The Fibonacci number; `None` when a task failed or was not taken.
fn by_tasks(pool: &'static ThreadPoolExecutor, index: u32, cutoff: u32) -> Option<u64> {
    if index <= cutoff {
        return Some(serial(index));
    }
    let other = pool.spawn(move || by_tasks(pool, index - 1, cutoff)).ok()?;
    let here = by_tasks(pool, index - 2, cutoff);
    Some(other.result().ok()?? + here?)
}

fn by_join(index: u32, cutoff: u32) -> u64 {
    if index <= cutoff {
        return serial(index);
    }
    let (a, b) = rayon::join(|| by_join(index - 1, cutoff), || by_join(index - 2, cutoff));
    a + b
}

/// The number of forks of the recursion.
fn forks(index: u32, cutoff: u32) -> u64 {
    let (mut before, mut last) = (0_u64, 0_u64);
    for _ in cutoff..index {
        (before, last) = (last, before + last + 1);
    }
    last
}

fn forks_per_second(index: u32, cutoff: u32, compute: impl FnOnce() -> Option<u64>) -> Result<f64, Reason> {
    let start = Instant::now();
    let answer = compute();
    let elapsed = start.elapsed();
    if answer != Some(fibonacci(index)) {
        return Err(format!("fib({index}) is {}, not {answer:?}", fibonacci(index)).into());
    }
    Ok(forks(index, cutoff) as f64 / elapsed.as_secs_f64())
}

fn fibonacci(index: u32) -> u64 {
    (0..index).fold((0_u64, 1_u64), |(a, b), _| (b, a + b)).0
}

/// The first index whose serial computation takes [`LEAF_NANOS`].
fn leaf() -> u32 {
    let time = |index: u32| {
        let best = (0..50).map(|_| {
            let start = Instant::now();
            black_box(serial(black_box(index)));
            start.elapsed().as_nanos() as f64
        });
        best.fold(f64::MAX, f64::min)
    };
    (5..30).find(|index| time(*index) >= LEAF_NANOS).unwrap_or(30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_variants_give_the_same_number() {
        let pool: &'static ThreadPoolExecutor = Box::leak(Box::new(ThreadPoolExecutor::new(2).unwrap()));
        for index in [0, 1, 2, 12] {
            assert_eq!(by_tasks(pool, index, 1), Some(fibonacci(index)));
            assert_eq!((by_join(index, 3), serial(index)), (fibonacci(index), fibonacci(index)));
        }
    }

    #[test]
    fn forks_are_counted() {
        // fib(4) forks, and so do fib(3) and fib(2) below it, and fib(2) once more.
        assert_eq!((forks(4, 1), forks(2, 1), forks(1, 1), forks(5, 4)), (4, 1, 0, 1));
    }
}
