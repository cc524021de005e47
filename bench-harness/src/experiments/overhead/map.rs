//! Maps of many cheap items, and maps with a few expensive items among them.
//!
//! The variants to compare are interleaved in one process; each collects all answers into a vector of its own (so that page
//! faults count for all), and the answers are checked when the clock has stopped.

use std::time::Instant;

use executor_core::{Executor, TaskError, ThreadPoolExecutor};
use rayon::prelude::*;
use reports::{
    model::{OverheadGroup, Reason},
    overhead::Unit,
};
use workloads::kernels::{self, Spin};

use super::{
    contenders::echo,
    interleave::measure_interleaved,
    measurement::{Probe, Reading, Subject},
};
use crate::{
    error::chain,
    executors::{Visit, with_pool},
};

pub(super) const INTO_VEC: &str = "items, into_vec()";
pub(super) const DRAINED: &str = "items, drained in order";
pub(super) const RAYON: &str = "rayon par_iter collect";
pub(super) const SERIAL: &str = "serial collect";
pub(super) const ITEMS: &str = "items";
pub(super) const SKEWED: &str = "items, into_vec()";

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    match probe.subject {
        Subject::PROCESS => {
            let Subject::Lab(kind) = probe.subject else { return Ok(Vec::new()) };
            with_pool(kind, probe.workers, OnProcesses(*probe)).map_err(|error| chain(&error))?
        }
        _ => on_threads(probe),
    }
}

struct OnProcesses(Probe);

impl Visit for OnProcesses {
    type Output = Result<Vec<Reading>, Reason>;

    fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Self::Output {
        let Probe { sizes, subject, seed, .. } = self.0;
        let items = sizes.process_items;
        let expected = sum(0..items);
        let mut collected = || timed(items, expected, || executor.map(echo, 0..items).into_vec());
        let mut drained = || timed(items, expected, || drain(items, executor.map(echo, 0..items)));
        let figures =
            measure_interleaved(sizes.rounds, seed, &mut [(INTO_VEC, &mut collected), (DRAINED, &mut drained)])?;
        let note = format!("{items} no-op items");
        Ok([INTO_VEC, DRAINED]
            .into_iter()
            .zip(figures)
            .map(|(name, values)| Reading::new(subject, name, Unit::PerSecond, values).with_note(note.clone()))
            .collect())
    }
}

/// A few instructions that a compiler cannot vectorize in one of the variants only.
fn cheap(x: u64) -> u64 {
    x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (x >> 7)
}

fn on_threads(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let items = probe.sizes.thread_items;
    let pool = ThreadPoolExecutor::new(probe.workers).map_err(|error| chain(&error))?;
    let rayon = rayon_pool(probe.workers)?;
    let expected = sum((0..items).map(cheap));
    let mut collected = || timed(items, expected, || pool.map(cheap, 0..items).into_vec());
    let mut drained = || timed(items, expected, || drain(items, pool.map(cheap, 0..items)));
    let mut by_rayon =
        || timed(items, expected, || Ok(rayon.install(|| (0..items).into_par_iter().map(cheap).collect())));
    let mut serial = || timed(items, expected, || Ok((0..items).map(cheap).collect()));
    let mut variants = [
        (INTO_VEC, &mut collected as &mut dyn FnMut() -> Result<f64, Reason>),
        (DRAINED, &mut drained),
        (RAYON, &mut by_rayon),
        (SERIAL, &mut serial),
    ];
    let figures = measure_interleaved(probe.sizes.rounds, probe.seed, &mut variants)?;
    let [collected, drained, by_rayon, serial] = figures.try_into().unwrap_or_default();
    let note = format!("{items} cheap items");
    let beside = |name, group, values| Reading::beside(name, group, ITEMS, Unit::PerSecond, values);
    let readings = [
        Reading::new(probe.subject, INTO_VEC, Unit::PerSecond, collected),
        Reading::new(probe.subject, DRAINED, Unit::PerSecond, drained),
        beside(RAYON, OverheadGroup::Peer, by_rayon),
        beside(SERIAL, OverheadGroup::Baseline, serial),
    ];
    Ok(readings.into_iter().map(|reading| reading.with_note(note.clone())).collect())
}

/// Items of the skewed map. The most expensive item is one over the harmonic number of all work.
const SKEWED_ITEMS: u64 = 2000;
/// Work of the most expensive item, in microseconds: all items together take about eight times that.
const LONGEST_MICROS: f64 = 4000.0;

/// Zipf's law: the item of rank k costs 1/k of the most expensive one, which comes last, where it delays the map most.
fn skewed(iterations_per_micro: f64) -> Vec<Spin> {
    (0..SKEWED_ITEMS)
        .map(|index| {
            let rank = SKEWED_ITEMS - index;
            Spin { iterations: (LONGEST_MICROS * iterations_per_micro / rank as f64) as u64, seed: index }
        })
        .collect()
}

pub(super) fn measure_skewed(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let items = skewed(kernels::calibrate());
    let pool = ThreadPoolExecutor::new(probe.workers).map_err(|error| chain(&error))?;
    let rayon = rayon_pool(probe.workers)?;
    let expected = sum(items.iter().copied().map(kernels::spin));
    let mut by_pool = || {
        let items = items.clone();
        timed(SKEWED_ITEMS, expected, || pool.map(kernels::spin, items).into_vec())
    };
    let mut by_rayon = || {
        let items = items.clone();
        timed(SKEWED_ITEMS, expected, || Ok(rayon.install(|| items.into_par_iter().map(kernels::spin).collect())))
    };
    let figures =
        measure_interleaved(probe.sizes.rounds * 2, probe.seed, &mut [(SKEWED, &mut by_pool), (RAYON, &mut by_rayon)])?;
    let [by_pool, by_rayon] = figures.try_into().unwrap_or_default();
    Ok(vec![
        Reading::new(probe.subject, SKEWED, Unit::PerSecond, by_pool)
            .with_note(format!("{SKEWED_ITEMS} items, the last one {} ms", LONGEST_MICROS / 1000.0)),
        Reading::beside(RAYON, OverheadGroup::Peer, ITEMS, Unit::PerSecond, by_rayon),
    ])
}

pub(super) fn rayon_pool(workers: usize) -> Result<rayon::ThreadPool, Reason> {
    rayon::ThreadPoolBuilder::new().num_threads(workers).build().map_err(|error| error.to_string().into())
}

/// Takes the results one after the other on one thread, into a vector that is large enough.
fn drain(items: u64, results: impl Iterator<Item = Result<u64, TaskError>>) -> Result<Vec<u64>, TaskError> {
    let mut all = Vec::with_capacity(items as usize);
    for result in results {
        all.push(result?);
    }
    Ok(all)
}

/// Items per second; an error when the answers differ from those of a serial loop.
fn timed(items: u64, expected: u64, work: impl FnOnce() -> Result<Vec<u64>, TaskError>) -> Result<f64, Reason> {
    let start = Instant::now();
    let answers = work().map_err(|error| chain(&error))?;
    let elapsed = start.elapsed();
    if answers.len() as u64 != items || sum(answers.iter().copied()) != expected {
        return Err(Reason::wrong(format!("{} to {items} items, or others", answers.len())));
    }
    Ok(items as f64 / elapsed.as_secs_f64())
}

/// A sum that depends on the order of the values.
fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, |sum: u64, value| sum.rotate_left(1) ^ value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skewed_items_follow_zipf_and_the_longest_is_last() {
        let items = skewed(1000.0);
        assert_eq!(items.len() as u64, SKEWED_ITEMS);
        assert!(items.windows(2).all(|pair| pair[0].iterations <= pair[1].iterations));
        let (last, half) = (items[items.len() - 1].iterations, items[items.len() - 2].iterations);
        assert_eq!(last, half * 2);
        let all: u64 = items.iter().map(|item| item.iterations).sum();
        assert!((7.5..8.5).contains(&(all as f64 / last as f64)));
    }

    #[test]
    fn answers_in_another_order_are_wrong() {
        assert!(timed(2, sum([1, 2].into_iter()), || Ok(vec![1, 2])).is_ok());
        assert!(timed(2, sum([1, 2].into_iter()), || Ok(vec![2, 1])).is_err());
        assert!(timed(3, sum([1, 2].into_iter()), || Ok(vec![1, 2])).is_err());
    }
}
