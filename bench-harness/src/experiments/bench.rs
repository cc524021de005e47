//! A run: all of its experiments one after the other, and the findings of all of them.

use std::time::Instant;

use reports::model::{Claim, NoCrossing, Run, SCHEMA_VERSION, Skipped, Warning};
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
        let begin = Instant::now();
        bad.push((experiment.id(), experiment.run(&job, &mut progress, &mut run)?));
        run.part_ns.insert(experiment.id().to_owned(), nanos(begin.elapsed()));
    }
    run.interrupted = progress.interrupted();
    progress.end();
    if let Some(looked) = &mut run.fitness {
        fitness::after(looked, progress.sampler.others, progress.sampler.repeated);
    }
    let says_nothing = !settings.accept_unfit && !run.unfit().is_empty();
    if says_nothing {
        // No break-even is to be read from such a run, in whatever form it is shown.
        withhold(&mut run);
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

/// Takes the figures out of all crossings.
fn withhold(run: &mut Run) {
    for crossing in &mut run.crossings {
        (crossing.task_ns, crossing.metg_ns, crossing.efficiency) = (None, None, None);
        crossing.missing = Some(NoCrossing::Unfit);
        crossing.note = NoCrossing::Unfit.to_string();
    }
    run.claims.iter_mut().for_each(Claim::withhold_times);
    for break_even in run.cost.iter_mut().flat_map(|model| &mut model.break_even) {
        break_even.withhold(NoCrossing::Unfit);
    }
}

/// How much is measured, as the user asks for it.
fn size(settings: &Settings<'_>, cores: u32) -> Size {
    let mut size = Size::of_bench(settings.quick, cores);
    if !settings.workers.is_empty() {
        size.cpu_workers.clone_from(&settings.workers);
        size.io_workers.clone_from(&settings.workers);
    }
    // A sweep, and a run with a number of samples of its own, has time for all.
    size.only_pools_scale = settings.workload.is_none() && settings.repetitions.is_none();
    if let Some(repetitions) = settings.repetitions {
        size.repetitions = repetitions;
    }
    size
}

#[cfg(test)]
mod tests {
    use reports::{
        cost::{BreakEven, CostModel},
        model::{ClaimVerdict, Crossing, Estimate},
    };

    use super::*;

    #[test]
    fn a_run_that_says_nothing_has_no_break_even_anywhere() {
        let task_ns = Some(Estimate { median: 1e3, low: 1e3, high: 1e3, confidence: 0.95, n: 6 });
        let crossing = Crossing {
            id: "thread-50".to_owned(),
            label: String::new(),
            task_ns,
            metg_ns: task_ns,
            efficiency: Some(0.5),
            note: String::new(),
            missing: None,
        };
        let break_even = BreakEven {
            executor: "process".to_owned(),
            against: "thread".to_owned(),
            workers: 2,
            tasks: 1000,
            bytes_in: 0,
            cold: false,
            factor: 1.0,
            task_ns,
            missing: None,
            checks: Vec::new(),
        };
        let cost = CostModel { break_even: vec![break_even], ..CostModel::default() };
        let claim = |timed| Claim { timed, verdict: ClaimVerdict::Supported, ..Claim::default() };
        let claims = vec![claim(true), claim(false)];
        let mut run = Run { crossings: vec![crossing], cost: Some(cost), claims, ..Run::default() };
        withhold(&mut run);
        let (crossing, break_even) = (&run.crossings[0], &run.cost.unwrap().break_even[0]);
        assert!(crossing.task_ns.is_none() && crossing.metg_ns.is_none() && crossing.efficiency.is_none());
        assert_eq!((break_even.task_ns, break_even.missing), (None, Some(NoCrossing::Unfit)));
        assert_eq!(run.claims.iter().map(Claim::is_decided).collect::<Vec<_>>(), [false, true]);
    }
}
