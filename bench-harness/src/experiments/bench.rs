//! A run: all of its experiments one after the other, and the findings of all of them.

use std::time::Instant;

use reports::model::{Crossing, NoCrossing, Run, SCHEMA_VERSION, Skipped, Warning};
use workloads::{JobSize, kernels};

use super::{
    experiment::{Experiment, Job},
    findings,
    settings::Settings,
};
use crate::{
    date::rfc3339,
    error::LabError,
    fitness, machine,
    plan::{Chosen, Plan, Size},
    runner::progress::Progress,
    stats::nanos,
};

/// Measures everything, and returns it as a run.
pub(crate) fn run(settings: &Settings<'_>, experiments: &[&dyn Experiment]) -> Result<Run, LabError> {
    let host = machine::inspect();
    let speed = kernels::calibrate();
    let start = Instant::now();
    let size = size(settings, host.cores);
    let (mut works, mut beside) = (Vec::new(), Vec::new());
    for workload in settings.registry.iter() {
        let mut work = workload.of_job(&JobSize { quick: settings.quick, iterations_per_us: speed })?;
        if workload.starts_programs() && settings.workload != Some(workload.name()) {
            // No program was named.
            continue;
        }
        let is_chosen = settings.workload.is_none_or(|name| name == workload.name());
        if let (true, Some((paths, options))) = (is_chosen, &settings.own) {
            work = workload.with_own(&work, paths, options)?;
        }
        // Noise is watched until the last sample, and in every run: a run of one workload meets the same machine as one of all.
        beside.extend(workload.begin(&mut work)?);
        if is_chosen {
            works.push(Chosen { workload, work });
        }
    }
    let mut plan = Plan::new(&size, &works, &settings.executors, &settings.data)?;
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
    run.fitness = Some(fitness::before(run.host.cores, size.repetitions));
    let job = Job { settings, plan: &plan, repetitions: size.repetitions, cores: run.host.cores };
    let steps: usize = experiments.iter().map(|experiment| experiment.steps(&job)).sum();
    let mut progress = Progress::new(steps as u64)?;
    let mut bad: Vec<(&str, Vec<Skipped>)> = Vec::new();
    for experiment in experiments {
        bad.push((experiment.id(), experiment.run(&job, &mut progress, &mut run)?));
    }
    run.interrupted = progress.interrupted();
    progress.end();
    if let Some(looked) = &mut run.fitness {
        fitness::after(looked, &progress.sampler.others, progress.sampler.repeated);
    }
    let says_nothing = !settings.accept_unfit && !run.unfit().is_empty();
    if says_nothing {
        // No break-even is to be read from such a run, in whatever form it is shown.
        run.crossings.iter_mut().for_each(withhold);
    }
    drop(beside);
    let change = 100.0 * (kernels::calibrate() / speed - 1.0);
    if change.abs() > 5.0 {
        run.host.warnings.push(Warning::OtherSpeed { percent: change });
    }
    run.elapsed_ns = nanos(start.elapsed());
    run.findings = findings::of(&run, if says_nothing { &[] } else { experiments }, &bad);
    run.skipped.extend(bad.into_iter().flat_map(|(_, bad)| bad));
    Ok(run)
}

/// Takes the figures out of a crossing.
fn withhold(crossing: &mut Crossing) {
    (crossing.task_ns, crossing.efficiency, crossing.missing) = (None, None, Some(NoCrossing::Unfit));
    crossing.note = NoCrossing::Unfit.to_string();
}

/// How much is measured, as the user asks for it.
fn size(settings: &Settings<'_>, cores: u32) -> Size {
    let mut size = Size::of_bench(settings.quick, cores);
    if !settings.workers.is_empty() {
        size.cpu_workers.clone_from(&settings.workers);
        size.io_workers.clone_from(&settings.workers);
    }
    if let Some(repetitions) = settings.repetitions {
        size.repetitions = repetitions;
    }
    size
}
