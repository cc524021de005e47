//! What is measured: the grid of cells, and what is left out of it and why.

use std::path::Path;

use reports::model::{Input, Skipped};
use workloads::{fetch, sha256, sqlite};

use crate::{
    cell::{CellSpec, Work},
    error::LabError,
    executors::Kind,
};

/// The sizes of one job.
#[derive(Debug, Clone)]
pub(crate) struct Size {
    pub(crate) repetitions: u32,
    pub(crate) cpu_workers: Vec<u32>,
    pub(crate) io_workers: Vec<u32>,
    pub(crate) works: Vec<Work>,
}

impl Size {
    /// The default job (about five minutes on two cores), or the quick one (about one).
    pub(crate) fn of_bench(quick: bool, cores: u32, server: &str, iterations_per_us: f64) -> Self {
        let sha256 =
            sha256::Spec { made_files: if quick { 64 } else { 128 }, made_bytes: 1 << 20, ..Default::default() };
        let sqlite = sqlite::Spec { repeats: if quick { 60 } else { 150 }, ..Default::default() };
        let fetch = Work::Fetch {
            spec: fetch::Spec::default(),
            address: server.to_owned(),
            server: fetch::ServerConfig::default(),
            count: if quick { 40 } else { 80 },
        };
        let works = vec![
            Work::Sha256(sha256),
            Work::Sqlite(sqlite),
            fetch,
            Work::Spin { tasks: 200, iterations: (500.0 * iterations_per_us) as u64 },
            Work::IoWait { tasks: if quick { 50 } else { 100 }, micros: 5000 },
            Work::Payload { tasks: 64, input_bytes: 256 * 1024, output_bytes: 64 * 1024 },
        ];
        let doubling = |to: u32| std::iter::successors(Some(1), |n| Some(n * 2)).take_while(move |n| *n <= to);
        let (cpu_workers, io_workers) = if quick {
            (vec![1, cores.max(2), 4 * cores], vec![1, 8, 50])
        } else {
            (doubling(4 * cores).collect(), doubling(32).chain([50]).collect())
        };
        // Six samples are the fewest whose range covers the median with 95 %.
        Self { repetitions: if quick { 3 } else { 6 }, cpu_workers, io_workers, works }
    }
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
    pub(crate) fn new(size: &Size, executors: &[Kind], data: &Path) -> Result<Self, LabError> {
        let skipped = Skipped {
            what: "serial with several workers".to_owned(),
            reason: "it has one worker by definition".to_owned(),
        };
        let mut plan = Self { cells: Vec::new(), inputs: Vec::new(), skipped: vec![skipped] };
        for work in &size.works {
            let (input, skipped) = input(work, data)?;
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
            // The serial run is what the others' answers and speeds are compared with.
            plan.cells.push(cell(Kind::Serial, 1));
            for &executor in executors.iter().filter(|executor| **executor != Kind::Serial) {
                let workers = if work.waits() { &size.io_workers } else { &size.cpu_workers };
                plan.cells.extend(workers.iter().map(|workers| cell(executor, *workers)));
            }
        }
        Ok(plan)
    }
}

/// Makes a workload's input, and describes it and what is left out of it.
pub(crate) fn input(work: &Work, data: &Path) -> Result<(Input, Vec<Skipped>), LabError> {
    let mut skipped = Vec::new();
    let (description, fingerprint) = match work {
        Work::Sha256(spec) => {
            let prepared = sha256::prepare(spec, data)?;
            skipped.extend(prepared.skipped.into_iter().map(|path| Skipped {
                what: format!("sha256: {}", workloads::shown(&path.path)),
                reason: path.reason,
            }));
            (prepared.description, prepared.fingerprint)
        }
        Work::Sqlite(spec) => {
            let prepared = sqlite::prepare(spec, data)?;
            (format!("{}, {} queries each", prepared.description, spec.repeats), prepared.fingerprint)
        }
        Work::Fetch { spec, address, server, count } => {
            let prepared = fetch::prepare_local(spec, address, server, *count)?;
            (prepared.description, prepared.fingerprint)
        }
        Work::FetchOwn { spec, urls } => {
            let prepared = fetch::prepare_urls(spec, urls.clone())?;
            (format!("{}, of which the status is compared", prepared.description), prepared.fingerprint)
        }
        // Calibrated on each machine anew: the time is the input, the iterations are how it is reached.
        Work::Spin { tasks, .. } => described(format!("{tasks} tasks of about 500 µs each, by calibrated iterations")),
        Work::IoWait { tasks, micros } => described(format!("{tasks} tasks that wait {micros} µs each")),
        Work::Payload { tasks, input_bytes, output_bytes } => {
            described(format!("{tasks} tasks with {input_bytes} bytes in and {output_bytes} bytes out"))
        }
    };
    Ok((Input { workload: work.name().to_owned(), description, waits: work.waits(), fingerprint }, skipped))
}

fn described(description: String) -> (String, String) {
    let fingerprint = workloads::digest_of(&[&description]);
    (description, fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_job_has_every_workload_on_every_executor() {
        let folder = tempfile::tempdir().unwrap();
        let mut size = Size::of_bench(true, 2, "http://127.0.0.1:1", 100.0);
        // Smaller input: this test is about the grid.
        size.works[0] = Work::Sha256(sha256::Spec { made_files: 1, made_bytes: 1, ..Default::default() });
        let plan = Plan::new(&size, &Kind::ALL, folder.path()).unwrap();
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
