//! A run: all of its experiments one after the other, and what they say together.

use std::time::Instant;

use reports::model::{Run, SCHEMA_VERSION, Skipped};
use workloads::{fetch::ServerConfig, kernels};

use super::{
    experiment::{Experiment, Job},
    findings,
    settings::Settings,
};
use crate::{
    date::rfc3339,
    error::LabError,
    machine,
    plan::{Plan, Size},
    runner::progress::Progress,
    server,
    stats::nanos,
};

/// Measures everything, and makes a run of it.
pub(crate) fn run(settings: &Settings, experiments: &[&dyn Experiment]) -> Result<Run, LabError> {
    let host = machine::look();
    let speed = kernels::calibrate();
    let start = Instant::now();
    let server = server::start(&ServerConfig::default())?;
    let size = size(settings, host.cores, server.address(), speed)?;
    let mut plan = Plan::new(&size, &settings.executors, &settings.data)?;
    let mut run = Run {
        schema_version: SCHEMA_VERSION,
        id: settings.id.clone(),
        started_at: rfc3339(settings.started),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: machine::revision(),
        command: settings.command.clone(),
        seed: settings.seed,
        quick: settings.quick,
        host,
        inputs: std::mem::take(&mut plan.inputs),
        skipped: std::mem::take(&mut plan.skipped),
        ..Run::default()
    };
    let job = Job { settings, plan: &plan, repetitions: size.repetitions, cores: run.host.cores };
    let steps: usize = experiments.iter().map(|experiment| experiment.steps(&job)).sum();
    let mut progress = Progress::new(steps as u64)?;
    let mut bad: Vec<(&str, Vec<Skipped>)> = Vec::new();
    for experiment in experiments {
        bad.push((experiment.id(), experiment.run(&job, &mut progress, &mut run)?));
    }
    run.interrupted = progress.interrupted();
    progress.end();
    let change = 100.0 * (kernels::calibrate() / speed - 1.0);
    if change.abs() > 5.0 {
        run.host.warnings.push(format!(
            "one core computed {:.0} % {} at the end of the run than at its start: something else was using it, or its clock \
             changed",
            change.abs(),
            if change > 0.0 { "faster" } else { "slower" }
        ));
    }
    run.elapsed_ns = nanos(start.elapsed());
    run.findings = findings::of(&run, experiments, &bad);
    run.skipped.extend(bad.into_iter().flat_map(|(_, bad)| bad));
    Ok(run)
}

/// What is measured, as the user wants it.
fn size(settings: &Settings, cores: u32, server: &str, speed: f64) -> Result<Size, LabError> {
    let mut size = Size::of_bench(settings.quick, cores, server, speed);
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
    Ok(size)
}
