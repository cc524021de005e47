//! Minimum effective task granularity: the shortest task for which an executor is half efficient (Slaughter et al., "Task
//! Bench", SC20, section 4).
//!
//! The number of tasks is fixed, and their work, in iterations of a kernel, is halved from where the kernel dominates until
//! efficiency is below one half. Efficiency is the time of the same kernels in a plain loop, divided by the cores that can
//! work and by the time on the executor; loop and executor are interleaved, so that a slower clock cancels out (an executor
//! that was compared with its own best time would look the better, the worse that time is). Granularity is, as there, wall
//! time times cores divided by the number of tasks: where efficiency is one half, twice the time of the bare task, which is
//! given as well. Between neighbors the curve is interpolated in the logarithm of the granularity.

use std::{hint::black_box, time::Instant};

use executor_core::Executor;
use reports::{
    model::{NoCrossing, Reason},
    overhead::Unit,
};
use workloads::kernels::{self, Spin};

use super::{
    contenders::LabExecutor,
    measurement::{Probe, Reading, Subject},
    throughput::{speed, submit_then_collect},
};
use crate::{
    error::chain,
    executors::{Visit, with_executor},
    stats::{self, Curve},
};

pub(super) const METG: &str = "METG(50%)";
const BARE: &str = "bare task at METG(50%)";
const HALF: f64 = 0.5;

/// Time of all tasks of a point if they were empty, in seconds.
const SPAN: f64 = 0.01;
/// The sweep begins with tasks that take this many times as long as an empty one, per core.
const FIRST: f64 = 4.0;
const MOST_POINTS: usize = 16;

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let Subject::Lab(kind) = probe.subject else { return Err("does not run kernels".into()) };
    with_executor(kind, probe.workers, Sweep(*probe)).map_err(|error| chain(&error))?
}

struct Sweep(Probe);

/// One amount of work: its iterations, the bare task's time in nanoseconds, and the efficiency.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    iterations: u64,
    task_ns: f64,
    efficiency: f64,
}

impl Visit for Sweep {
    type Output = Result<Vec<Reading>, Reason>;

    fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Self::Output {
        let Probe { subject, sizes, workers, seed, .. } = self.0;
        let cores = workers.min(std::thread::available_parallelism().map_or(1, usize::from));
        // The speed is measured once more with many tasks: it should be that of the executor, and not of its first few tasks.
        let speed = submit_then_collect(&LabExecutor(executor), sizes.tasks(speed(&LabExecutor(executor))?))?;
        let tasks = ((speed * SPAN) as u32).clamp(100, 50_000);
        // A power of two, so that all blocks have points at the same amounts of work.
        let first = (FIRST * cores as f64 * kernels::calibrate() * 1e6 / speed) as u64;
        let point = |iterations| at(executor, iterations, tasks, cores, sizes.rounds);
        let points = sweep(first.max(16).next_power_of_two(), point)?;
        let bare = half(&points, seed).map_err(|why| format!("half efficient from tasks of: {why}"))?;
        let note = format!("{tasks} independent tasks, submitted by one thread");
        let mut readings = vec![
            Reading::new(subject, METG, Unit::Nanoseconds, vec![bare / HALF]).with_note(note),
            Reading::new(subject, BARE, Unit::Nanoseconds, vec![bare]),
        ];
        for point in points {
            let name = format!("efficiency at {} iterations", point.iterations);
            readings.push(Reading::new(subject, name, Unit::Ratio, vec![point.efficiency]).into_detail());
        }
        Ok(readings)
    }
}

/// Points by rising work, around where efficiency is one half.
fn sweep(first: u64, mut point: impl FnMut(u64) -> Result<Point, Reason>) -> Result<Vec<Point>, Reason> {
    let mut points = vec![point(first)?];
    // Upward until the kernel dominates, which shows that the measurement is set up well.
    while points.len() < MOST_POINTS && points.last().is_some_and(|point| point.efficiency < 0.6) {
        points.push(point(first << points.len())?);
    }
    // Downward until well below one half: two points in a row rule out a hiccup.
    let mut iterations = first / 2;
    while points.len() < 2 * MOST_POINTS && iterations > 0 {
        let below = points.iter().filter(|point| point.efficiency < 0.4).count();
        if below >= 2 {
            break;
        }
        points.insert(0, point(iterations)?);
        iterations /= 2;
    }
    Ok(points)
}

/// Time of the bare task where efficiency is one half.
fn half(points: &[Point], seed: u64) -> Result<f64, NoCrossing> {
    let curve = Curve { points: points.iter().map(|point| (point.task_ns, vec![point.efficiency])).collect() };
    stats::crossing(&curve, HALF, seed).map(|estimate| estimate.median)
}

/// Measures one point: the medians of `rounds` rounds.
fn at<E: Executor>(executor: &E, iterations: u64, tasks: u32, cores: usize, rounds: u32) -> Result<Point, Reason> {
    let (mut bare, mut efficiency) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let mut expected = 0_u64;
        for seed in 0..u64::from(tasks) {
            expected ^= black_box(kernels::spin(Spin { iterations, seed }));
        }
        let serial = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let futures: Vec<_> = (0..u64::from(tasks))
            .filter_map(|seed| executor.submit(kernels::spin, Spin { iterations, seed }).ok())
            .collect();
        let mut found = 0;
        for future in futures {
            found ^= future.result().map_err(|error| chain(&error))?;
        }
        let parallel = start.elapsed().as_secs_f64();
        if found != expected {
            return Err(Reason::wrong("they are not those of a plain loop"));
        }
        bare.push(serial * 1e9 / f64::from(tasks));
        efficiency.push(serial / cores as f64 / parallel);
    }
    Ok(Point { iterations, task_ns: stats::median(&bare), efficiency: stats::median(&efficiency) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overhead_of_so_many_nanoseconds_is_found_whether_the_sweep_begins_above_or_below() {
        // One iteration is one nanosecond, and each task costs 1 µs more than its work.
        let model = |iterations: u64| {
            let task_ns = iterations as f64;
            Ok(Point { iterations, task_ns, efficiency: task_ns / (task_ns + 1000.0) })
        };
        for first in [16, 1000, 50_000] {
            let points = sweep(first, model).unwrap();
            assert!(points.windows(2).all(|pair| pair[0].iterations < pair[1].iterations), "{points:?}");
            let bare = half(&points, 1).unwrap();
            assert!((bare / 1000.0 - 1.0).abs() < 0.1, "{first}: {bare}");
        }
    }

    #[test]
    fn an_executor_that_is_never_half_efficient_says_so() {
        let model = |iterations: u64| Ok(Point { iterations, task_ns: iterations as f64, efficiency: 0.3 });
        let points = sweep(16, model).unwrap();
        assert_eq!(half(&points, 1), Err(NoCrossing::Above(points[points.len() - 1].task_ns)));
    }
}
