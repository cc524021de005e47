//! Minimum effective task granularity, the one definition that every command and the report use: METG(50%) is the smallest
//! granularity with which an executor is half efficient (Slaughter et al., "Task Bench", SC20, section 4).
//!
//! The number of tasks is fixed, and their work is varied. *Granularity* is wall time times cores divided by the number of
//! tasks, and *efficiency* is the time of the same work in a plain loop, measured in the same block, divided by the cores and by
//! the wall time. So at an efficiency of one half the granularity is twice the work of a task: half of it is the executor's.
//! All that a batch costs once, such as waking the workers, is divided among its tasks; the cost model tells the two apart.

use reports::model::{Estimate, NoCrossing};

use super::{crossing::over_blocks, crossing::root, median};

/// The thresholds in percent.
pub(crate) const PERCENTS: [u32; 3] = [50, 90, 95];

/// The name that every command and the report have for it.
pub(crate) fn name(percent: u32) -> String {
    format!("METG({percent}%)")
}

/// One amount of work in one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// The work of a task alone, in nanoseconds.
    pub(crate) bare_ns: f64,
    pub(crate) efficiency: f64,
}

impl Point {
    /// Of the times of all tasks in a plain loop and on the executor, in nanoseconds.
    pub(crate) fn new(loop_ns: f64, wall_ns: f64, tasks: f64, cores: f64) -> Self {
        Self { bare_ns: loop_ns / tasks, efficiency: loop_ns / (cores * wall_ns) }
    }

    /// Wall time times cores divided by the number of tasks.
    pub(crate) fn granularity(&self) -> f64 {
        self.bare_ns / self.efficiency
    }
}

/// METG of one block, whose points are by rising work; not finite where the points do not reach down or up to it.
pub(crate) fn of_block(points: &[Point], percent: u32) -> f64 {
    let threshold = f64::from(percent) / 100.0;
    let curve: Vec<(f64, f64)> = points.iter().map(|point| (point.bare_ns, point.efficiency)).collect();
    // Where efficiency is the threshold, granularity is the work divided by it.
    root(&curve, threshold) / threshold
}

/// METG with its interval over blocks.
///
/// # Errors
///
/// What is known where an end of the interval lies beyond the points.
pub(crate) fn metg<B: AsRef<[Point]>>(blocks: &[B], percent: u32) -> Result<Estimate, NoCrossing> {
    let blocks: Vec<&[Point]> = blocks.iter().map(AsRef::as_ref).filter(|points| !points.is_empty()).collect();
    let roots: Vec<f64> = blocks.iter().map(|points| of_block(points, percent)).collect();
    let end = |pick: fn(&[Point]) -> Option<&Point>| {
        median(&blocks.iter().filter_map(|points| pick(points)).map(Point::granularity).collect::<Vec<_>>())
    };
    over_blocks(&roots, end(<[_]>::first), end(<[_]>::last))
}

#[cfg(test)]
mod tests {
    use workloads::Random;

    use super::*;

    /// The planted executor: each task costs `own` more on its core, and a batch of `tasks` costs `batch` once.
    fn block(random: &mut Random, own: f64, batch: f64, noise: f64) -> Vec<Point> {
        let (tasks, cores) = (4000.0, 2.0);
        let mut factor = |size: f64| {
            // A sum of uniform numbers is as good as normal here.
            let sum: f64 = (0..6).map(|_| (random.next_u64() % 1_000_000) as f64 / 1e6 - 0.5).sum();
            (size * sum * 2.0_f64.sqrt()).exp()
        };
        let speed = factor(noise);
        let point = |step| {
            let work = speed * 32.0 * f64::powi(2.0, step);
            let wall = tasks * (work + speed * own) / cores + speed * batch;
            Point::new(tasks * work * factor(noise), wall * factor(noise), tasks, cores)
        };
        (0..13).map(point).collect()
    }

    #[test]
    fn granularity_at_the_half_is_twice_the_cost_of_a_task() {
        let blocks: Vec<_> = (0..7).map(|seed| block(&mut Random::new(seed), 1000.0, 0.0, 0.0)).collect();
        for (percent, factor) in [(50, 2.0), (90, 10.0), (95, 20.0)] {
            let found = metg(&blocks, percent).unwrap();
            assert!((found.median / (factor * 1000.0) - 1.0).abs() < 0.1, "{percent}: {found:?}");
        }
    }

    #[test]
    fn what_a_batch_costs_once_is_divided_among_its_tasks() {
        let blocks = [block(&mut Random::new(1), 0.0, 2e6, 0.0)];
        // 2 ms on two cores for 4,000 tasks are 1 µs for each.
        let found = metg(&blocks, 50).unwrap();
        assert!((found.median / 2000.0 - 1.0).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn an_executor_out_of_reach_says_so() {
        let of = |own| metg(&[block(&mut Random::new(1), own, 0.0, 0.0)], 50);
        assert!(matches!(of(1e9), Err(NoCrossing::Above(_))));
        assert!(matches!(of(1.0), Err(NoCrossing::Below(_))));
        assert_eq!(metg::<Vec<Point>>(&[], 50), Err(NoCrossing::NotMeasured));
    }

    /// The interval of METG covers the planted truth as often as it says, over 1,000 draws.
    #[test]
    fn intervals_cover_the_planted_metg() {
        let (draws, mut random) = (1000, Random::new(20_261_130));
        for (percent, factor) in [(50, 2.0), (90, 10.0)] {
            let truth = {
                // Linear interpolation between the points has a bias of its own, which is part of the definition.
                let exact = metg(&[block(&mut Random::new(0), 1000.0, 0.0, 0.0)], percent).unwrap().median;
                assert!((exact / (factor * 1000.0) - 1.0).abs() < 0.1);
                exact
            };
            let (mut covered, mut promised) = (0, 0.0);
            for _ in 0..draws {
                let blocks: Vec<_> = (0..9).map(|_| block(&mut random, 1000.0, 0.0, 0.01)).collect();
                let found = metg(&blocks, percent).unwrap();
                covered += u32::from(found.low <= truth && truth <= found.high);
                promised = found.confidence;
            }
            let share = f64::from(covered) / f64::from(draws);
            let error = (promised * (1.0 - promised) / f64::from(draws)).sqrt();
            assert!(promised >= 0.95 && share > promised - 3.0 * error, "{percent}: {share} of {promised}");
        }
    }
}
