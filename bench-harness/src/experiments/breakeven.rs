//! How long a task must be for an executor to be worth its overhead: efficiency against task duration, and METG.
//!
//! The measurement is that of `lab overhead --only metg`, and so are its definition and its estimates: see
//! [`stats::metg`](mod@crate::stats::metg).

use reports::model::{
    Crossing, EfficiencyCurve, EfficiencyPoint, Estimate, Evidence, Finding, NoCrossing, Run, Skipped, Tone, Warning,
};

use super::{
    experiment::{Experiment, Job},
    overhead::{
        self, Measurement, Plan, Sizes,
        metg::{TASKS, blocks_of},
    },
    words::{finding, interval},
};
use crate::{
    error::LabError,
    executors::Kind,
    runner::progress::Progress,
    stats::{
        self,
        metg::{PERCENTS, Point, metg, name},
    },
};

/// Processes that come within this share of the threads' efficiency count as even.
const EVEN: f64 = 0.95;

/// The points of each block, by its number.
type Blocks = Vec<(u32, Vec<Point>)>;

/// The overhead of a pool, shown by the task that outweighs it.
pub(crate) struct BreakEven;

fn plan(job: &Job<'_>) -> Plan {
    // Six are the fewest whose range covers the median with 95%; of nine, one may be disturbed.
    let blocks =
        if job.settings.quick { 6 } else { job.settings.repetitions.map_or(9, |repetitions| repetitions.max(9)) };
    let sizes = Sizes { blocks, ..Sizes::BENCH };
    let workers = job.cores.min(2) as usize;
    Plan { measurements: vec![Measurement::Metg], workers, sizes, seed: job.settings.seed }
}

impl Experiment for BreakEven {
    fn id(&self) -> &'static str {
        "efficiency"
    }

    fn steps(&self, job: &Job<'_>) -> usize {
        plan(job).steps()
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        let plan = plan(job);
        let figures = overhead::run(&plan, progress);
        let blocks = |kind: Kind| blocks_of(&figures, kind.name());
        let curves: Vec<(Kind, Blocks)> = Kind::pools().map(|kind| (kind, blocks(kind))).collect();
        // A run without curves says so, and curves without points would be misleading.
        if curves.iter().any(|(_, blocks)| !blocks.is_empty()) {
            run.efficiency = curves.iter().map(|(kind, blocks)| shown(*kind, plan.workers as u32, blocks)).collect();
            run.crossings = crossings(&curves);
        }
        let bad = figures.iter().filter(|figure| !figure.detail && figure.quantity == overhead::NO_FIGURE);
        Ok(bad
            .filter_map(|figure| {
                let reason = figure.missing.as_ref()?.to_string();
                Some(Skipped { what: format!("METG of {}", figure.subject), reason })
            })
            .collect())
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        break_even(run)
    }
}

/// The curve of an executor: for each amount of work the median over blocks.
fn shown(kind: Kind, workers: u32, blocks: &Blocks) -> EfficiencyCurve {
    let longest = blocks.iter().map(|(_, points)| points.len()).max().unwrap_or(0);
    let point = |index: usize| {
        let of = |value: fn(&Point) -> f64| {
            blocks.iter().filter_map(|(_, points)| points.get(index).map(value)).collect::<Vec<_>>()
        };
        Some(EfficiencyPoint {
            task_ns: stats::estimate(&of(|point| point.bare_ns))?.median,
            efficiency: stats::estimate(&of(|point| point.efficiency))?,
        })
    };
    EfficiencyCurve { executor: kind.name().to_owned(), workers, points: (0..longest).filter_map(point).collect() }
}

fn crossings(curves: &[(Kind, Blocks)]) -> Vec<Crossing> {
    let mut found = Vec::new();
    for (kind, blocks) in curves {
        let points: Vec<&[Point]> = blocks.iter().map(|(_, points)| &points[..]).collect();
        for percent in PERCENTS {
            let share = f64::from(percent) / 100.0;
            let granularity = metg(&points, percent);
            let scaled =
                |it: Estimate| Estimate { median: share * it.median, low: share * it.low, high: share * it.high, ..it };
            let crossing = describe(
                format!("{kind}-{percent}"),
                format!("{} of {kind}, in batches of {TASKS} tasks", name(percent)),
                granularity.map(scaled),
                Some(share),
            );
            found.push(Crossing { metg_ns: granularity.ok(), ..crossing });
        }
    }
    let of = |kind: Kind| curves.iter().find(|(other, _)| *other == kind).map(|(_, blocks)| blocks);
    if let (Some(thread), Some(process)) = (of(Kind::Thread), of(Kind::Process)) {
        found.push(even(thread, process));
    }
    found
}

/// Where processes come close to threads. Both have the same amounts of work, and each its own loop beside it.
fn even(thread: &Blocks, process: &Blocks) -> Crossing {
    let ratios = process.iter().filter_map(|(block, process)| {
        let (_, thread) = thread.iter().find(|(other, _)| other == block)?;
        let pairs = process.iter().zip(thread);
        Some(pairs.map(|(process, thread)| (process.bare_ns, process.efficiency / thread.efficiency)).collect())
    });
    let at = stats::crossing(&ratios.collect::<Vec<Vec<_>>>(), EVEN);
    let label = "processes come within 5% of threads".to_owned();
    // The mark stands on the curve of the processes.
    let height = at.ok().and_then(|at: Estimate| {
        let near = |point: &Point| (point.bare_ns / at.median).ln().abs();
        let of_block = |points: &Vec<Point>| points.iter().min_by(|a, b| near(a).total_cmp(&near(b))).copied();
        let efficiencies: Vec<f64> =
            process.iter().filter_map(|(_, points)| of_block(points)).map(|point| point.efficiency).collect();
        stats::estimate(&efficiencies).map(|efficiency| efficiency.median)
    });
    describe("thread-vs-process".to_owned(), label, at, height)
}

fn describe(id: String, label: String, found: Result<Estimate, NoCrossing>, efficiency: Option<f64>) -> Crossing {
    let note = found.err().map(|why| why.to_string()).unwrap_or_default();
    let task_ns = found.ok();
    Crossing { id, label, task_ns, efficiency: task_ns.and(efficiency), note, missing: found.err(), metg_ns: None }
}

/// From which task duration a process pool outperforms a thread pool: the headline, and its evidence.
fn break_even(run: &Run) -> Vec<Finding> {
    if run.efficiency.is_empty() {
        return Vec::new();
    }
    let found = |id: &str| run.crossings.iter().find(|crossing| crossing.id == id);
    // A crossing that was not found has its reason in place of a figure.
    let task = |id: &str| match found(id) {
        // Runs of earlier versions have only the work of a task.
        Some(Crossing { metg_ns: Some(metg), .. }) => interval(metg),
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
            "METG(50%), the wall time times cores of a CPU-bound task with which a pool is half efficient, in batches of \
             {TASKS} tasks: of processes, {}; of threads, {}.",
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
