//! The cost model: what each pool costs on this machine, fitted to batches over work, number of tasks, bytes and workers.
//!
//! A block measures every executor with every number of workers once, each in a process of its own. The model itself is
//! [`reports::cost`]; what is measured is `design`, how is `probe`, and `fit` finds the terms.

mod blocks;
mod costs;
mod crossings;
mod design;
mod fit;
mod probe;
#[cfg(test)]
mod tests;

use reports::{
    cost::{BreakEven, CostModel, Term},
    model::{Evidence, Finding, NoCrossing, Run, Skipped, Tone},
};
use workloads::kernels;

#[cfg(test)]
pub(super) use self::costs::planted;
pub(super) use self::costs::{Batch, Costs};
pub(crate) use self::probe::{CostProbe, measure};
use self::{
    blocks::{ROUNDS, data, take},
    design::shapes,
    fit::Drawn,
    probe::Pool,
};
use super::{
    experiment::{Experiment, Job},
    words::{finding, interval},
};
use crate::{error::LabError, executors::Kind, runner::progress::Progress};

/// The cost model of this machine.
pub(crate) struct Cost;

fn pools(job: &Job<'_>) -> Vec<Pool> {
    let mut workers = match (job.settings.quick, job.settings.repetitions) {
        (true, _) => vec![job.cores],
        (false, None) => vec![1, job.cores],
        (false, Some(_)) => vec![1, job.cores, 2 * job.cores],
    };
    workers.dedup();
    Kind::pools().flat_map(|kind| workers.iter().map(move |workers| (kind, *workers)).collect::<Vec<_>>()).collect()
}

fn blocks(job: &Job<'_>) -> u32 {
    // Six are the fewest whose range covers the median with 95%.
    if job.settings.quick { 6 } else { job.settings.repetitions.map_or(9, |repetitions| repetitions.max(9)) }
}

impl Experiment for Cost {
    fn id(&self) -> &'static str {
        "cost"
    }

    fn steps(&self, job: &Job<'_>) -> usize {
        let checks = crossings::pools(job.cores).len();
        (pools(job).len() + checks) * blocks(job) as usize
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        let speed = kernels::calibrate();
        let shapes = shapes(speed);
        let plan = pools(job);
        let seed = job.settings.seed;
        let mut bad = Vec::new();
        let measured = take(&plan, |_| shapes.clone(), (blocks(job), ROUNDS, seed), progress, &mut bad);
        let drawn: Vec<(Pool, Drawn)> = plan
            .iter()
            .zip(&measured)
            .filter_map(|(pool, blocks)| {
                Some((*pool, fit::fit(&data(*pool, job.cores, &shapes, blocks), fit::DRAWS, seed)?))
            })
            .collect();
        if drawn.is_empty() {
            // Stopped before, or every block has failed.
            return Ok(bad);
        }
        let mut found = crossings::find(&drawn, job.cores);
        let beside = crossings::pools(job.cores);
        let checked = take(
            &beside,
            |pool| crossings::shapes(&found, *pool, speed),
            (blocks(job), ROUNDS, seed.wrapping_add(1)),
            progress,
            &mut bad,
        );
        crossings::check(&mut found, &beside, &checked);
        let fits = drawn.into_iter().map(|(_, drawn)| drawn.fit).collect();
        let mut model = CostModel { fits, break_even: found };
        model.withhold_poor();
        run.cost = Some(model);
        Ok(bad)
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        run.cost.as_ref().map(findings).unwrap_or_default()
    }
}

fn findings(model: &CostModel) -> Vec<Finding> {
    use reports::format::percent;
    let evidence = || Evidence::section("cost");
    let mut findings = Vec::new();
    let mut batches: Vec<Vec<&BreakEven>> = Vec::new();
    // What is withheld of poor models is said once below.
    for crossing in model.break_even.iter().filter(|it| it.missing != Some(NoCrossing::PoorModel)) {
        let of = |it: &BreakEven| (it.cold, it.bytes_in, it.tasks, it.workers);
        match batches.iter_mut().find(|batch| of(batch[0]) == of(crossing)) {
            Some(batch) => batch.push(crossing),
            None => batches.push(vec![crossing]),
        }
    }
    findings.extend(batches.iter().filter_map(|batch| of_batch(batch)));
    let poor: Vec<String> = model
        .fits
        .iter()
        .filter(|fit| fit.is_poor())
        .map(|fit| {
            let (within, all) = fit.predicted_within(0.15);
            let (name, workers, spread) = (&fit.executor, fit.workers, percent(fit.spread));
            format!("{within} of {all} of {name} with {workers} workers (nine of ten residuals are up to {spread})")
        })
        .collect();
    if !poor.is_empty() {
        let text = format!(
            "The cost model predicts poorly: of the batches that it has not seen, within 15% are only {}. So nothing is said of its \
             break-even.",
            poor.join("; ")
        );
        let finding = finding(text, evidence(), Tone::Caution);
        findings.push(Finding { note: "Repeat the run on an idle machine.".to_owned(), ..finding });
    }
    let unknown = |fit: &&reports::cost::Fit| {
        fit.terms.iter().any(|fitted| fitted.term == Term::Task && fitted.refused.is_some())
    };
    for fit in model.fits.iter().filter(unknown) {
        let text = format!("What a task costs on {} with {} workers cannot be told.", fit.executor, fit.workers);
        findings.push(finding(text, evidence(), Tone::Caution));
    }
    findings
}

/// One sentence for all crossings of the same batch.
fn of_batch(batch: &[&BreakEven]) -> Option<Finding> {
    let first = batch.first()?;
    let told = batch.iter().filter_map(|it| {
        let what = if it.factor > 1.0 { "is within 5% of" } else { "is as fast as" };
        let figure = match (&it.task_ns, &it.missing) {
            (Some(task), _) => format!(" from {} of work a task on", interval(task)),
            (None, Some(why)) => format!(": {why}"),
            (None, None) => return None,
        };
        Some(format!("{} {what} {}{figure}", it.executor, it.against))
    });
    let told: Vec<String> = told.collect();
    let state = if first.cold { "Cold" } else { "Warm" };
    let bytes = match first.bytes_in {
        0 => String::new(),
        size => format!(" with {}", reports::format::bytes(size.into())),
    };
    let text = format!("{state} pools, {} tasks{bytes}, {} workers: {}.", first.tasks, first.workers, told.join("; "));
    let finding = finding(text, Evidence::section("cost"), Tone::Neutral);
    let doubted = batch.iter().any(|it| it.agrees() == Some(false));
    let note = "Measured directly beside a crossing, the times say otherwise: rely on the measurement.".to_owned();
    let finding = if doubted { Finding { note, tone: Tone::Caution, ..finding } } else { finding };
    (!told.is_empty()).then_some(finding)
}
