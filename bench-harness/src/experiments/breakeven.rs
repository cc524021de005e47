//! How long a task must be for an executor to be worth its overhead: efficiency against task duration.
//!
//! Efficiency is the time that the serial executor needs for the tasks, divided by the workers that can run at the
//! same time and by the time that the executor needs. Both are measured in the same block, so that a slower clock cancels
//! out. Where it reaches one half is the METG(50%) of Slaughter et al., "Task Bench" (SC20).

use std::path::PathBuf;

use reports::model::{
    Crossing, EfficiencyCurve, EfficiencyPoint, Estimate, Evidence, Finding, NoCrossing, Run, Skipped, Tone, Warning,
};
use workloads::kernels::{self, SpinTasks};

use super::{
    experiment::{Experiment, Job},
    words::{finding, interval},
};
use crate::{
    cell::CellSpec,
    error::LabError,
    executors::Kind,
    runner::{child, progress::Progress, schedule::interleave},
    stats::{self, Curve},
    work::Work,
};

/// Processes that come within this share of the threads' efficiency count as even.
const EVEN: f64 = 0.95;

/// Task durations in microseconds.
fn grid(quick: bool) -> Vec<f64> {
    let (first, factor, count) = if quick { (1.0, 6.0, 6) } else { (0.5, 2.5, 12) };
    (0..count).map(|step| first * f64::powi(factor, step)).collect()
}

fn repetitions(quick: bool) -> u32 {
    if quick { 7 } else { 9 }
}

/// The overhead of a pool, shown by the task that outweighs it.
pub(crate) struct BreakEven;

impl Experiment for BreakEven {
    fn id(&self) -> &'static str {
        "efficiency"
    }

    fn steps(&self, job: &Job<'_>) -> usize {
        let quick = job.settings.quick;
        grid(quick).len() * (Kind::pools().count() + 1) * repetitions(quick) as usize
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        let Outcome { efficiency, crossings, bad } = measure(job, progress)?;
        (run.efficiency, run.crossings) = (efficiency, crossings);
        Ok(bad)
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        break_even(run)
    }
}

/// The curves and crossings that were found.
#[derive(Debug, Default)]
struct Outcome {
    efficiency: Vec<EfficiencyCurve>,
    crossings: Vec<Crossing>,
    /// Samples that failed or had wrong answers; no curve includes them.
    bad: Vec<Skipped>,
}

/// Measures the curves and where they cross.
fn measure(job: &Job<'_>, progress: &mut Progress) -> Result<Outcome, LabError> {
    let grid = grid(job.settings.quick);
    let workers = job.cores.min(2);
    let kinds: Vec<Kind> = [Kind::Serial].into_iter().chain(Kind::pools()).collect();
    let cells = cells(&grid, &kinds, workers)?;
    let mut samples = Samples::take(&cells, &grid, job, progress);
    samples.drop_wrong(&kinds, &grid);
    let curves = samples.curves(&kinds, workers);
    if curves.iter().all(|(_, curve)| curve.points.is_empty()) {
        // The run was stopped before, or every sample failed: a run without curves says so, and curves without points would be
        // misleading.
        return Ok(Outcome { bad: samples.bad, ..Outcome::default() });
    }
    let shown = curves.iter().map(|(kind, curve)| EfficiencyCurve {
        executor: kind.name().to_owned(),
        workers,
        points: curve
            .points
            .iter()
            .filter_map(|(task_ns, values)| {
                Some(EfficiencyPoint { task_ns: *task_ns, efficiency: stats::estimate(values)? })
            })
            .collect(),
    });
    let crossings = crossings(&curves, job.settings.seed);
    Ok(Outcome { efficiency: shown.collect(), crossings, bad: samples.bad })
}

/// The cells: one for each duration and executor.
fn cells(grid: &[f64], kinds: &[Kind], workers: u32) -> Result<Vec<CellSpec>, LabError> {
    let speed = kernels::calibrate();
    let mut cells = Vec::new();
    for micros in grid {
        // About 20 ms of work for each worker, but enough tasks to share, and not so many that submitting takes minutes.
        let tasks = (20_000.0 * f64::from(workers) / micros).clamp(8.0 * f64::from(workers), 5000.0) as u32;
        let work = Work::new(&SpinTasks { tasks, iterations: (micros * speed).max(1.0) as u64 })?;
        let cell = |executor: &Kind| CellSpec {
            work: work.clone(),
            executor: *executor,
            workers,
            data: PathBuf::new(),
            input: None,
        };
        cells.extend(kinds.iter().map(cell));
    }
    Ok(cells)
}

/// The samples by cell and block; a sample that failed is missing.
struct Samples {
    digests: Vec<Vec<Option<String>>>,
    /// Makespan in nanoseconds, and number of tasks.
    makespans: Vec<Vec<Option<(f64, f64)>>>,
    bad: Vec<Skipped>,
}

fn named(executor: Kind, micros: f64) -> String {
    format!("break-even: {executor} with tasks of {micros:.1} µs")
}

impl Samples {
    fn take(cells: &[CellSpec], grid: &[f64], job: &Job<'_>, progress: &mut Progress) -> Self {
        let blocks = repetitions(job.settings.quick);
        let mut samples = Self {
            digests: vec![vec![None; blocks as usize]; cells.len()],
            makespans: vec![vec![None; blocks as usize]; cells.len()],
            bad: Vec::new(),
        };
        let per_row = cells.len() / grid.len();
        for slot in interleave(cells.len(), blocks, job.settings.seed ^ 0x5eed) {
            if progress.interrupted() {
                break;
            }
            let cell = &cells[slot.cell];
            progress.begin(&format!("break-even: {}", cell.executor));
            let mut bad = |reason| {
                samples.bad.push(Skipped { what: named(cell.executor, grid[slot.cell / per_row]), reason });
            };
            match child::sample(cell) {
                Ok(measured) if measured.failed_tasks == 0 => {
                    let time = (measured.makespan_ns as f64, measured.tasks as f64);
                    samples.makespans[slot.cell][slot.block as usize] = Some(time);
                    samples.digests[slot.cell][slot.block as usize] = Some(measured.digest);
                }
                Ok(measured) => bad(measured.first_error.unwrap_or_default()),
                Err(reason) => bad(reason),
            }
            progress.step();
        }
        samples
    }

    /// The serial answers are the right ones; a row without them does not count.
    fn drop_wrong(&mut self, kinds: &[Kind], grid: &[f64]) {
        for (row, micros) in grid.iter().enumerate() {
            let first = row * kinds.len();
            let right = self.digests[first].iter().flatten().next().cloned();
            for (index, kind) in kinds.iter().enumerate() {
                for (time, digest) in self.makespans[first + index].iter_mut().zip(&self.digests[first + index]) {
                    if digest.is_some() && *digest != right {
                        *time = None;
                        let reason = "other answers than the serial run: wrong, however fast".to_owned();
                        self.bad.push(Skipped { what: named(*kind, *micros), reason });
                    }
                }
            }
        }
        self.bad.dedup();
    }

    /// Efficiency by duration, of all executors but the serial one, which is the first.
    fn curves(&self, kinds: &[Kind], workers: u32) -> Vec<(Kind, Curve)> {
        let mut curves: Vec<(Kind, Curve)> = kinds[1..].iter().map(|kind| (*kind, Curve::default())).collect();
        for row in self.makespans.chunks(kinds.len()) {
            // Only blocks in which every executor gave a sample count, so that the curves can be compared in pairs and drawn
            // together.
            let whole: Vec<usize> =
                (0..row[0].len()).filter(|block| row.iter().all(|cell| cell[*block].is_some())).collect();
            let of = |cell: &[Option<(f64, f64)>]| whole.iter().filter_map(|block| cell[*block]).collect::<Vec<_>>();
            let serial = of(&row[0]);
            let durations: Vec<f64> = serial.iter().map(|(makespan, tasks)| makespan / tasks).collect();
            let Some(duration) = stats::estimate(&durations) else { continue };
            for ((_, curve), measured) in curves.iter_mut().zip(&row[1..]) {
                let pairs = serial.iter().zip(of(measured));
                let values = pairs.map(|((serial, _), (parallel, _))| serial / f64::from(workers) / parallel).collect();
                curve.points.push((duration.median, values));
            }
        }
        curves
    }
}

fn crossings(curves: &[(Kind, Curve)], seed: u64) -> Vec<Crossing> {
    let mut found = Vec::new();
    for (kind, curve) in curves {
        for percent in [50, 90] {
            let threshold = f64::from(percent) / 100.0;
            // A single point above it may be noise.
            let label = format!("{kind} reaches {percent}% efficiency and stays above it");
            found.push(describe(
                format!("{kind}-{percent}"),
                label,
                stats::crossing(curve, threshold, seed),
                Some(threshold),
            ));
        }
    }
    let of = |kind: Kind| curves.iter().find(|(other, _)| *other == kind).map(|(_, curve)| curve);
    if let (Some(thread), Some(process)) = (of(Kind::Thread), of(Kind::Process)) {
        let points = process.points.iter().zip(&thread.points).map(|((task, process), (_, thread))| {
            (*task, process.iter().zip(thread).map(|(process, thread)| process / thread).collect())
        });
        let ratio = Curve { points: points.collect() };
        let at = stats::crossing(&ratio, EVEN, seed);
        let label = "processes come within 5% of threads".to_owned();
        // The mark stands on the curve of the processes.
        let height = at.ok().and_then(|at: Estimate| {
            let nearest = process
                .points
                .iter()
                .min_by(|(a, _), (b, _)| (a / at.median).ln().abs().total_cmp(&(b / at.median).ln().abs()))?;
            stats::estimate(&nearest.1).map(|efficiency| efficiency.median)
        });
        found.push(describe("thread-vs-process".to_owned(), label, at, height));
    }
    found
}

fn describe(id: String, label: String, found: Result<Estimate, NoCrossing>, efficiency: Option<f64>) -> Crossing {
    let note = found.err().map(|why| why.to_string()).unwrap_or_default();
    let task_ns = found.ok();
    Crossing { id, label, task_ns, efficiency: task_ns.and(efficiency), note, missing: found.err() }
}

/// From which task duration a process pool outperforms a thread pool: the headline, and its evidence.
fn break_even(run: &Run) -> Vec<Finding> {
    if run.efficiency.is_empty() {
        return Vec::new();
    }
    let found = |id: &str| run.crossings.iter().find(|crossing| crossing.id == id);
    // A crossing that was not found has its reason in place of a figure.
    let task = |id: &str| match found(id) {
        Some(Crossing { task_ns: Some(task), .. }) => interval(task),
        Some(Crossing { note, .. }) => note.clone(),
        None => "not measured".to_owned(),
    };
    const EVEN: &str = "thread-vs-process";
    const HALF: [&str; 2] = ["process-50", "thread-50"];
    let even = task(EVEN);
    let texts = [
        match found(EVEN).and_then(|crossing| crossing.task_ns) {
            Some(_) => format!("Processes are within 5% of threads once CPU-bound tasks last {even}."),
            None => format!("How long CPU-bound tasks must last for processes to be within 5% of threads: {even}."),
        },
        format!(
            "How long CPU-bound tasks must last for a pool to be half efficient: of processes, {}; of threads, {}.",
            task(HALF[0]),
            task(HALF[1])
        ),
    ];
    let mut findings = texts.map(|text| finding(text, Evidence::section("efficiency"), Tone::Neutral));
    let missing = |id: &str| found(id).and_then(|crossing| crossing.missing);
    let is_unknown = |id: &&str| missing(id) == Some(NoCrossing::Unknown);
    // The first headline that needs the note has it. One that knows only one end says little more than one that knows none.
    let uncertain = match missing(EVEN) {
        Some(NoCrossing::AtLeast(_) | NoCrossing::AtMost(_) | NoCrossing::Unknown) => Some(0),
        _ => HALF.iter().any(is_unknown).then_some(1),
    };
    if let Some(uncertain) = uncertain {
        findings[uncertain].note = cause(run);
    }
    findings.into()
}

/// The most likely cause of a run's uncertainty, and the remedy.
fn cause(run: &Run) -> String {
    let busy = run.host.warnings.iter().find_map(|warning| match warning {
        Warning::Busy { load, cores } => Some(format!("load {load} on {cores} cores")),
        _ => None,
    });
    match busy {
        _ if run.interrupted => "The run was stopped early: let it finish.".to_owned(),
        Some(load) if run.quick => {
            format!("The machine was busy ({load}): repeat the run on an idle machine, and without --quick.")
        }
        Some(load) => format!("The machine was busy ({load}): repeat the run on an idle machine."),
        None if run.quick => "A quick run has few samples: repeat it without --quick.".to_owned(),
        None => {
            "The samples differ too much: see the machine's warnings, and repeat the run on an idle machine.".to_owned()
        }
    }
}
