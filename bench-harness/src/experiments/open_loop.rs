//! Latency at a chosen load, in an open loop beside a closed one: see [`open_loop`](mod@crate::open_loop).

use std::time::Duration;

use reports::model::{Evidence, Finding, LoadPoint, Percentile, Run, Skipped, Tone};

use super::{
    experiment::{Experiment, Job},
    words::{finding, interval, workers},
};
use crate::{
    cell::CellSpec,
    error::LabError,
    executors::Kind,
    open_loop::{OpenLoop, OpenLoopSpec},
    runner::{child, progress::Progress, schedule::interleave},
    stats,
};

/// The longest that one sample may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The percentiles.
const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// A percentile with fewer requests beyond it is that of a few chance events.
const BEYOND: f64 = 5.0;

/// Number of workers for work that waits: more than cores, and no more than a server would bear.
const WAITING: u32 = 8;

/// Seen and due number of requests in flight may differ so much by the two ends of a sample.
const SETTLED: f64 = 0.15;

/// Latencies in an open loop.
pub(crate) struct OpenLoops;

impl Experiment for OpenLoops {
    fn id(&self) -> &'static str {
        "load"
    }

    fn steps(&self, job: &Job<'_>) -> usize {
        plan(job).len() * job.repetitions as usize
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        let plan = plan(job);
        let time = Duration::from_millis(if job.settings.quick { 600 } else { 1000 });
        let mut blocks: Vec<Vec<OpenLoop>> = plan.iter().map(|_| Vec::new()).collect();
        let mut bad: Vec<Option<String>> = vec![None; plan.len()];
        for slot in interleave(plan.len(), job.repetitions, job.settings.seed) {
            if progress.interrupted() {
                break;
            }
            let (cell, load) = &plan[slot.cell];
            let what = format!("{} on {} at {:.0}% load", cell.work.name(), cell.executor, 100.0 * load);
            progress.begin(&what);
            if bad[slot.cell].is_none() {
                let seed = job.settings.seed.wrapping_add(slot.order.into());
                match sample(&OpenLoopSpec { cell: cell.clone(), load: *load, seed, time }) {
                    Ok(block) if block.failed == 0 => blocks[slot.cell].push(block),
                    Ok(block) => bad[slot.cell] = Some(format!("{} of its requests have failed", block.failed)),
                    Err(reason) => bad[slot.cell] = Some(reason),
                }
            }
            progress.step();
        }
        let measured = plan.iter().zip(&blocks).zip(&bad).filter(|(_, bad)| bad.is_none());
        run.loads = measured.filter_map(|(((cell, load), blocks), _)| point(cell, *load, blocks)).collect();
        let skipped = plan.iter().zip(bad).filter_map(|((cell, load), reason)| {
            let what = format!("latency of {} on {} at {:.0}% load", cell.work.name(), cell.executor, 100.0 * load);
            Some(Skipped { what, reason: reason? })
        });
        Ok(skipped.collect())
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        let mut names: Vec<&str> = run.loads.iter().map(|point| point.workload.as_str()).collect();
        names.dedup();
        names.into_iter().filter_map(|name| told(run, name)).chain(unsettled(run)).collect()
    }
}

/// Each cell with its load.
fn plan(job: &Job<'_>) -> Vec<(CellSpec, f64)> {
    let settings = job.settings;
    let mut waits: Vec<&CellSpec> = Vec::new();
    for cell in job.plan.cells.iter().filter(|cell| !settings.loads.is_empty() || cell.work.waits()) {
        // The whole job measures one workload of these; a sweep its own.
        if waits.iter().all(|known| known.work.name() == cell.work.name()) {
            waits.push(cell);
        }
    }
    let default: &[f64] = if settings.quick { &[0.8] } else { &[0.5, 0.8] };
    let loads = if settings.loads.is_empty() { default } else { &settings.loads };
    let named = !settings.workers.is_empty();
    let mut cells: Vec<CellSpec> = Vec::new();
    for cell in waits.into_iter().filter(|cell| Kind::pools().any(|kind| kind == cell.executor)) {
        let usual = if cell.work.waits() { WAITING } else { job.cores };
        let chosen = CellSpec { workers: if named { cell.workers } else { usual }, ..cell.clone() };
        let is_asked = settings.workload.is_some() || cell.executor != Kind::Rayon;
        if is_asked && !cells.contains(&chosen) {
            cells.push(chosen);
        }
    }
    cells.iter().flat_map(|cell| loads.iter().map(|load| (cell.clone(), *load))).collect()
}

fn sample(spec: &OpenLoopSpec) -> Result<OpenLoop, String> {
    let input = serde_json::to_vec(spec).map_err(|error| error.to_string())?;
    let output = child::run_lab("open-loop-sample", &input, LIMIT)?;
    serde_json::from_slice(&output).map_err(|error| format!("invalid output: {error}"))
}

/// What the blocks say together; `None` without one.
fn point(cell: &CellSpec, load: f64, blocks: &[OpenLoop]) -> Option<LoadPoint> {
    let of = |value: fn(&OpenLoop) -> f64| stats::estimate(&blocks.iter().map(value).collect::<Vec<_>>());
    let percentiles = |pick: fn(&OpenLoop) -> &Vec<u64>| -> Vec<Percentile> {
        let sorted: Vec<Vec<u64>> = blocks
            .iter()
            .map(|block| {
                let mut all = pick(block).clone();
                all.sort_unstable();
                all
            })
            .collect();
        let fewest = sorted.iter().map(Vec::len).min().unwrap_or(0) as f64;
        let carried = SHARES.into_iter().filter(|share| fewest * (1.0 - share) >= BEYOND - 1e-9);
        let of_blocks = |share: f64| {
            sorted.iter().filter_map(|all| stats::nearest_rank(all, share)).map(|ns| ns as f64).collect::<Vec<_>>()
        };
        carried.filter_map(|share| Some(Percentile { share, ns: stats::estimate(&of_blocks(share))? })).collect()
    };
    Some(LoadPoint {
        workload: cell.work.name().to_owned(),
        executor: cell.executor.name().to_owned(),
        workers: cell.workers,
        load,
        capacity_per_s: of(|block| block.capacity_per_s)?,
        requests: blocks.iter().map(|block| block.open.len() as u64).min()?,
        open: percentiles(|block| &block.open),
        closed: percentiles(|block| &block.closed),
        little: of(|block| block.in_flight / block.in_flight_due),
    })
}

/// The highest percentile of the highest load, of every executor.
fn told(run: &Run, workload: &str) -> Option<Finding> {
    let of = || run.loads.iter().filter(|point| point.workload == workload);
    let load = of().map(|point| point.load).max_by(f64::total_cmp)?;
    let points: Vec<&LoadPoint> = of().filter(|point| point.load == load).collect();
    // The one that all carry.
    let share =
        SHARES.into_iter().rev().find(|share| points.iter().all(|point| point.percentile(*share).0.is_some()))?;
    let each = points.iter().filter_map(|point| {
        let (open, closed) = point.percentile(share);
        let closed = closed
            .map_or_else(String::new, |closed| format!(" (closed loop: {})", reports::format::duration(closed.median)));
        Some(format!("{} on {} with {}{closed}", interval(&open?), point.executor, workers(point.workers)))
    });
    let each: Vec<String> = each.collect();
    let text = format!(
        "{workload} at {:.0}% of the throughput of a closed loop: {}% of the requests end within {} after they were due.",
        100.0 * load,
        (1000.0 * share).round() / 10.0,
        each.join(", ")
    );
    Some(finding(text, Evidence::section("load"), Tone::Neutral))
}

/// Samples whose queue kept growing, or that are wrong.
fn unsettled(run: &Run) -> impl Iterator<Item = Finding> {
    run.loads.iter().filter_map(|point| {
        let little = point.little.filter(|little| little.low > 1.0 + SETTLED || little.high < 1.0 - SETTLED)?;
        let text = format!(
            "{} on {} at {:.0}% load: requests that arrive find {:.2} times as many in flight as Little's law makes of rate and \
             latency, so the load had not settled and its latencies depend on how long it was measured.",
            point.workload, point.executor, 100.0 * point.load, little.median
        );
        Some(finding(text, Evidence::section("load"), Tone::Caution))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Work;

    fn cell() -> CellSpec {
        CellSpec { work: Work::own("own"), executor: Kind::Thread, workers: 8, data: Default::default(), input: None }
    }

    fn block(count: u64, factor: u64) -> OpenLoop {
        let latencies = |factor: u64| (1..=count).rev().map(|rank| rank * factor).collect();
        OpenLoop {
            capacity_per_s: 100.0,
            closed: latencies(1),
            open: latencies(factor),
            in_flight: 4.0,
            in_flight_due: 2.0,
            failed: 0,
        }
    }

    #[test]
    fn a_percentile_is_the_median_over_blocks_and_needs_requests_beyond_it_in_each() {
        let blocks = [block(600, 10), block(600, 20), block(500, 30)];
        let point = point(&cell(), 0.8, &blocks).unwrap();
        let shares: Vec<f64> = point.open.iter().map(|it| it.share).collect();
        assert_eq!((shares, point.requests), (vec![0.5, 0.9, 0.99], 500));
        let (open, closed) = point.percentile(0.99);
        assert_eq!((open.unwrap().median, closed.unwrap().median), (594.0 * 20.0, 594.0));
        assert_eq!(point.percentile(0.999), (None, None));
        assert!(super::point(&cell(), 0.8, &[]).is_none());
    }

    #[test]
    fn the_highest_load_is_told_and_one_that_has_not_settled_is_said() {
        let points = [0.5, 0.8].map(|load| point(&cell(), load, &vec![block(500, 1000); 6]).unwrap());
        let run = Run { loads: points.to_vec(), ..Run::default() };
        let findings = OpenLoops.findings(&run);
        assert!(findings[0].text.starts_with("own at 80% of"), "{}", findings[0].text);
        assert!(findings[0].text.contains("99% of the requests end within 495 µs"), "{}", findings[0].text);
        assert!(findings[0].text.contains("closed loop: 495 ns"), "{}", findings[0].text);
        assert_eq!(findings.len(), 3);
        assert!(findings[1].text.contains("2.00 times as many in flight"), "{}", findings[1].text);
    }
}
