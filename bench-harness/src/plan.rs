//! The plan of a job: the grid of cells, and which cells are left out and why.

use std::path::Path;

use reports::model::{Input, Skipped};

use crate::{cell::CellSpec, error::LabError, executors::Kind, registry::AnyWorkload, work::Work};

/// The sizes of one job.
#[derive(Debug, Clone)]
pub(crate) struct Size {
    pub(crate) repetitions: u32,
    pub(crate) cpu_workers: Vec<u32>,
    pub(crate) io_workers: Vec<u32>,
    /// Of executors that keep no workers only the second number of workers: they are there for comparison, and take much of the time.
    pub(crate) only_pools_scale: bool,
}

impl Size {
    /// The grid of the default job (about four minutes on two cores), or of the quick one (less than one).
    pub(crate) fn of_bench(quick: bool, cores: u32) -> Self {
        let doubling = |to: u32| std::iter::successors(Some(1), |n| Some(n * 2)).take_while(move |n| *n <= to);
        let (cpu_workers, io_workers) = if quick {
            (vec![1, cores.max(2), 4 * cores], vec![1, 8, 50])
        } else {
            (doubling(4 * cores).collect(), doubling(32).chain([50]).collect())
        };
        // Six samples are the fewest whose range covers the median with 95%.
        Self { repetitions: if quick { 3 } else { 6 }, cpu_workers, io_workers, only_pools_scale: true }
    }
}

/// A workload as this job measures it.
pub(crate) struct Chosen<'a> {
    pub(crate) workload: &'a dyn AnyWorkload,
    pub(crate) work: Work,
}

/// The cells of a job, in the order of the report.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<CellSpec>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Plan {
    /// Makes the input and lists the cells.
    pub(crate) fn new(size: &Size, works: &[Chosen<'_>], executors: &[Kind], data: &Path) -> Result<Self, LabError> {
        let skipped = Skipped {
            what: "serial with several workers".to_owned(),
            reason: "it has one worker by definition".to_owned(),
        };
        let mut plan = Self { cells: Vec::new(), inputs: Vec::new(), skipped: vec![skipped] };
        for Chosen { workload, work } in works {
            let (input, skipped) = workload.input(work, data)?;
            let planned = Some(input.fingerprint.clone());
            plan.inputs.push(input);
            plan.skipped.extend(skipped);
            let cell = |executor, workers| CellSpec {
                work: work.clone(),
                executor,
                workers,
                data: data.to_path_buf(),
                input: planned.clone(),
            };
            // The answers and speeds of all others are compared with the serial run.
            plan.cells.push(cell(Kind::Serial, 1));
            for &executor in executors.iter().filter(|executor| **executor != Kind::Serial) {
                let workers = if work.waits() { &size.io_workers } else { &size.cpu_workers };
                let is_one = size.only_pools_scale && workers.len() > 1 && !Kind::pools().any(|pool| pool == executor);
                let workers = if is_one { &workers[1..2] } else { &workers[..] };
                plan.cells.extend(workers.iter().map(|workers| cell(executor, *workers)));
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use workloads::{JobSize, sha256};

    use super::*;
    use crate::registry::Registry;

    #[test]
    fn the_quick_job_has_every_workload_on_every_executor() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::built_in();
        let size = Size::of_bench(true, 2);
        let job = JobSize::default();
        let mut works: Vec<Chosen<'_>> = registry
            .iter()
            .filter(|it| !it.starts_programs())
            .map(|workload| Chosen { workload, work: workload.of_job(&job).unwrap() })
            .collect();
        // Smaller input: this test is about the grid.
        works[0].work = Work::new(&sha256::Spec { made_files: 1, made_bytes: 1, ..Default::default() }).unwrap();
        let plan = Plan::new(&size, &works, &Kind::ALL, folder.path()).unwrap();
        for work in ["sha256", "sqlite", "fetch", "spin", "io_wait", "payload"] {
            for kind in Kind::ALL {
                assert!(
                    plan.cells.iter().any(|cell| cell.work.name() == work && cell.executor == kind),
                    "{work} on {kind}"
                );
            }
        }
        assert!(plan.cells.iter().any(|cell| cell.work.waits() && cell.workers == 50));
        assert!(plan.cells.iter().all(|cell| cell.work.waits() || cell.workers <= 8));
    }
}
