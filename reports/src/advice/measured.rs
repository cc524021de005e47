//! Which executor for a workload of the run, by its cells.

use super::name::{name, simplicity};
use crate::format::{percent, times};
use crate::model::{Cause, CauseKind, Cell, Estimate, Run, SERIAL, Sample, Verdict};

/// Times that differ by less are as good as equal.
const TIE: f64 = 1.02;

/// Cells whose medians differ by more, and that the samples still cannot tell apart, are not known to tie.
const NOISY: f64 = 1.1;

/// How far a speed-up may lie beyond the possible by noise alone.
const NOISE: f64 = 1.05;

/// A serial cell that keeps its core busy for less of its time waits.
const BUSY: f64 = 0.8;

/// What to take for a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Name of the workload, with its parameters.
    pub workload: String,
    /// Name of the executor.
    pub executor: String,
    /// Number of workers.
    pub workers: u32,
    /// Why the samples cannot tell it, with the cure; executor and workers are only what they lean to then.
    pub cannot_tell: Option<String>,
    /// How many times as fast as serial, by blocks; `None` for serial itself.
    pub gain: Option<Estimate>,
    /// The most that can be, where more was measured: the serial cell was disturbed, and the gain is none.
    pub too_fast_for: Option<u32>,
    /// The time of all tasks.
    pub makespan_ns: Estimate,
    /// The executor with its workers that was fastest and ties with this one; empty where this one is.
    pub ties_with: String,
    /// Tasks in one sample.
    pub tasks: u64,
    /// The time of a task in the serial run.
    pub task_ns: f64,
    /// Highest memory of the process tree.
    pub memory_bytes: Option<u64>,
    /// The time on the best process pool divided by that on the best thread pool, by blocks.
    pub processes: Option<Estimate>,
    /// Why, in sentences.
    pub why: String,
}

impl Decision {
    /// The executor and its workers, in words.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.executor, self.workers)
    }
}

/// A decision for each workload and set of parameters, in the order of the run.
#[must_use]
pub fn decisions(run: &Run) -> Vec<Decision> {
    let mut groups: Vec<Vec<&Cell>> = Vec::new();
    for cell in &run.cells {
        let same = |group: &&mut Vec<&Cell>| {
            group.first().is_some_and(|first| first.workload == cell.workload && first.params == cell.params)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(cell),
            None => groups.push(vec![cell]),
        }
    }
    groups.iter().filter_map(|cells| decide(run, cells)).collect()
}

/// The decision by the cells of one workload; `None` where serial or every pool lacks a correct cell.
#[must_use]
pub fn decide(run: &Run, cells: &[&Cell]) -> Option<Decision> {
    let right = |cell: &&Cell| cell.verdict == Verdict::Correct && cell.makespan_ns.is_some();
    let correct: Vec<&Cell> = cells.iter().copied().filter(right).collect();
    let serial = *correct.iter().find(|cell| cell.executor == SERIAL)?;
    // A thread or a process for each task is there for comparison, and no advice.
    let known = |cell: &&&Cell| simplicity(&cell.executor) < simplicity("");
    let choices: Vec<&Cell> = correct.iter().filter(known).copied().collect();
    let fastest = *choices.iter().min_by(|a, b| median(a).total_cmp(&median(b)))?;
    if choices.len() < 2 {
        return None;
    }
    let rank = |cell: &&&Cell| (cell.executor != SERIAL, cell.workers, simplicity(&cell.executor));
    let ties = |cell: &&&Cell| ratio(cell, fastest).is_some_and(|it| it.median <= TIE || it.low <= 1.0);
    let best = choices.iter().filter(ties).min_by_key(rank).copied().unwrap_or(fastest);
    let waits = waits(run, serial);
    let possible = best.workers.min(run.host.cores);
    let gain = ratio(serial, best).filter(|_| best.executor != SERIAL);
    let is_disturbed = !waits && gain.is_some_and(|gain| gain.median > NOISE * f64::from(possible));
    let pool = |executor: &str| {
        let own = choices.iter().filter(|cell| cell.executor == executor);
        own.min_by(|a, b| median(a).total_cmp(&median(b))).copied()
    };
    let processes = pool("process").zip(pool("thread")).and_then(|(process, thread)| ratio(process, thread));
    let decision = Decision {
        workload: best.title(),
        executor: best.executor.clone(),
        workers: best.workers,
        cannot_tell: cannot_tell(run, best, fastest),
        gain,
        too_fast_for: is_disturbed.then_some(possible),
        makespan_ns: best.makespan_ns?,
        ties_with: if best.id == fastest.id { String::new() } else { name(&fastest.executor, fastest.workers) },
        tasks: best.tasks,
        task_ns: median(serial) / best.tasks.max(1) as f64,
        memory_bytes: best.samples.iter().filter_map(|sample| sample.peak_pss_bytes).max(),
        processes,
        why: String::new(),
    };
    let why = why(run, &decision, waits);
    Some(Decision { why, ..decision })
}

fn median(cell: &Cell) -> f64 {
    cell.makespan_ns.map_or(f64::INFINITY, |estimate| estimate.median)
}

/// The time of `cell` divided by that of `base`, by blocks. Without samples the intervals of both are all that is known.
fn ratio(cell: &Cell, base: &Cell) -> Option<Estimate> {
    let of_block = |sample: &Sample| {
        let other = base.samples.iter().find(|other| other.block == sample.block)?;
        Some(sample.makespan_ns as f64 / other.makespan_ns as f64)
    };
    let ratios: Vec<f64> = cell.samples.iter().filter_map(of_block).filter(|ratio| ratio.is_finite()).collect();
    Estimate::of_samples(&ratios).or_else(|| {
        let (own, other) = (cell.makespan_ns?, base.makespan_ns?);
        let (median, low, high) = (own.median / other.median, own.low / other.high, own.high / other.low);
        Some(Estimate { median, low, high, confidence: own.confidence.min(other.confidence), n: own.n.min(other.n) })
    })
}

/// Whether the tasks of a workload mostly wait: it says so, or its serial cell leaves the core idle.
fn waits(run: &Run, serial: &Cell) -> bool {
    let busy = |sample: &Sample| (sample.user_cpu_ns + sample.system_cpu_ns) as f64 / sample.makespan_ns.max(1) as f64;
    let shares: Vec<f64> = serial.samples.iter().map(busy).collect();
    run.inputs.iter().any(|input| input.workload == serial.workload && input.waits)
        || Estimate::of_samples(&shares).is_some_and(|share| share.median < BUSY)
}

fn cannot_tell(run: &Run, best: &Cell, fastest: &Cell) -> Option<String> {
    if !run.unfit().is_empty() {
        return Some("the machine was not fit to measure it".to_owned());
    }
    let cure =
        if run.quick { "repeat the run without --quick, on an idle machine" } else { "repeat it on an idle machine" };
    let ratio = ratio(best, fastest)?;
    if ratio.n < 2 {
        return Some(format!("there is one sample of each: {cure}"));
    }
    (ratio.median > NOISY).then(|| {
        let (fastest, best) = (name(&fastest.executor, fastest.workers), name(&best.executor, best.workers));
        format!("the samples scatter: {fastest} was fastest, and {best} may be as fast: {cure}")
    })
}

/// Why this is the choice: what limits it, how processes compare with threads, and the cause of that where it is known.
fn why(run: &Run, decision: &Decision, waits: bool) -> String {
    let cores = run.host.cores;
    let mut parts = vec![match (decision.executor.as_str(), waits) {
        (SERIAL, _) => "No pool is faster for certain.".to_owned(),
        (_, true) => "Its tasks wait, so more workers than cores help.".to_owned(),
        (_, false) => format!("Its tasks compute, on {cores} core{}.", if cores == 1 { "" } else { "s" }),
    }];
    if let Some(most) = decision.too_fast_for {
        parts.push(format!(
            "The gain cannot be told: more than {most}x was measured, so the serial cell was disturbed."
        ));
    }
    parts.extend(decision.processes.map(|ratio| {
        let figure = format!("{} the time of threads ({})", times(ratio.median), range(&ratio));
        match () {
            () if ratio.low > 1.0 => format!("Processes take {figure}."),
            () if ratio.high < 1.0 => format!("Processes take only {figure}."),
            () => "Processes and threads cannot be told apart.".to_owned(),
        }
    }));
    let of_workload = |cause: &&Cause| {
        let cell = run.cells.iter().find(|cell| cell.id == cause.cell);
        cell.is_some_and(|cell| cell.title() == decision.workload) && !cause.kinds.is_empty()
    };
    // The one that concerns processes, if there is one: the choice is between them and threads.
    let causes = || run.causes.iter().filter(of_workload);
    let cause = causes().find(|cause| cause.cell.contains("process")).or_else(|| causes().next());
    parts.extend(cause.and_then(|cause| told(run, cause)).map(|told| told.sentence()));
    parts.join(" ")
}

fn range(estimate: &Estimate) -> String {
    let Estimate { low, high, .. } = estimate;
    format!("{} to {}, {} CI", times(*low), times(*high), percent(estimate.confidence))
}

/// A cause in short; its evidence has the counters.
pub(crate) struct Told {
    /// The slow cell: `process with 1 worker`.
    pub(crate) cell: String,
    /// How much more time it takes: `2.04x the time of serial`.
    pub(crate) time: String,
    /// What takes it, and what is left without that.
    pub(crate) why: String,
}

impl Told {
    /// The whole sentence.
    pub(crate) fn sentence(&self) -> String {
        format!("On {} it takes {}, because {}.", self.cell, self.time, self.why)
    }
}

/// A cause in short; `None` where its cells are not in the run, or it is not known.
pub(crate) fn told(run: &Run, cause: &Cause) -> Option<Told> {
    let of = |id: &str| run.cells.iter().find(|cell| cell.id == id);
    let (cell, against) = (of(&cause.cell)?, of(&cause.against)?);
    // Cells with another number of cores are compared by the time of all of them.
    let time = if cell.workers == against.workers { "time" } else { "core time" };
    let kinds: Vec<&str> = cause.kinds.iter().take(2).map(|kind| words(*kind)).collect();
    let gone = cause.switched.as_ref().filter(|switched| {
        let excess = cause.ratio.median - 1.0;
        excess > 0.0 && (cause.ratio.median - switched.ratio.high) / excess >= 0.5
    });
    let switched = gone.map_or_else(String::new, |it| {
        let switch = it.switch.split(" (").next().unwrap_or_default();
        format!("; {switch} it is {}", times(it.ratio.median))
    });
    (!kinds.is_empty()).then(|| Told {
        cell: name(&cell.executor, cell.workers),
        time: format!("{} the {time} of {}", times(cause.ratio.median), name(&against.executor, against.workers)),
        why: format!("{}{switched}", kinds.join(" and ")),
    })
}

/// What takes the time, in plain words.
fn words(kind: CauseKind) -> &'static str {
    match kind {
        CauseKind::PageFaults => "freed memory goes back to the system and is asked for again (page faults)",
        CauseKind::Waiting => "threads sleep on a lock, a queue or a pipe",
        CauseKind::Queued => "there was no free core",
        CauseKind::Stolen => "the host took the cores",
        CauseKind::UserTime => "the tasks themselves need more CPU time (copies, caches, spinning)",
        CauseKind::Idle => "cores were idle",
    }
}
