//! The measurement of METG: see [`stats::metg`](mod@crate::stats::metg) for the definition.
//!
//! Every command takes it in this way: [`TASKS`] independent tasks, submitted by one thread and then collected, with the same
//! amounts of work in every block. The plain loop and the executor take turns, so that a slower clock cancels out (an executor
//! that was compared with its own best time would look the better, the worse that time is). Amounts of work are measured in a
//! random order.

use std::{hint::black_box, time::Instant};

use executor_core::Executor;
use reports::{
    model::Reason,
    overhead::{Block, Figure, Unit},
};
use workloads::kernels::{self, Spin};

use super::{
    contenders::LabExecutor,
    measurement::{Measurement, Probe, Reading, Subject},
    throughput::speed,
};
use crate::{
    error::chain,
    executors::{Visit, with_pool},
    runner::schedule::interleave,
    stats::{
        self,
        metg::{PERCENTS, Point, metg, name, of_block},
    },
};

/// Number of tasks, whatever they do. They are so many that what a batch costs once counts for little, and so few that the
/// longest take less than a second.
pub(crate) const TASKS: u32 = 4000;

/// METG(50%), the figure with a target.
pub(super) const METG: &str = "METG(50%)";

/// Iterations of the kernel in a task: powers of two, from some tens of nanoseconds to more than a hundred microseconds.
const WORK: std::ops::RangeInclusive<u32> = 5..=17;

/// The longest task, in microseconds.
const LONGEST_US: f64 = 250.0;

/// An amount of work is measured again until this much time has passed, or this often: short ones are easily disturbed.
const LONGEST_S: f64 = 0.05;
const MOST_ROUNDS: u32 = 5;

const BARE: &str = "bare task";
const EFFICIENCY: &str = "efficiency";

fn detail(what: &str, iterations: u64) -> String {
    format!("{what} at {iterations} iterations")
}

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let Subject::Lab(kind) = probe.subject else { return Err("does not run kernels".into()) };
    with_pool(kind, probe.workers, Sweep(*probe)).map_err(|error| chain(&error))?
}

struct Sweep(Probe);

impl Visit for Sweep {
    type Output = Result<Vec<Reading>, Reason>;

    fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Self::Output {
        let Probe { subject, workers, seed, .. } = self.0;
        // Threads that start on demand are started, and every code path has been taken.
        speed(&LabExecutor(executor))?;
        let cores = workers.min(std::thread::available_parallelism().map_or(1, usize::from));
        // A slow kernel, such as that of a debug build, does less.
        let most = LONGEST_US * kernels::calibrate();
        let work: Vec<u64> = WORK.map(|power| 1_u64 << power).filter(|work| *work as f64 <= most).collect();
        let mut readings = Vec::new();
        for slot in interleave(work.len(), 1, seed) {
            let iterations = work[slot.cell];
            let (mut bare, mut efficiency) = (Vec::new(), Vec::new());
            let start = Instant::now();
            for _ in 0..MOST_ROUNDS {
                let point = round(executor, iterations, cores)?;
                bare.push(point.bare_ns);
                efficiency.push(point.efficiency);
                if start.elapsed().as_secs_f64() > LONGEST_S {
                    break;
                }
            }
            let reading =
                |what, unit, values| Reading::new(subject, detail(what, iterations), unit, values).into_detail();
            readings.push(reading(BARE, Unit::Nanoseconds, bare));
            readings.push(reading(EFFICIENCY, Unit::Ratio, efficiency));
        }
        Ok(readings)
    }
}

fn round<E: Executor>(executor: &E, iterations: u64, cores: usize) -> Result<Point, Reason> {
    let start = Instant::now();
    let mut expected = 0_u64;
    for seed in 0..u64::from(TASKS) {
        expected ^= black_box(kernels::spin(Spin { iterations, seed }));
    }
    let serial = start.elapsed();

    let start = Instant::now();
    let futures: Vec<_> = (0..u64::from(TASKS))
        .filter_map(|seed| executor.submit(kernels::spin, Spin { iterations, seed }).ok())
        .collect();
    let mut found = 0;
    for future in futures {
        found ^= future.result().map_err(|error| chain(&error))?;
    }
    let parallel = start.elapsed();
    if found != expected {
        return Err(Reason::wrong("they are not those of a plain loop"));
    }
    let nanos = |time| stats::nanos(time) as f64;
    Ok(Point::new(nanos(serial), nanos(parallel), f64::from(TASKS), cores as f64))
}

/// The points of each block of a subject, by rising work.
pub(crate) fn blocks_of(figures: &[Figure], subject: &str) -> Vec<(u32, Vec<Point>)> {
    let own = |figure: &&Figure| figure.measurement == Measurement::Metg.name() && figure.subject == subject;
    let of = |what: &str, iterations: u64, block: u32| {
        let quantity = detail(what, iterations);
        let figure = figures.iter().filter(own).find(|figure| figure.quantity == quantity)?;
        let block = figure.blocks.iter().find(|known| known.block == block)?;
        Some(stats::median(&block.values))
    };
    let mut numbers: Vec<u32> =
        figures.iter().filter(own).flat_map(|figure| &figure.blocks).map(|block| block.block).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let points = |block| {
        let point = |power| {
            let iterations = 1_u64 << power;
            Some(Point { bare_ns: of(BARE, iterations, block)?, efficiency: of(EFFICIENCY, iterations, block)? })
        };
        WORK.filter_map(point).collect()
    };
    numbers.into_iter().map(|block| (block, points(block))).collect()
}

/// The figures of METG, computed from the points of all blocks; one for each threshold and subject.
pub(super) fn figures(measured: &[Figure]) -> Vec<Figure> {
    let mut found: Vec<Figure> = Vec::new();
    for example in measured.iter().filter(|figure| figure.measurement == Measurement::Metg.name() && figure.detail) {
        if found.iter().any(|figure| figure.subject == example.subject) {
            continue;
        }
        let blocks = blocks_of(measured, &example.subject);
        let points: Vec<&[Point]> = blocks.iter().map(|(_, points)| &points[..]).collect();
        for percent in PERCENTS {
            let (note, estimate, missing) = match metg(&points, percent) {
                Ok(estimate) => (format!("granularity, in batches of {TASKS} tasks"), Some(estimate), None),
                Err(why) => (format!("not measured: {why}"), None, Some(Reason::from(why.to_string()))),
            };
            let values = blocks.iter().map(|(block, points)| Block {
                block: *block,
                order: *block,
                values: Some(of_block(points, percent)).filter(|value| value.is_finite()).into_iter().collect(),
            });
            found.push(Figure {
                quantity: name(percent),
                unit: Unit::Nanoseconds,
                estimate,
                blocks: values.filter(|block| !block.values.is_empty()).collect(),
                detail: false,
                note,
                missing,
                ..example.clone()
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_come_from_the_points_of_all_blocks() {
        let figure = |what, iterations, unit, value: fn(f64) -> f64| Figure {
            measurement: Measurement::Metg.name(),
            subject: "thread".to_owned(),
            group: reports::model::OverheadGroup::Lab,
            quantity: detail(what, iterations),
            unit,
            estimate: None,
            blocks: (0..6).map(|block| Block { block, order: block, values: vec![value(iterations as f64)] }).collect(),
            detail: true,
            note: String::new(),
            missing: None,
        };
        // One iteration takes a nanosecond, and each task costs its core 1 µs more than its work.
        let measured: Vec<Figure> = WORK
            .map(|power| 1_u64 << power)
            .flat_map(|iterations| {
                let bare = figure(BARE, iterations, Unit::Nanoseconds, |work| work);
                [bare, figure(EFFICIENCY, iterations, Unit::Ratio, |work| work / (work + 1000.0))]
            })
            .collect();
        let found = figures(&measured);
        let names: Vec<&str> = found.iter().map(|figure| figure.quantity.as_str()).collect();
        assert_eq!(names, [METG, "METG(90%)", "METG(95%)"]);
        let half = found[0].estimate.unwrap();
        assert!((half.median / 2000.0 - 1.0).abs() < 0.05 && half.n == 6, "{half:?}");
        assert_eq!(found[0].blocks.len(), 6);
        assert!(figures(&[]).is_empty());
    }
}
