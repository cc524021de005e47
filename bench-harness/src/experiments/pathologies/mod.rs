//! What threads of one process share and processes do not: the same tasks with a cause and with the cause turned off, on as many
//! threads and processes.
//!
//! Each block has every cause once, with both executors with and without the cause next to each other, in an order of its own, each in
//! a process that was started for it.

mod judge;
mod table;

use reports::{
    format,
    model::{Estimate, Evidence, Finding, Pathology, PathologySample, PathologyVerdict, Run, Skipped, Tone},
};
use workloads::{Random, pathologies::PathologyTasks};

pub(crate) use workloads::pathologies::Pathology as PathologyName;

use super::{
    experiment::{Experiment, Job},
    words::{finding, workers},
};
use crate::{
    cell::{CellSpec, Measured},
    error::LabError,
    executors::Kind,
    runner::{
        child,
        progress::Progress,
        schedule::{Slot, interleave},
    },
    work::Work,
};
use table::{CASES, Case};

/// Builds of SQLite that the lab is not built with: what they would show, and the flag by which they differ.
const OTHER_BUILDS: [(&str, &str, &str); 2] = [
    (
        "sqlite-memory-statistics",
        "SQLite counts the memory of all connections under one lock",
        "a second build, with LIBSQLITE3_FLAGS=-DSQLITE_DEFAULT_MEMSTATUS=0",
    ),
    (
        "sqlite-page-cache-lock",
        "all connections take pages from one cache under one lock",
        "this build; the other has LIBSQLITE3_FLAGS=-DSQLITE_ENABLE_MEMORY_MANAGEMENT",
    ),
];

/// The causes, or some of them.
#[derive(Debug, Default)]
pub(crate) struct Pathologies {
    /// Only these; all where it is empty.
    pub(crate) only: Vec<PathologyName>,
    /// Whether all are measured in a quick run as well.
    pub(crate) whole: bool,
}

/// The part of the main job: in a quick run the few that show most.
pub(crate) static IN_BENCH: Pathologies = Pathologies { only: Vec::new(), whole: false };

/// One process to be started.
struct Point {
    case: usize,
    executor: Kind,
    with: bool,
}

impl Pathologies {
    fn cases(&self, quick: bool) -> Vec<&'static Case> {
        let wanted = |case: &&Case| {
            let named = self.only.contains(&case.pathology);
            named || self.only.is_empty() && (self.whole || !quick || case.quick)
        };
        CASES.iter().filter(wanted).collect()
    }

    /// Every process to be started, in order.
    fn schedule(&self, job: &Job<'_>) -> Vec<(Slot, Point)> {
        let cases = self.cases(job.settings.quick);
        let mut random = Random::new(job.settings.seed ^ 0xca5e);
        let mut all = Vec::new();
        for place in interleave(cases.len(), blocks(job), job.settings.seed ^ 0xca5e) {
            let variants = if cases[place.cell].switch.is_empty() { 2 } else { 4 };
            // The variants of one cause follow each other, because they are compared.
            for slot in interleave(variants, 1, random.next_u64()) {
                let executor = if slot.cell.is_multiple_of(2) { Kind::Thread } else { Kind::Process };
                let point = Point { case: place.cell, executor, with: slot.cell < 2 };
                all.push((Slot { block: place.block, order: all.len() as u32, ..slot }, point));
            }
        }
        all
    }
}

/// At least so many that an interval reaches 95%, unless the user asks for fewer.
fn blocks(job: &Job<'_>) -> u32 {
    const FEWEST: u32 = 6;
    job.settings.repetitions.unwrap_or(job.repetitions.max(FEWEST))
}

/// As many workers as there are cores: fewer share less, and with more they queue for cores.
fn workers_of(job: &Job<'_>) -> u32 {
    job.settings.workers.first().copied().unwrap_or(job.cores.max(2))
}

impl Experiment for Pathologies {
    fn id(&self) -> &'static str {
        "pathologies"
    }

    fn steps(&self, job: &Job<'_>) -> usize {
        self.schedule(job).len()
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        let cases = self.cases(job.settings.quick);
        let mut found: Vec<Found> = cases.iter().map(|case| Found::of(case, workers_of(job))).collect();
        for (slot, point) in self.schedule(job) {
            if progress.interrupted() {
                break;
            }
            let (case, found) = (cases[point.case], &mut found[point.case]);
            progress.begin(&format!("{}: {}", found.pathology.id, point.executor));
            // What has failed once fails again, and may take its whole time limit to do so.
            if matches!(found.pathology.verdict, PathologyVerdict::NotMeasured) {
                let spec = spec(case, &point, job)?;
                found.add(slot, &point, child::sample_in(&spec, case.environments[usize::from(!point.with)]));
            }
            progress.step();
        }
        for (found, case) in found.iter_mut().zip(&cases) {
            judge::judge(&mut found.pathology, case.cores, job.cores);
        }
        run.pathologies = found.into_iter().map(|found| found.pathology).collect();
        if self.only.is_empty() && !run.pathologies.is_empty() {
            run.pathologies.extend(OTHER_BUILDS.map(|(id, title, switch)| Pathology {
                id: id.to_owned(),
                title: title.to_owned(),
                switch: switch.to_owned(),
                workers: workers_of(job),
                verdict: PathologyVerdict::NotBuilt,
                ..Pathology::default()
            }));
        }
        Ok(Vec::new())
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        findings(&run.pathologies, run.host.cores)
    }
}

fn spec(case: &Case, point: &Point, job: &Job<'_>) -> Result<CellSpec, LabError> {
    // A cause that the environment turns off is in the task either way.
    let shares = point.with || case.needs_glibc();
    let Case { pathology, rounds, .. } = *case;
    // Each worker has the same number of tasks on every machine.
    let tasks = case.tasks.saturating_mul(workers_of(job)).div_ceil(2);
    let tasks = if job.settings.quick { tasks.div_ceil(2) } else { tasks };
    Ok(CellSpec {
        work: Work::new(&PathologyTasks { pathology, shares, tasks, rounds })?,
        executor: point.executor,
        workers: workers_of(job),
        data: job.settings.data.clone(),
        input: None,
    })
}

/// A pathology while it is measured.
struct Found {
    pathology: Pathology,
    digest: Option<String>,
}

impl Found {
    fn of(case: &Case, workers: u32) -> Self {
        let mut pathology = Pathology {
            id: case.id(),
            title: case.title.to_owned(),
            switch: case.switch.to_owned(),
            workers,
            ..Pathology::default()
        };
        if case.needs_glibc() && !cfg!(all(target_os = "linux", target_env = "gnu")) {
            let error = "its switch is one of glibc's allocator, which this program does not have".to_owned();
            pathology.verdict = PathologyVerdict::Failed { error };
        }
        Self { pathology, digest: None }
    }

    fn add(&mut self, slot: Slot, point: &Point, sample: Result<Measured, String>) {
        let measured = match sample {
            Ok(Measured { first_error: Some(error), .. }) | Err(error) => {
                self.pathology.verdict = PathologyVerdict::Failed { error };
                return;
            }
            Ok(measured) => measured,
        };
        // The answers are the same on both executors, with and without the cause.
        if *self.digest.get_or_insert_with(|| measured.digest.clone()) != measured.digest {
            self.pathology.verdict = PathologyVerdict::Wrong;
        }
        self.pathology.tasks = measured.tasks;
        self.pathology.samples.push(PathologySample {
            block: slot.block,
            order: slot.order,
            executor: point.executor.name().to_owned(),
            with: point.with,
            makespan_ns: measured.makespan_ns,
            system_cpu_ns: measured.counters.system_cpu_ns,
            voluntary_switches: measured.counters.voluntary_switches,
            minor_faults: measured.counters.minor_faults,
        });
    }
}

/// `0.55x (96.9% CI 0.52x to 0.60x)`
fn times(ratio: &Estimate) -> String {
    super::causes::times(ratio)
}

fn findings(pathologies: &[Pathology], cores: u32) -> Vec<Finding> {
    let here = |tone, text| finding(text, Evidence::section("pathologies"), tone);
    let mut all = Vec::new();
    for pathology in pathologies {
        let Pathology { id, title, switch, .. } = pathology;
        match (&pathology.verdict, pathology.with) {
            (PathologyVerdict::Wrong, _) => {
                all.push(here(
                    Tone::Wrong,
                    format!("{id}: its tasks did not give the same answers on threads and processes."),
                ));
            }
            (PathologyVerdict::Failed { error }, _) => {
                let error: String = error.chars().take(200).collect();
                all.push(here(Tone::Caution, format!("{id} could not be measured: {error}")));
            }
            (PathologyVerdict::ProcessesWin { .. }, Some(with)) if pathology.is_control() => {
                let text = format!(
                    "{id}: processes beat threads ({}), though nothing is shared: the machine was disturbed, or the lab is wrong.",
                    times(&with)
                );
                all.push(here(Tone::Caution, text));
            }
            (PathologyVerdict::ProcessesWin { gone }, Some(with)) => {
                let rest = match (gone, pathology.without) {
                    (true, Some(without)) => format!(
                        " With the cause turned off ({switch}) it is {}: the advantage is gone.",
                        times(&without)
                    ),
                    (false, Some(without)) => format!(
                        " With the cause turned off ({switch}) it is {}: there is another cause as well.",
                        times(&without)
                    ),
                    (_, None) => String::new(),
                };
                let text = format!(
                    "Processes beat threads where {title}: {} the time of threads, with {}.{rest}",
                    times(&with),
                    workers(pathology.workers)
                );
                all.push(here(Tone::Neutral, text));
            }
            _ => {}
        }
    }
    all.extend(not_shown(pathologies, cores).map(|text| here(Tone::Neutral, text)));
    all.extend(controls(pathologies).map(|text| here(Tone::Neutral, text)));
    all
}

/// The causes that show no difference on this machine.
fn not_shown(pathologies: &[Pathology], cores: u32) -> Option<String> {
    let is_even = |it: &&Pathology| matches!(it.verdict, PathologyVerdict::Tie | PathologyVerdict::NeedsCores { .. });
    let names: Vec<&str> =
        pathologies.iter().filter(|it| !it.is_control()).filter(is_even).map(|it| it.id.as_str()).collect();
    (!names.is_empty()).then(|| {
        let why = format!("{cores} cores may be too few, or the machine was not quiet");
        format!("No difference can be shown here ({why}): {}.", names.join(", "))
    })
}

/// The controls: tasks that share nothing.
fn controls(pathologies: &[Pathology]) -> Option<String> {
    let controls = || pathologies.iter().filter(|it| it.is_control() && it.with.is_some());
    let even =
        controls().filter(|it| matches!(it.verdict, PathologyVerdict::Tie | PathologyVerdict::ThreadsWin)).count();
    let longest =
        controls().filter_map(|it| Some((it, it.with?))).max_by(|(_, a), (_, b)| a.median.total_cmp(&b.median))?;
    Some(format!(
        "Of {} controls, in which nothing is shared, threads tie or win in {even} (processes need up to {}x their time: {}).",
        controls().count(),
        format::number(longest.1.median),
        longest.0.title
    ))
}

#[cfg(test)]
mod tests;
