//! Which cells take longer than they should, and which counter tells why: pure functions of the samples.
//!
//! Times are compared as the time of all cores that a cell may use, per task: its makespan, times the smaller of its workers and
//! the machine's cores, divided by its tasks. What one cell takes more of it than another is its *excess*, and each cause
//! is given the share of the excess that its counter can explain.

use reports::{
    format,
    model::{Cause, CauseKind, Cell, Estimate, Run, SERIAL, Sample, Verdict},
};

use super::super::words::workers;
use crate::{executors::Kind, stats};

/// One worker that takes less than this many times the serial time pays for nothing but its executor.
const ONE_WORKER: f64 = 1.1;
/// More workers that take less than this many times the time of fewer ones lose nothing worth a sentence.
const MORE_WORKERS: f64 = 1.1;
/// Workers on cores of their own that are worth less than 85% of these.
const BELOW_CORES: f64 = 1.0 / 0.85;
/// Processes and threads whose times differ by less are even.
const OTHER_EXECUTOR: f64 = 1.05;
/// With so few blocks that the interval does not reach 90%, only a difference as large as this is believed.
const FEW_BLOCKS: f64 = 1.5;
/// A cause is named if it explains this share of the excess.
const SHARE: f64 = 0.3;
/// So many more page faults a task are named even where they explain less.
const MANY_FAULTS: f64 = 20.0;

/// What a page fault takes at least, and at most with the calls of the system around it, in nanoseconds.
const FAULT_NS: (f64, f64) = (500.0, 5_000.0);
/// What a thread that sleeps and is woken takes at least, and at most on a virtual machine whose core falls asleep as well.
const SWITCH_NS: (f64, f64) = (2_000.0, 60_000.0);

/// What one task takes in a cell: medians over the samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct PerTask {
    /// Nanoseconds of all cores that the cell may use.
    core_time: f64,
    user: f64,
    system: f64,
    idle: f64,
    faults: f64,
    switches: f64,
    /// Zero where it is not known.
    queued: f64,
    stolen: f64,
}

impl PerTask {
    fn of(cell: &Cell, cores: u32) -> Self {
        let tasks = cell.tasks.max(1) as f64;
        let of =
            |value: &dyn Fn(&Sample) -> f64| stats::median(&cell.samples.iter().map(value).collect::<Vec<_>>()) / tasks;
        let width = f64::from(cell.workers.min(cores).max(1));
        let whole = |sample: &Sample| sample.makespan_ns as f64 * width;
        let known = |value: Option<u64>| value.unwrap_or(0) as f64;
        Self {
            core_time: of(&whole),
            user: of(&|sample| sample.user_cpu_ns as f64),
            system: of(&|sample| sample.system_cpu_ns as f64),
            idle: of(&|sample| (whole(sample) - (sample.user_cpu_ns + sample.system_cpu_ns) as f64).max(0.0)),
            faults: of(&|sample| sample.minor_faults as f64),
            switches: of(&|sample| sample.voluntary_switches as f64),
            queued: of(&|sample| known(sample.run_queue_delay_ns)),
            stolen: of(&|sample| known(sample.stolen_ns)),
        }
    }
}

/// The causes of what `slow` takes more than `fast`, the largest share first, at most three. `own_cores`: each worker of both has a
/// core, so that none of them should queue for one.
fn causes(slow: &PerTask, fast: &PerTask, own_cores: bool) -> Vec<CauseKind> {
    let excess = slow.core_time - fast.core_time;
    if excess <= 0.0 {
        return Vec::new();
    }
    let more = |of: fn(&PerTask) -> f64| (of(slow) - of(fast)).max(0.0);
    let grew = |of: fn(&PerTask) -> f64, least: f64| more(of) >= least && of(slow) >= 1.5 * of(fast);
    // Each event takes some time at least; and it takes no more than the counter of time has risen, nor than such events can.
    let counted = |count: f64, (least, most): (f64, f64), time: f64| (count * least).max(time.min(count * most));
    let (faults, switches) = (more(|it| it.faults), more(|it| it.switches));
    let (system, idle) = (more(|it| it.system), more(|it| it.idle));
    // Time in the kernel is counted for page faults first, and what they leave of it for the calls of threads that sleep.
    let fault_time = if grew(|it| it.faults, 1.0) { counted(faults, FAULT_NS, system) } else { 0.0 };
    let mut shares = vec![(CauseKind::UserTime, more(|it| it.user)), (CauseKind::Stolen, more(|it| it.stolen))];
    shares.push((CauseKind::PageFaults, fault_time));
    if grew(|it| it.switches, 0.2) {
        shares.push((CauseKind::Waiting, counted(switches, SWITCH_NS, (system - fault_time).max(0.0) + idle)));
    }
    if own_cores {
        shares.push((CauseKind::Queued, more(|it| it.queued)));
    }
    // Many more faults stand out whatever they take: their switch tells what that is.
    let stands_out = faults >= MANY_FAULTS && slow.faults >= 3.0 * fast.faults;
    shares.retain(|(kind, time)| *time >= SHARE * excess || *kind == CauseKind::PageFaults && stands_out);
    if shares.is_empty() && idle >= 0.5 * excess {
        shares.push((CauseKind::Idle, idle));
    }
    shares.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    shares.into_iter().map(|(kind, _)| kind).take(3).collect()
}

/// The counters behind the causes, and what they mean.
fn evidence(kinds: &[CauseKind], slow: &PerTask, fast: &PerTask) -> String {
    let against =
        |of: fn(&PerTask) -> f64, text: fn(f64) -> String| format!("{} against {}", text(of(slow)), text(of(fast)));
    let parts = kinds.iter().map(|kind| match kind {
        CauseKind::PageFaults => format!(
            "page faults ({} a task, with system time {}: memory is given back to the system after tasks and asked for again)",
            against(|it| it.faults, short),
            against(|it| it.system, format::duration)
        ),
        CauseKind::Waiting => format!(
            "threads that sleep until another one wakes them, on a lock, a queue or a pipe ({} switches a task)",
            against(|it| it.switches, short)
        ),
        CauseKind::Queued => format!(
            "threads queued for a core, behind other programs or behind the lab's own threads (for {} of each task)",
            against(|it| it.queued, format::duration)
        ),
        CauseKind::Stolen => {
            format!("the host of the virtual machine took the cores ({} a task)", against(|it| it.stolen, format::duration))
        }
        CauseKind::UserTime => format!(
            "the CPU time of the task itself, in user mode ({}: copies, caches, memory, or spinning)",
            against(|it| it.user, format::duration)
        ),
        CauseKind::Idle => format!(
            "cores without work ({} of each task: too few tasks to share, or none ready in time)",
            against(|it| it.idle, format::duration)
        ),
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        return format!(
            "cause unknown: nothing that is counted stands out ({} page faults, {} switches and {} of CPU time a task)",
            against(|it| it.faults, short),
            against(|it| it.switches, short),
            against(|it| it.user + it.system, format::duration)
        );
    }
    parts.join(", and ")
}

/// A count with two digits.
fn short(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// The ratio of the times of two cells by block, or that of the times of all of their cores.
fn ratio(slow: &Cell, fast: &Cell, of_cores: Option<u32>) -> Option<Estimate> {
    let rounds = |cell: &Cell| {
        let width = of_cores.map_or(1.0, |cores| f64::from(cell.workers.min(cores).max(1)));
        let rounds = cell.samples.iter().map(|sample| (sample.block, vec![sample.makespan_ns as f64 * width]));
        rounds.collect::<Vec<_>>()
    };
    stats::estimate(&stats::block_ratios(&rounds(slow), &rounds(fast)))
}

/// Whether a ratio is above a bound for certain.
pub(in super::super) fn is_above(ratio: &Estimate, bound: f64) -> bool {
    if ratio.confidence > 0.9 { ratio.low > bound } else { ratio.n >= 3 && ratio.low > bound.max(FEW_BLOCKS) }
}

/// `1.31x (95% CI 1.22x to 1.45x)`
pub(in super::super) fn times(ratio: &Estimate) -> String {
    let of = |value: f64| format!("{value:.2}x");
    format!("{} ({} CI {} to {})", of(ratio.median), format::percent(ratio.confidence), of(ratio.low), of(ratio.high))
}

/// The slow cells of a run, each with its cause, in the order of the workloads.
pub(super) fn slow_cells(run: &Run) -> Vec<Cause> {
    let mut workloads: Vec<&str> = run.cells.iter().map(|cell| cell.workload.as_str()).collect();
    workloads.dedup();
    workloads.into_iter().flat_map(|workload| Workload::of(run, workload).causes()).collect()
}

/// The cells of one workload that can be compared.
struct Workload<'a> {
    cells: Vec<&'a Cell>,
    cores: u32,
    waits: bool,
}

impl<'a> Workload<'a> {
    fn of(run: &'a Run, workload: &str) -> Self {
        let cells = run.cells.iter().filter(|cell| cell.workload == workload && cell.verdict == Verdict::Correct);
        let waits = run.inputs.iter().any(|input| input.workload == workload && input.waits);
        Self { cells: cells.collect(), cores: run.host.cores, waits }
    }

    fn causes(&self) -> Vec<Cause> {
        let mut found = Vec::new();
        // Tasks that wait need no core: how many workers they can use is not a question of cores.
        if !self.waits {
            for kind in [Kind::Process, Kind::Thread] {
                let (one, many) = (self.one_worker(kind), self.more_workers(kind));
                let known = one.is_some() || many.is_some();
                found.extend(one.into_iter().chain(many));
                found.extend(self.below_cores(kind).filter(|_| !known));
            }
        }
        found.extend(self.other_executor(Kind::Process, Kind::Thread));
        found.extend(self.other_executor(Kind::Thread, Kind::Process));
        found
    }

    fn serial(&self) -> Option<&'a Cell> {
        self.cells.iter().find(|cell| cell.executor == SERIAL).copied()
    }

    fn on(&self, kind: Kind) -> impl Iterator<Item = &'a Cell> {
        self.cells.iter().filter(move |cell| cell.executor == kind.name()).copied()
    }

    fn cause(&self, slow: &Cell, fast: &Cell, ratio: Estimate, what: String) -> Cause {
        let (of_slow, of_fast) = (PerTask::of(slow, self.cores), PerTask::of(fast, self.cores));
        let own_cores = slow.workers <= self.cores && fast.workers <= self.cores;
        let kinds = causes(&of_slow, &of_fast, own_cores);
        Cause {
            cell: slow.id.clone(),
            against: fast.id.clone(),
            ratio,
            evidence: evidence(&kinds, &of_slow, &of_fast),
            kinds,
            switched: None,
            what: format!("{}: {what}", slow.workload),
        }
    }

    /// One worker that is slower than the serial run.
    fn one_worker(&self, kind: Kind) -> Option<Cause> {
        let (cell, serial) = (self.on(kind).find(|cell| cell.workers == 1)?, self.serial()?);
        let ratio = ratio(cell, serial, None).filter(|ratio| is_above(ratio, ONE_WORKER))?;
        let what = format!("one {} needs {} the time of the serial run", worker(kind), times(&ratio));
        Some(self.cause(cell, serial, ratio, what))
    }

    /// The number of workers that loses most against fewer ones.
    fn more_workers(&self, kind: Kind) -> Option<Cause> {
        let time = |cell: &Cell| cell.makespan_ns.map_or(f64::INFINITY, |time| time.median);
        let best = self.on(kind).min_by(|a, b| time(a).total_cmp(&time(b)))?;
        let more = self.on(kind).filter(|cell| cell.workers > best.workers);
        let lost = more.filter_map(|cell| Some((cell, ratio(cell, best, None)?)));
        let (cell, ratio) = lost
            .filter(|(_, ratio)| is_above(ratio, MORE_WORKERS))
            .max_by(|(_, a), (_, b)| a.median.total_cmp(&b.median))?;
        let what = format!("{} need {} the time of {}", plural(kind, cell.workers), times(&ratio), best.workers);
        Some(self.cause(cell, best, ratio, what))
    }

    /// As many workers as there are cores, which are worth less than these.
    fn below_cores(&self, kind: Kind) -> Option<Cause> {
        let (serial, cores) = (self.serial()?, self.cores);
        let cell = self.on(kind).filter(|cell| cell.workers <= cores).max_by_key(|cell| cell.workers)?;
        let ratio = ratio(cell, serial, Some(cores)).filter(|ratio| is_above(ratio, BELOW_CORES))?;
        if cell.workers < 2 {
            return None;
        }
        let speed = |ratio: f64| format!("{:.2}x", f64::from(cell.workers) / ratio);
        let what = format!(
            "{} are worth {} the serial run ({} CI {} to {}), where {} cores allow {}x",
            plural(kind, cell.workers),
            speed(ratio.median),
            format::percent(ratio.confidence),
            speed(ratio.high),
            speed(ratio.low),
            cell.workers,
            cell.workers
        );
        Some(self.cause(cell, serial, ratio, what))
    }

    /// The number of workers at which the one executor wins most over the other.
    fn other_executor(&self, fast: Kind, slow: Kind) -> Option<Cause> {
        let pairs = self.on(slow).filter_map(|cell| {
            let other = self.on(fast).find(|other| other.workers == cell.workers)?;
            Some((cell, other, ratio(cell, other, None)?))
        });
        let mut pairs: Vec<_> = pairs.filter(|(.., ratio)| is_above(ratio, OTHER_EXECUTOR)).collect();
        pairs.sort_by(|(.., a), (.., b)| b.median.total_cmp(&a.median));
        let (cell, other, ratio) = *pairs.first()?;
        let who = format!("with {} {} beat {}", workers(cell.workers), name(fast), name(slow));
        let mut what = format!("{who}, which need {} the time", times(&ratio));
        if pairs.len() > 1 {
            let mut others: Vec<u32> = pairs[1..].iter().map(|(cell, ..)| cell.workers).collect();
            others.sort_unstable();
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            what.push_str(&format!(" (and more time with {} as well)", others.join(", ")));
        }
        Some(self.cause(cell, other, ratio, what))
    }
}

fn worker(kind: Kind) -> &'static str {
    if kind.has_processes() { "worker process" } else { "thread" }
}

fn plural(kind: Kind, count: u32) -> String {
    let ending = if kind.has_processes() { "es" } else { "s" };
    if count == 1 { format!("1 {}", worker(kind)) } else { format!("{count} {}{ending}", worker(kind)) }
}

fn name(kind: Kind) -> &'static str {
    if kind.has_processes() { "processes" } else { "threads" }
}
