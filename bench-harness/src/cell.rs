//! One point of the grid, and how it is run in the process that was started for it.

use std::{path::PathBuf, time::Instant};

use executor_core::{Executor, Payload, Task, TaskError, as_completed};
use reports::model::Latency;
use serde::{Deserialize, Serialize};
use workloads::{Digest, Outcome, Place, Workload};

use crate::{
    error::LabError,
    executors::{AnyExecutor, Kind},
    runner::counters::{self, Counters},
    stats::{nanos, percentiles},
    work::Work,
};

/// A cell, as it is sent to the child process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CellSpec {
    pub(crate) work: Work,
    pub(crate) executor: Kind,
    pub(crate) workers: u32,
    /// The folder in which made input is kept.
    pub(crate) data: PathBuf,
    /// Fingerprint of the planned input: an input that changes during the run is an error, and not a wrong answer.
    pub(crate) input: Option<String>,
}

/// The output of the child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) tasks: u64,
    pub(crate) makespan_ns: u64,
    pub(crate) latency: Option<Latency>,
    pub(crate) counters: Counters,
    pub(crate) failed_tasks: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) digest: String,
    /// It is the second attempt, because other programs used the cores during the first.
    #[serde(skip)]
    pub(crate) is_repeated: bool,
}

/// Runs the cell once.
pub(crate) fn measure<W: Workload>(cell: &CellSpec) -> Result<Measured, LabError> {
    let (workload, items) = prepare::<W>(cell)?;
    time(cell, W::run, items, move |digest: &mut Digest, answer: &W::Output| {
        workload.add_to(digest, answer);
        answer.error().map(ToString::to_string)
    })
}

/// The workload of a cell with its items, which must be the planned ones.
pub(crate) fn prepare<W: Workload>(cell: &CellSpec) -> Result<(W, Vec<W::Input>), LabError> {
    let workload: W = cell.work.open()?;
    let prepared = workload.prepare(&Place { data: &cell.data, again: true })?;
    if cell.input.as_ref().is_some_and(|planned| *planned != prepared.fingerprint) {
        return Err(LabError::Sample(format!(
            "the input has changed since the run began (now {}): measure files that do not change",
            prepared.description
        )));
    }
    Ok((workload, prepared.items))
}

/// Runs the task on each of the items, and adds the answers to the digest by `add`, which returns why an answer is a failure.
pub(crate) fn time<I, F, M, A>(cell: &CellSpec, task: F, items: Vec<I>, add: A) -> Result<Measured, LabError>
where
    I: Payload,
    F: Task<I, M>,
    F::Output: Payload,
    M: 'static,
    A: FnMut(&mut Digest, &F::Output) -> Option<String>,
{
    let (mut measured, before) = timed(AnyExecutor::start(cell.executor, cell.workers as usize)?, task, items, add);
    // The executor is gone, and its worker processes with it: only now are their CPU times exact.
    let whole = counters::of_this_process_tree().since(&before);
    (measured.counters.user_cpu_ns, measured.counters.system_cpu_ns) = (whole.user_cpu_ns, whole.system_cpu_ns);
    if matches!(cell.executor, Kind::ThreadPerTask | Kind::ProcessPerTask) {
        // The threads that have waited are gone.
        measured.counters.run_queue_delay_ns = None;
    }
    if cell.executor == Kind::Serial {
        // The serial executor runs tasks in `submit`, so that no thread waits for a result.
        measured.latency = None;
    }
    Ok(measured)
}

fn nothing(_: ()) {}

/// Returns also the counters at the start of the makespan. The executor is gone then.
fn timed<I, F, M, A>(executor: AnyExecutor, task: F, items: Vec<I>, mut add: A) -> (Measured, Counters)
where
    I: Payload,
    F: Task<I, M>,
    F::Output: Payload,
    M: 'static,
    A: FnMut(&mut Digest, &F::Output) -> Option<String>,
{
    // Threads that start on demand are started, and every code path has been taken once.
    let warm: Vec<_> = (0..executor.max_workers()).filter_map(|_| executor.submit(nothing, ()).ok()).collect();
    warm.into_iter().for_each(|future| drop(future.result()));

    let count = items.len();
    let mut answers: Vec<Option<Result<F::Output, TaskError>>> = (0..count).map(|_| None).collect();
    let mut latencies = vec![0; count];
    let before = counters::of_tree(&executor.worker_pids());
    let start = Instant::now();
    let submitted = items.into_iter().enumerate().map(|(index, item)| {
        let at = Instant::now();
        executor.submit(task.clone(), item).ok().map(|future| ((index, at), future))
    });
    for done in as_completed(submitted.flatten(), None).flatten() {
        let ((index, at), future) = done;
        answers[index] = Some(future.result());
        latencies[index] = nanos(at.elapsed());
    }
    let makespan_ns = nanos(start.elapsed());
    let counters = counters::of_tree(&executor.worker_pids()).since(&before);

    let (mut digest, mut failed_tasks, mut first_error) = (Digest::new(), 0, None);
    for answer in &answers {
        // An item without an answer has failed, whether its task was lost or reports the failure.
        let error = match answer {
            Some(Ok(answer)) => add(&mut digest, answer),
            Some(Err(error)) => Some(crate::error::chain(error)),
            None => Some("the executor did not take the task".to_owned()),
        };
        if let Some(error) = error {
            failed_tasks += 1;
            digest.add(&error);
            first_error.get_or_insert(error);
        }
    }
    let measured = Measured {
        tasks: count as u64,
        makespan_ns,
        latency: percentiles(latencies),
        counters,
        failed_tasks,
        first_error,
        digest: digest.finish(),
        is_repeated: false,
    };
    (measured, before)
}
#[cfg(test)]
mod tests {
    use workloads::{kernels::SpinTasks, sha256, sqlite};

    use super::*;

    #[test]
    fn serial_and_threads_give_the_same_digest() {
        let folder = tempfile::tempdir().unwrap();
        let cell = |executor| CellSpec {
            work: Work::new(&SpinTasks { tasks: 50, iterations: 100 }).unwrap(),
            executor,
            workers: 2,
            data: folder.path().into(),
            input: None,
        };
        let serial = measure::<SpinTasks>(&cell(Kind::Serial)).unwrap();
        let thread = measure::<SpinTasks>(&cell(Kind::Thread)).unwrap();
        assert_eq!(serial.digest, thread.digest);
        assert_eq!((thread.tasks, thread.failed_tasks), (50, 0));
    }

    #[test]
    fn an_item_without_an_answer_is_a_failed_task_on_every_executor() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken.db");
        std::fs::write(&broken, "this text is not a database").unwrap();
        let spec = sqlite::Spec { databases: vec![broken], repeats: 3, ..Default::default() };
        for executor in [Kind::Serial, Kind::Thread, Kind::Rayon] {
            let work = Work::new(&spec).unwrap();
            let cell = CellSpec { work, executor, workers: 2, data: folder.path().into(), input: None };
            let measured = measure::<sqlite::Spec>(&cell).unwrap();
            assert_eq!((measured.tasks, measured.failed_tasks), (3, 3), "{executor}");
            assert!(measured.first_error.unwrap().contains("broken.db"));
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
            work: Work::new(&spec).unwrap(),
            executor: Kind::Serial,
            workers: 1,
            data: folder.path().into(),
            input,
        };
        measure::<sha256::Spec>(&cell).unwrap();
        std::fs::write(&file, "xy").unwrap();
        assert!(measure::<sha256::Spec>(&cell).unwrap_err().to_string().contains("has changed"));
    }
}
