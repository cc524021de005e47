//! The main job: the sweep over workloads, executors and worker counts, with overhead and break-even, as one run.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use reports::model::{Cell, Run, SCHEMA_VERSION, Sample, Verdict};
use workloads::{
    fetch::{ServerConfig, ServerProcess},
    kernels,
};

use super::{
    breakeven, findings,
    overhead::{self, Effort, Plan as OverheadPlan},
    settings::Settings,
};
use crate::{
    cell::{CellSpec, Measured},
    error::LabError,
    executors::Kind,
    machine,
    plan::{Plan, Size},
    runner::{
        child,
        progress::Progress,
        schedule::{Slot, interleave},
    },
    stats,
};

/// Starts the local HTTP server as a process of this binary.
pub(crate) fn start_server(config: &ServerConfig) -> Result<ServerProcess, LabError> {
    let program = std::env::current_exe().map_err(LabError::file("find", "this program"))?;
    let mut command = Command::new(program);
    let config = serde_json::to_string(config).map_err(|error| LabError::Sample(error.to_string()))?;
    command.args(["serve", &config]);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(ServerProcess::start(command)?)
}

/// Measures everything, and makes a run of it.
pub(crate) fn run(settings: &Settings) -> Result<Run, LabError> {
    let mut host = machine::look();
    let speed = kernels::calibrate();
    let start = Instant::now();
    let server = start_server(&ServerConfig::default())?;
    let mut size = Size::of_bench(settings.quick, host.cores, server.address(), speed);
    let whole = settings.workload.is_none();
    if let Some(name) = &settings.workload {
        size.works.retain(|work| work.name() == name);
    }
    for work in &mut size.works {
        settings.own.put_into(work)?;
    }
    if !settings.workers.is_empty() {
        size.cpu_workers.clone_from(&settings.workers);
        size.io_workers.clone_from(&settings.workers);
    }
    if let Some(repetitions) = settings.repetitions {
        size.repetitions = repetitions;
    }
    let plan = Plan::new(&size, &settings.executors, &settings.data)?;
    let slots = interleave(plan.cells.len(), size.repetitions, settings.seed);
    let grid = if whole { breakeven::grid(settings.quick) } else { Vec::new() };
    let effort = if settings.quick { Effort::BENCH_QUICK } else { Effort::BENCH };
    let workers = host.cores.min(2) as usize;
    let overhead_plan = OverheadPlan::for_rows(workers, effort, settings.seed);
    let overhead_steps = if whole { overhead_plan.steps() } else { 0 };
    let steps = slots.len() + plan.cells.len() + breakeven::steps(&grid, settings.quick) + overhead_steps;
    let mut progress = Progress::new(steps as u64)?;

    let mut cells: Vec<Cell> = plan.cells.iter().map(empty_cell).collect();
    for slot in slots {
        if progress.interrupted() {
            break;
        }
        progress.begin(&cells[slot.cell].id);
        let (cell, spec) = (&mut cells[slot.cell], &plan.cells[slot.cell]);
        // A cell that has failed once fails again, and may take its whole time limit to do so.
        if !matches!(cell.verdict, Verdict::Failed { .. }) {
            add_sample(cell, slot, child::sample(spec));
        }
        progress.step();
        // Once per cell: memory is much the same each time, and looking at it takes a run of its own.
        if slot.block == 0 {
            if let Some(sample) = cell.samples.last_mut().filter(|_| !progress.interrupted()) {
                sample.peak_pss_bytes = child::peak_memory(spec);
            }
            progress.step();
        }
    }
    judge(&mut cells);
    let breakeven::Outcome { efficiency, crossings, bad } = breakeven::run(&grid, settings, host.cores, &mut progress)?;
    // Rows without any figure would only say that there was no time for them.
    let overhead = if whole && !progress.interrupted() {
        overhead::rows(&overhead::run(&overhead_plan, &mut progress), workers)
    } else {
        Vec::new()
    };
    let interrupted = progress.interrupted();
    progress.end();
    let change = 100.0 * (kernels::calibrate() / speed - 1.0);
    if change.abs() > 5.0 {
        host.warnings.push(format!(
            "one core computed {:.0} % {} at the end of the run than at its start: something else was using it, or its clock \
             changed",
            change.abs(),
            if change > 0.0 { "faster" } else { "slower" }
        ));
    }

    let mut run = Run {
        schema_version: SCHEMA_VERSION,
        id: settings.id.clone(),
        started_at: rfc3339(settings.started),
        elapsed_ns: crate::cell::nanos(start.elapsed()),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: machine::revision(),
        command: settings.command.clone(),
        seed: settings.seed,
        quick: settings.quick,
        interrupted,
        host,
        inputs: plan.inputs,
        cells,
        overhead,
        efficiency,
        crossings,
        findings: Vec::new(),
        skipped: plan.skipped,
    };
    run.findings = findings::of(&run, &bad);
    run.skipped.extend(bad);
    Ok(run)
}

fn empty_cell(spec: &CellSpec) -> Cell {
    Cell {
        id: format!("{}/{}/w{}", spec.work.name(), spec.executor, spec.workers),
        workload: spec.work.name().to_owned(),
        params: std::collections::BTreeMap::new(),
        executor: spec.executor.name().to_owned(),
        workers: spec.workers,
        tasks: 0,
        samples: Vec::new(),
        verdict: Verdict::NotMeasured,
        makespan_ns: None,
        tasks_per_second: None,
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
        peak_pss_bytes: None,
        failed_tasks: measured.failed_tasks,
        digest: measured.digest,
    });
}

/// Estimates, and whether each cell's answers are those of the serial one.
fn judge(cells: &mut [Cell]) {
    // The answers of a serial cell that has failed are no answers that others could be held against.
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
            // How fast something fails is no figure.
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

/// A name that no other run has, on this machine or beside it: the second says when, and the end who.
pub(crate) fn name(started: Duration, kind: &str) -> String {
    let mut random = workloads::Random::new(crate::cell::nanos(started) ^ (u64::from(std::process::id()) << 32));
    format!("{}-{kind}-{:04x}", compact(started), random.next_u64() >> 48)
}

/// Where a run's files go by default.
pub(crate) fn default_folder(id: &str) -> PathBuf {
    Path::new("reports").join("out").join(id)
}

/// Where made input is kept between runs.
pub(crate) fn default_data() -> PathBuf {
    Path::new("target").join("lab-data")
}

fn rfc3339(since_epoch: Duration) -> String {
    let (year, month, day, hour, minute, second) = civil(since_epoch);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn compact(since_epoch: Duration) -> String {
    let (year, month, day, hour, minute, second) = civil(since_epoch);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Date and time in UTC (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(since_epoch: Duration) -> (u64, u64, u64, u64, u64, u64) {
    let seconds = since_epoch.as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Duration::from_secs(1_709_164_800)), "2024-02-29T00:00:00Z");
        assert_eq!(compact(Duration::from_secs(1_795_532_048)), "20261124T145408Z");
    }

    #[test]
    fn an_answer_that_differs_from_the_serial_one_is_wrong() {
        let cell = |executor: &str, digest: &str| {
            let mut cell = empty_cell(&CellSpec {
                work: crate::cell::Work::Spin { tasks: 1, iterations: 1 },
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
    fn answers_that_nobody_could_check_are_not_called_correct() {
        let cell = |executor: &str, failed_tasks: u64| {
            let work = crate::cell::Work::Spin { tasks: 1, iterations: 1 };
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
    fn two_runs_that_begin_in_one_second_have_two_names() {
        let at = |nanos| name(Duration::new(1_795_532_048, nanos), "bench");
        assert!(at(0).starts_with("20261124T145408Z-bench-"));
        assert_ne!(at(0), at(1));
    }
}
