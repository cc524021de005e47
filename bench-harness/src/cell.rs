//! One point of the grid, and how it is run in the process that was started for it.

use std::{path::PathBuf, time::Instant};

use executor_core::{Executor, Payload, Task, TaskError, as_completed};
use reports::model::Latency;
use serde::{Deserialize, Serialize};
use workloads::{
    Digest, Outcome, PrepareError, Prepared,
    fetch::{self, ServerConfig},
    kernels::{self, IoWait, Spin},
    sha256, sqlite,
};

use crate::{
    error::LabError,
    executors::{Kind, Visit, with_executor},
    runner::counters::{self, Counters},
    stats::{nanos, percentiles},
};

/// What a cell runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    Sha256(sha256::Spec),
    Sqlite(sqlite::Spec),
    Fetch {
        spec: fetch::Spec,
        address: String,
        server: ServerConfig,
        count: u32,
    },
    /// URLs of the user's.
    FetchOwn {
        spec: fetch::Spec,
        urls: Vec<String>,
    },
    Spin {
        tasks: u32,
        iterations: u64,
    },
    IoWait {
        tasks: u32,
        micros: u64,
    },
    Payload {
        tasks: u32,
        input_bytes: usize,
        output_bytes: u32,
    },
}

impl Work {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sqlite(_) => "sqlite",
            Self::Fetch { .. } | Self::FetchOwn { .. } => "fetch",
            Self::Spin { .. } => "spin",
            Self::IoWait { .. } => "io_wait",
            Self::Payload { .. } => "payload",
        }
    }

    /// Whether its tasks mostly wait, so that more workers than cores can help.
    pub(crate) fn waits(&self) -> bool {
        matches!(self, Self::Fetch { .. } | Self::FetchOwn { .. } | Self::IoWait { .. })
    }
}

/// A cell as the child process is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CellSpec {
    pub(crate) work: Work,
    pub(crate) executor: Kind,
    pub(crate) workers: u32,
    /// Where made input is kept.
    pub(crate) data: PathBuf,
    /// Fingerprint of the input that was planned for: what changes while it is measured makes no answer wrong.
    pub(crate) input: Option<String>,
}

/// What the child process measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) tasks: u64,
    pub(crate) makespan_ns: u64,
    pub(crate) latency: Option<Latency>,
    pub(crate) counters: Counters,
    pub(crate) failed_tasks: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) digest: String,
}

/// Runs the cell once.
pub(crate) fn measure(cell: &CellSpec) -> Result<Measured, LabError> {
    match &cell.work {
        Work::Sha256(spec) => {
            run(cell, sha256::hash_file, unchanged(cell, sha256::prepare_again(spec, &cell.data))?, whole)
        }
        Work::Sqlite(spec) => {
            run(cell, sqlite::query_database, unchanged(cell, sqlite::prepare_again(spec, &cell.data))?, whole)
        }
        Work::Fetch { spec, address, server, count } => {
            run(cell, fetch::fetch_url, fetch::prepare_local(spec, address, server, *count)?.items, whole)
        }
        Work::FetchOwn { spec, urls } => {
            // A page may be another one each time, and no executor is to blame: only the status must be the same.
            let status = |digest: &mut Digest, answer: &Result<fetch::Answer, _>| {
                digest.add(&answer.as_ref().map(|answer| answer.status).map_err(|_| ()));
            };
            run(cell, fetch::fetch_url, fetch::prepare_urls(spec, urls.clone())?.items, status)
        }
        Work::Spin { tasks, iterations } => {
            let items = (0..*tasks).map(|seed| Spin { iterations: *iterations, seed: seed.into() });
            run(cell, kernels::spin, items.collect(), whole)
        }
        Work::IoWait { tasks, micros } => {
            let items = (0..*tasks).map(|index| IoWait { micros: *micros, index: index.into() });
            run(cell, kernels::io_wait, items.collect(), whole)
        }
        Work::Payload { tasks, input_bytes, output_bytes } => {
            let items = (0..*tasks).map(|index| kernels::Payload::new(*input_bytes, *output_bytes, index.into()));
            run(cell, kernels::payload, items.collect(), whole)
        }
    }
}

/// The items, if they are those that were planned for.
fn unchanged<I>(cell: &CellSpec, prepared: Result<Prepared<I>, PrepareError>) -> Result<Vec<I>, LabError> {
    let prepared = prepared?;
    match &cell.input {
        Some(planned) if *planned != prepared.fingerprint => Err(LabError::Sample(format!(
            "the input has changed since the run began (now {}): measure on files that nobody writes",
            prepared.description
        ))),
        _ => Ok(prepared.items),
    }
}

/// Into the digest goes all of an answer.
fn whole<A: Serialize>(digest: &mut Digest, answer: &A) {
    digest.add(answer);
}

fn run<F, A, M>(
    cell: &CellSpec,
    task: F,
    items: Vec<A>,
    digest: fn(&mut Digest, &F::Output),
) -> Result<Measured, LabError>
where
    F: Task<A, M>,
    A: Payload + Clone,
    F::Output: Payload + Outcome,
    M: 'static,
{
    let timed = Timed { task, items, digest, marker: std::marker::PhantomData };
    let before = counters::of_this_process_tree();
    let mut measured = with_executor(cell.executor, cell.workers as usize, timed)?;
    // The executor is gone, and its worker processes with it: only now do their counters show here. Starting them is in
    // them as well; it is not in the makespan.
    measured.counters = counters::of_this_process_tree().since(&before);
    if cell.executor == Kind::Serial {
        // It runs tasks in `submit`, so that nobody waits for a result.
        measured.latency = None;
    }
    Ok(measured)
}

struct Timed<F, A, M>
where
    F: Task<A, M>,
{
    task: F,
    items: Vec<A>,
    digest: fn(&mut Digest, &F::Output),
    marker: std::marker::PhantomData<fn() -> M>,
}

fn nothing(_: ()) {}

impl<F, A, M> Visit for Timed<F, A, M>
where
    F: Task<A, M>,
    A: Payload + Clone,
    F::Output: Payload + Outcome,
    M: 'static,
{
    type Output = Measured;

    fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Measured {
        // Threads that start on demand are started, and every code path has been taken once.
        let warm: Vec<_> = (0..executor.max_workers()).filter_map(|_| executor.submit(nothing, ()).ok()).collect();
        warm.into_iter().for_each(|future| drop(future.result()));

        let count = self.items.len();
        let mut answers: Vec<Option<Result<F::Output, TaskError>>> = (0..count).map(|_| None).collect();
        let mut latencies = vec![0; count];
        let start = Instant::now();
        let submitted = self.items.into_iter().enumerate().map(|(index, item)| {
            let at = Instant::now();
            executor.submit(self.task.clone(), item).ok().map(|future| ((index, at), future))
        });
        for done in as_completed(submitted.flatten(), None).flatten() {
            let ((index, at), future) = done;
            answers[index] = Some(future.result());
            latencies[index] = nanos(at.elapsed());
        }
        let makespan_ns = nanos(start.elapsed());

        let (mut digest, mut failed_tasks, mut first_error) = (Digest::new(), 0, None);
        for answer in &answers {
            // An item without an answer has failed, whether its task was lost or says so itself.
            let error = match answer {
                Some(Ok(answer)) => {
                    (self.digest)(&mut digest, answer);
                    answer.error().map(ToString::to_string)
                }
                Some(Err(error)) => Some(crate::error::chain(error)),
                None => Some("the executor did not take the task".to_owned()),
            };
            if let Some(error) = error {
                failed_tasks += 1;
                digest.add(&error);
                first_error.get_or_insert(error);
            }
        }
        Measured {
            tasks: count as u64,
            makespan_ns,
            latency: percentiles(latencies),
            counters: Counters::default(),
            failed_tasks,
            first_error,
            digest: digest.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_and_threads_give_the_same_digest() {
        let folder = tempfile::tempdir().unwrap();
        let cell = |executor| CellSpec {
            work: Work::Spin { tasks: 50, iterations: 100 },
            executor,
            workers: 2,
            data: folder.path().into(),
            input: None,
        };
        let serial = measure(&cell(Kind::Serial)).unwrap();
        let thread = measure(&cell(Kind::Thread)).unwrap();
        assert_eq!(serial.digest, thread.digest);
        assert_eq!((thread.tasks, thread.failed_tasks), (50, 0));
    }

    #[test]
    fn an_item_without_an_answer_is_a_failed_task_on_every_executor() {
        let folder = tempfile::tempdir().unwrap();
        let spec = sqlite::Spec { databases: vec![folder.path().join("missing.db")], repeats: 3, ..Default::default() };
        for executor in [Kind::Serial, Kind::Thread, Kind::Rayon] {
            let work = Work::Sqlite(spec.clone());
            let cell = CellSpec { work, executor, workers: 2, data: folder.path().into(), input: None };
            let measured = measure(&cell).unwrap();
            assert_eq!((measured.tasks, measured.failed_tasks), (3, 3), "{executor}");
            assert!(measured.first_error.unwrap().contains("missing.db"));
        }
    }

    #[test]
    fn input_that_changes_is_an_error_and_no_wrong_answer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let spec = sha256::Spec { paths: vec![file.clone()], ..Default::default() };
        let input = Some(sha256::prepare(&spec, folder.path()).unwrap().fingerprint);
        let cell = CellSpec {
            work: Work::Sha256(spec),
            executor: Kind::Serial,
            workers: 1,
            data: folder.path().into(),
            input,
        };
        measure(&cell).unwrap();
        std::fs::write(&file, "xy").unwrap();
        assert!(measure(&cell).unwrap_err().to_string().contains("has changed"));
    }
}
