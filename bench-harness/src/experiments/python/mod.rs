//! Python beside us: the same tasks on the same input, on Python's pools and on the lab's executors, with as many workers and in the
//! same run.
//!
//! Each block has every workload once, with all executors of the lab and of Python next to each other, in an order of its own, each in
//! a process that was started for it. Answers of Python are read as if a task of the lab had given them, so that they must equal those
//! of the serial executor byte for byte.
//!
//! CPU time that other programs use meanwhile is not looked at: of processes that a Python has started and not waited for (those of
//! a fork server), the system does not tell whose they were.

mod case;
mod contender;
mod judge;
mod tell;
#[cfg(test)]
mod tests;

use std::{
    env,
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use reports::model::{Finding, PythonBeside as Shown, PythonCell, PythonSample, Run, Skipped, Verdict};
use workloads::Random;

use self::{
    case::Case,
    contender::{Contender, Found, Measured},
};
use super::experiment::{Experiment, Job};
use crate::{
    cell::CellSpec,
    error::{LabError, chain},
    peers::Scripts,
    runner::{child, progress::Progress, schedule::interleave},
};

/// Number of blocks in a quick run and in another one: six are the fewest whose range covers the median with 95%, and of nine one may be
/// disturbed.
const BLOCKS: (u32, u32) = (6, 9);

/// In a quick run and in another one, no block begins that would end after this, for each Python.
const BUDGETS: (Duration, Duration) = (Duration::from_secs(14), Duration::from_secs(80));

/// The experiment with these Pythons; with `python3` where none is named.
#[derive(Debug, Default)]
pub(crate) struct PythonBeside {
    pythons: Vec<PathBuf>,
    /// What they say of themselves; they are asked once.
    found: OnceLock<Found>,
}

/// The part of the main job.
pub(crate) static IN_BENCH: PythonBeside = PythonBeside { pythons: Vec::new(), found: OnceLock::new() };

impl PythonBeside {
    pub(crate) const ID: &'static str = "python";

    pub(crate) fn new(pythons: Vec<PathBuf>) -> Self {
        Self { pythons, found: OnceLock::new() }
    }

    fn found(&self) -> &Found {
        self.found.get_or_init(|| Found::of(&self.pythons))
    }
}

impl Experiment for PythonBeside {
    fn id(&self) -> &'static str {
        Self::ID
    }

    /// The most that there can be: the time may not suffice for all blocks.
    fn steps(&self, job: &Job<'_>) -> usize {
        // Pythons are asked only where there is anything for them to do.
        let cells = |name: &'static str| self.found().contenders(name).len();
        case::names(job.settings.registry).map(cells).sum::<usize>() * blocks(job) as usize
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        if case::names(job.settings.registry).next().is_none() {
            // A lab of the user's own functions, which are written in Rust.
            return Ok(Vec::new());
        }
        let found = self.found();
        let mut shown = Shown {
            workers: workers(job),
            interpreters: found.described(),
            missing: found.missing.clone(),
            ..Shown::default()
        };
        if !found.is_empty() {
            let cases = case::all(job, found)?;
            for case in &cases {
                shown.missing.extend(found.missing_for(case.name));
                if !run.inputs.iter().any(|known| known.workload == case.input.workload) {
                    run.inputs.push(case.input.clone());
                }
            }
            let (mut measured, left) = Bench::new(job, found)?.measure(&cases, self.steps(job), progress);
            (0..left).for_each(|_| progress.step());
            judge::check(&mut measured);
            shown.comparisons = judge::compare(&measured, found);
            shown.cells = measured.into_iter().map(|measured| measured.cell).collect();
        }
        run.python = Some(shown);
        Ok(Vec::new())
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        run.python.as_ref().map(|shown| tell::findings(shown, run.quick)).unwrap_or_default()
    }
}

fn blocks(job: &Job<'_>) -> u32 {
    job.settings.repetitions.unwrap_or(if job.settings.quick { BLOCKS.0 } else { BLOCKS.1 })
}

/// As many as there are cores, unless the user asks for another number.
fn workers(job: &Job<'_>) -> u32 {
    job.settings.workers.first().copied().unwrap_or(job.cores.max(1))
}

/// What takes the samples.
struct Bench<'a> {
    job: &'a Job<'a>,
    found: &'a Found,
    scripts: Scripts,
    workers: u32,
}

impl<'a> Bench<'a> {
    fn new(job: &'a Job<'a>, found: &'a Found) -> Result<Self, LabError> {
        let scripts = Scripts::write().map_err(LabError::file("write the scripts for Python in", env::temp_dir()))?;
        Ok(Self { job, found, scripts, workers: workers(job) })
    }

    /// Takes all samples, or those that there is time for. Also returns how many of `steps` it has not taken.
    fn measure(&self, cases: &[Case<'_>], steps: usize, progress: &mut Progress) -> (Vec<Measured>, usize) {
        let mut measured: Vec<Vec<Measured>> = cases.iter().map(|case| self.empty(case)).collect();
        let mut random = Random::new(self.job.settings.seed ^ 0x7079);
        let (start, mut block, mut order) = (Instant::now(), 0, 0);
        for place in interleave(cases.len(), blocks(self.job), random.next_u64()) {
            if place.block > block {
                block = place.block;
                if !self.has_time(start.elapsed(), block) {
                    break;
                }
            }
            let (case, measured) = (&cases[place.cell], &mut measured[place.cell]);
            // The executors of one workload follow each other, because they are compared.
            for slot in interleave(measured.len(), 1, random.next_u64()) {
                if progress.interrupted() {
                    break;
                }
                let Measured { contender, cell } = &mut measured[slot.cell];
                progress.begin(&format!("{}: {}", cell.workload, cell.executor));
                // What has failed once fails again, and may take its whole time limit to do so.
                if !matches!(cell.verdict, Verdict::Failed { .. }) {
                    match self.sample(case, *contender) {
                        Ok((makespan_ns, digest)) => {
                            cell.samples.push(PythonSample { block, order, makespan_ns, digest });
                        }
                        Err(error) => cell.verdict = Verdict::Failed { error },
                    }
                }
                order += 1;
                progress.step();
            }
        }
        (measured.into_iter().flatten().collect(), steps.saturating_sub(order as usize))
    }

    fn empty(&self, case: &Case<'_>) -> Vec<Measured> {
        let cell = |contender: Contender| PythonCell {
            workload: case.name.to_owned(),
            executor: self.found.name(contender),
            tasks: case.items.len() as u64,
            ..PythonCell::default()
        };
        let contenders = self.found.contenders(case.name).into_iter();
        contenders.map(|contender| Measured { contender, cell: cell(contender) }).collect()
    }

    /// Whether another block fits in, as long as those that are done. Who names a number of samples gets it.
    fn has_time(&self, elapsed: Duration, done: u32) -> bool {
        let settings = self.job.settings;
        let for_each = if settings.quick { BUDGETS.0 } else { BUDGETS.1 };
        settings.repetitions.is_some() || elapsed + elapsed / done.max(1) <= for_each * self.found.count()
    }

    /// The makespan and the digest of the answers. The error is a message for people.
    fn sample(&self, case: &Case<'_>, contender: Contender) -> Result<(u64, String), String> {
        match contender {
            Contender::Lab(executor) => {
                let cell = CellSpec {
                    work: case.work.clone(),
                    executor,
                    workers: contender.workers(self.workers),
                    data: self.job.settings.data.clone(),
                    input: Some(case.input.fingerprint.clone()),
                };
                let measured = child::sample(&cell)?;
                match measured.first_error {
                    Some(error) => Err(format!("{} of {} tasks: {error}", measured.failed_tasks, measured.tasks)),
                    None => Ok((measured.makespan_ns, measured.digest)),
                }
            }
            Contender::Python { python, pool } => {
                let what = (contender.workers(self.workers), case.name, &case.items[..]);
                let reply = self.scripts.run(self.found.interpreter(python), pool, what)?;
                let digest = case.workload.digest(&case.work, reply.answers).map_err(|error| chain(&error))?;
                Ok((reply.makespan_ns, digest))
            }
        }
    }
}
