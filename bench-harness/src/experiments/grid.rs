//! The grid: every workload on every executor with every number of workers, and the findings about its cells.

use reports::{
    advice::decide,
    model::{Cell, Evidence, Finding, Run, Sample, Skipped, Tone, Verdict},
};

use super::{
    experiment::{Experiment, Job},
    words::{finding, interval},
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
    stats,
};

/// Throughput and latency.
pub(crate) struct Grid;

impl Experiment for Grid {
    fn id(&self) -> &'static str {
        "scaling"
    }

    /// One more sample of each cell, for its memory.
    fn steps(&self, job: &Job<'_>) -> usize {
        job.plan.cells.len() * (job.repetitions as usize + 1)
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        let planned = &job.plan.cells;
        let mut cells: Vec<Cell> = planned.iter().map(empty_cell).collect();
        for slot in interleave(planned.len(), job.repetitions, job.settings.seed) {
            if progress.interrupted() {
                break;
            }
            progress.begin(&cells[slot.cell].id);
            let (cell, spec) = (&mut cells[slot.cell], &planned[slot.cell]);
            // A cell that has failed once fails again, and may take its whole time limit to do so.
            if !matches!(cell.verdict, Verdict::Failed { .. }) {
                add_sample(cell, slot, progress.sampler.sample(spec));
            }
            progress.step();
            // Once per cell: memory hardly differs from sample to sample, and measuring it takes a run of its own.
            if slot.block == 0 {
                if let Some(sample) = cell.samples.last_mut().filter(|_| !progress.interrupted()) {
                    sample.peak_pss_bytes = child::peak_memory(spec);
                }
                progress.step();
            }
        }
        judge(&mut cells);
        run.cells = cells;
        Ok(Vec::new())
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        workloads(run).into_iter().filter_map(|name| best(run, &name)).collect()
    }
}

/// The id of a cell: `sha256/process/w2`.
pub(super) fn id_of(spec: &CellSpec) -> String {
    format!("{}/{}/w{}", spec.work.name(), spec.executor, spec.workers)
}

fn empty_cell(spec: &CellSpec) -> Cell {
    Cell {
        id: id_of(spec),
        workload: spec.work.name().to_owned(),
        executor: spec.executor.name().to_owned(),
        workers: spec.workers,
        ..Cell::default()
    }
}

fn add_sample(cell: &mut Cell, slot: Slot, measured: Result<Measured, String>) {
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => {
            cell.verdict = Verdict::Failed { error };
            return;
        }
    };
    if let Some(error) = measured.first_error {
        cell.verdict =
            Verdict::Failed { error: format!("{} of {} tasks: {error}", measured.failed_tasks, measured.tasks) };
    }
    cell.tasks = measured.tasks;
    let counters = measured.counters;
    cell.samples.push(Sample {
        block: slot.block,
        order: slot.order,
        makespan_ns: measured.makespan_ns,
        tasks_per_second: measured.tasks as f64 * 1e9 / measured.makespan_ns.max(1) as f64,
        latency: measured.latency,
        user_cpu_ns: counters.user_cpu_ns,
        system_cpu_ns: counters.system_cpu_ns,
        voluntary_switches: counters.voluntary_switches,
        involuntary_switches: counters.involuntary_switches,
        minor_faults: counters.minor_faults,
        major_faults: counters.major_faults,
        run_queue_delay_ns: counters.run_queue_delay_ns,
        cpu_pressure_ns: counters.cpu_pressure_ns,
        stolen_ns: counters.stolen_ns,
        peak_pss_bytes: None,
        is_repeated: measured.is_repeated,
        failed_tasks: measured.failed_tasks,
        digest: measured.digest,
    });
}

/// Computes the estimates, and whether each cell's answers equal those of the serial cell.
fn judge(cells: &mut [Cell]) {
    // The answers of a failed serial cell cannot be compared with.
    let expected: Vec<(String, Result<String, &'static str>)> = cells
        .iter()
        .filter(|cell| cell.executor == Kind::Serial.name())
        .map(|cell| {
            let digest = match (&cell.verdict, cell.samples.first()) {
                (Verdict::Failed { .. }, _) => Err("the serial cell has failed"),
                (_, None) => Err("the run was stopped before the serial cell had a sample"),
                (_, Some(sample)) => Ok(sample.digest.clone()),
            };
            (cell.workload.clone(), digest)
        })
        .collect();
    for cell in cells {
        if matches!(cell.verdict, Verdict::Failed { .. }) || cell.samples.is_empty() {
            // The time of a failure is not a figure.
            continue;
        }
        let of = |value: fn(&Sample) -> f64| cell.samples.iter().map(value).collect::<Vec<_>>();
        cell.makespan_ns = stats::estimate(&of(|sample| sample.makespan_ns as f64));
        cell.tasks_per_second = stats::estimate(&of(|sample| sample.tasks_per_second));
        let expected = expected.iter().find(|(workload, _)| *workload == cell.workload).map(|(_, digest)| digest);
        cell.verdict = match expected {
            None => continue,
            Some(Err(why)) => Verdict::Failed { error: format!("its answers could not be checked: {why}") },
            Some(Ok(expected)) => match cell.samples.iter().find(|sample| sample.digest != *expected) {
                Some(sample) => Verdict::Wrong { expected: expected.clone(), found: sample.digest.clone() },
                None => Verdict::Correct,
            },
        };
    }
}

fn workloads(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = run.cells.iter().map(|cell| cell.workload.clone()).collect();
    names.dedup();
    names
}

/// What to take for one workload, against serial, as the page and its decision table have it.
fn best(run: &Run, workload: &str) -> Option<Finding> {
    let cells: Vec<&Cell> = run.cells.iter().filter(|cell| cell.workload == workload).collect();
    let decision = decide(run, &cells)?;
    let took = interval(&decision.makespan_ns);
    let tie = match decision.ties_with.as_str() {
        "" => String::new(),
        fastest => format!("; {fastest} ties with it"),
    };
    let mut tone = Tone::Neutral;
    let mut text = match (&decision.cannot_tell, &decision.gain) {
        (Some(_), _) => format!("{workload}: cannot tell what is fastest; it leans to {}", decision.name()),
        (None, None) => format!("{workload}: no executor is faster than serial, {took}{tie}"),
        (None, Some(gain)) => {
            let mut against = format!("{:.2}x serial", gain.median);
            if let Some(possible) = decision.too_fast_for {
                tone = Tone::Caution;
                against
                    .push_str(&format!(", where {possible}x is the most there can be: the serial cell was disturbed"));
            }
            format!("{workload}: fastest on {} ({took}, {against}{tie})", decision.name())
        }
    };
    if let Some(processes) = decision.processes {
        text.push_str(&format!(
            "; the best process pool took {:.2}x the time of the best thread pool",
            processes.median
        ));
    }
    text.push('.');
    let finding = finding(text, Evidence::chart("scaling", workload), tone);
    Some(match decision.cannot_tell {
        Some(why) => Finding { note: format!("Here {why}."), tone: Tone::Caution, ..finding },
        None => finding,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use reports::model::Estimate;
    use workloads::kernels::SpinTasks;

    use super::*;
    use crate::work::Work;

    #[test]
    fn an_answer_that_differs_from_the_serial_one_is_wrong() {
        let cell = |executor: &str, digest: &str| {
            let mut cell = empty_cell(&CellSpec {
                work: Work::new(&SpinTasks { tasks: 1, iterations: 1 }).unwrap(),
                executor: Kind::Serial,
                workers: 1,
                data: PathBuf::new(),
                input: None,
            });
            executor.clone_into(&mut cell.executor);
            let measured = Measured {
                tasks: 1,
                makespan_ns: 10,
                latency: None,
                counters: Default::default(),
                failed_tasks: 0,
                first_error: None,
                digest: digest.to_owned(),
                is_repeated: false,
            };
            add_sample(&mut cell, Slot { block: 0, order: 0, cell: 0 }, Ok(measured));
            cell
        };
        let mut cells = [cell("serial", "a"), cell("thread", "a"), cell("process", "b")];
        judge(&mut cells);
        assert_eq!(cells[1].verdict, Verdict::Correct);
        assert_eq!(cells[2].verdict, Verdict::Wrong { expected: "a".to_owned(), found: "b".to_owned() });
    }

    #[test]
    fn answers_that_could_not_be_checked_are_not_called_correct() {
        let cell = |executor: &str, failed_tasks: u64| {
            let work = Work::new(&SpinTasks { tasks: 1, iterations: 1 }).unwrap();
            let (executor, spec) = (
                executor.to_owned(),
                CellSpec { work, executor: Kind::Serial, workers: 1, data: PathBuf::new(), input: None },
            );
            let mut cell = Cell { executor, ..empty_cell(&spec) };
            let measured = Measured {
                tasks: 1,
                makespan_ns: 10,
                latency: None,
                counters: Default::default(),
                failed_tasks,
                first_error: (failed_tasks > 0).then(|| "it is gone".to_owned()),
                digest: "a".to_owned(),
                is_repeated: false,
            };
            add_sample(&mut cell, Slot { block: 0, order: 0, cell: 0 }, Ok(measured));
            cell
        };
        let mut cells = [cell("serial", 1), cell("thread", 1), cell("process", 0)];
        judge(&mut cells);
        for cell in &cells {
            assert!(
                matches!(cell.verdict, Verdict::Failed { .. }) && cell.makespan_ns.is_none()
                    || cell.executor == "process"
            );
        }
        assert!(matches!(&cells[2].verdict, Verdict::Failed { error } if error.contains("could not be checked")));
        let mut stopped = [cell("serial", 0), cell("thread", 0)];
        stopped[0].samples.clear();
        judge(&mut stopped);
        assert_eq!(stopped[0].verdict, Verdict::NotMeasured);
        assert!(matches!(&stopped[1].verdict, Verdict::Failed { error } if error.contains("stopped")));
    }

    #[test]
    fn of_what_ties_the_fewest_workers_are_best() {
        let timed = |executor: &str, workers, median: f64, wide: f64| Cell {
            id: format!("x/{executor}/w{workers}"),
            workload: "x".to_owned(),
            executor: executor.to_owned(),
            workers,
            makespan_ns: Some(Estimate { median, low: median - wide, high: median + wide, confidence: 0.97, n: 6 }),
            verdict: Verdict::Correct,
            ..Cell::default()
        };
        let best = |cells: &[Cell]| {
            let mut run = Run { cells: cells.to_vec(), ..Run::default() };
            run.host.cores = 2;
            super::best(&run, "x").unwrap().text
        };
        let mut cells = vec![
            timed("serial", 1, 30e6, 1e6),
            timed("thread", 1, 29.5e6, 0.2e6),
            timed("thread", 2, 15.4e6, 0.3e6),
            timed("process", 2, 15.2e6, 0.3e6),
            timed("rayon", 8, 15e6, 0.3e6),
        ];
        let text = best(&cells);
        assert!(text.starts_with("x: fastest on thread with 2 workers"), "{text}");
        assert!(text.contains("rayon with 8 workers ties with it"), "{text}");
        cells.truncate(2);
        let text = best(&cells);
        assert!(text.starts_with("x: no executor is faster than serial"), "{text}");
        assert!(text.contains("thread with 1 worker ties with it"), "{text}");
    }

    #[test]
    fn a_speed_up_that_cannot_be_is_not_believed_unless_tasks_wait() {
        let best = |workers, time: f64, waits| {
            let timed = |executor, workers, median: f64| Cell {
                workers,
                makespan_ns: Some(Estimate { median, low: median, high: median, confidence: 0.95, n: 6 }),
                workload: "sha256".to_owned(),
                executor: String::from(executor),
                verdict: Verdict::Correct,
                ..Cell::default()
            };
            let cells = vec![timed("serial", 1, 3e6), timed("rayon", workers, time)];
            let mut run = Run { cells, ..Run::default() };
            run.host.cores = 2;
            let (workload, description, fingerprint) = ("sha256".to_owned(), String::new(), String::new());
            run.inputs = vec![reports::model::Input { workload, description, waits, fingerprint }];
            let best = super::best(&run, "sha256").unwrap();
            (best.text, best.tone)
        };
        let doubted = |(text, tone): (String, Tone)| {
            assert_eq!(text.contains("the serial cell was disturbed"), tone == Tone::Caution, "{text}");
            tone == Tone::Caution
        };
        let (text, _) = best(4, 1e6, false);
        assert!(text.contains("3.00x serial, where 2x is the most there can be"), "{text}");
        assert!(doubted(best(1, 2e6, false)), "one worker is not faster than serial");
        assert!(!doubted(best(2, 1.5e6, false)));
        assert!(!doubted(best(8, 1.46e6, false)), "noise");
        assert!(!doubted(best(8, 0.5e6, true)));
    }
}
