//! The claims of a text on Python's `concurrent.futures`, judged for this library on this machine.
//!
//! [`list`] says what is claimed, what is done about it, and which rule decides. A claim about what happens is judged by a program
//! that shows it ([`scenarios`]), and one about time by [`cells`] that are measured in blocks, or by the batches of the cost model
//! ([`judge`]). A verdict on times stands only where the whole interval of its figure lies on one side of the bound.

mod cells;
mod judge;
mod list;
mod measure;
mod scenarios;
mod taken;
#[cfg(test)]
mod tests;

use reports::model::{Claim, ClaimVerdict, Evidence, Finding, Run, Skipped, Tone};

use self::{
    cells::Key,
    list::{ENTRIES, Entry, How},
    taken::{Judged, Taken},
};
use super::{
    cost::Costs,
    experiment::{Experiment, Job},
    words::finding,
};
use crate::{error::LabError, own_input, runner::progress::Progress};

pub(crate) use self::scenarios::{ClaimProbe, answer};

/// The claims, or some of them.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Only these; all where it is empty.
    pub(crate) only: Vec<u32>,
}

/// Blocks of a run whose number the user has not chosen: six are the fewest whose range covers the median with 95%, and of nine
/// one may be disturbed.
pub(crate) fn blocks(quick: bool) -> u32 {
    if quick { 6 } else { 9 }
}

impl Claims {
    fn chosen(&self) -> impl Iterator<Item = &'static Entry> {
        ENTRIES.iter().filter(|entry| self.only.is_empty() || self.only.contains(&entry.number))
    }

    /// The cells that these claims need, each once.
    fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self
            .chosen()
            .filter_map(|entry| match entry.how {
                How::Cells(keys, _) => Some(keys),
                How::Scenario | How::Costs(_) => None,
            })
            .flatten()
            .copied()
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn scenarios(&self) -> usize {
        self.chosen().filter(|entry| matches!(entry.how, How::Scenario)).count()
    }

    fn needs_costs(&self) -> bool {
        self.chosen().any(|entry| matches!(entry.how, How::Costs(_)))
    }
}

/// Runs of each scenario.
fn times(job: &Job<'_>) -> u32 {
    if job.settings.quick { job.repetitions.min(2) } else { job.repetitions.min(6) }
}

impl Experiment for Claims {
    fn id(&self) -> &'static str {
        "claims"
    }

    fn steps(&self, job: &Job<'_>) -> usize {
        let costs = if self.needs_costs() { Costs::steps(job.cores, job.repetitions) } else { 0 };
        self.scenarios() * times(job) as usize + self.keys().len() * job.repetitions as usize + costs
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        let mut shown = Vec::new();
        for entry in self.chosen().filter(|entry| matches!(entry.how, How::Scenario)) {
            shown.push((entry.number, measure::scenario(entry.number, times(job), progress)));
        }
        let (blocks, seed) = (job.repetitions, job.settings.seed);
        let mut taken = Taken { cores: job.cores, ..Taken::default() };
        measure::cells(&self.keys(), (blocks, seed ^ 0xc1a1), job, progress, &mut taken);
        let mut bad = Vec::new();
        if self.needs_costs() {
            let rounds = if job.settings.quick { 1 } else { 9 };
            let (costs, failed) = Costs::take(job.cores, (blocks, rounds, seed), progress);
            taken.costs = Some(costs);
            bad = failed;
        }
        let is_stopped = progress.interrupted();
        run.claims = self
            .chosen()
            .map(|entry| {
                let judged = match entry.how {
                    How::Scenario => {
                        shown.iter().find(|(number, _)| *number == entry.number).and_then(|(_, it)| it.clone())
                    }
                    How::Cells(_, judge) | How::Costs(judge) => told(judge(&taken), is_stopped),
                };
                claim(entry, judged, job)
            })
            .collect();
        Ok(bad)
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        findings(&run.claims)
    }
}

/// A judgement without figures says why; in a run that was stopped there is none.
fn told(judgement: taken::Judgement, is_stopped: bool) -> Option<Judged> {
    match judgement {
        Ok(judged) => Some(judged),
        Err(_) if is_stopped => None,
        Err(why) => Some(Judged::new(ClaimVerdict::Unknown { why }, Vec::new())),
    }
}

fn claim(entry: &Entry, judged: Option<Judged>, job: &Job<'_>) -> Claim {
    let Judged { verdict, figures, seen } = judged.unwrap_or_else(|| Judged::new(ClaimVerdict::NotJudged, Vec::new()));
    let quick = if job.settings.quick { " --quick" } else { "" };
    Claim {
        number: entry.number,
        text: entry.text.to_owned(),
        experiment: entry.experiment.to_owned(),
        rule: entry.rule.to_owned(),
        timed: entry.is_timed(),
        verdict,
        figures,
        seen,
        command: format!("{} claims --only {}{quick} --seed {}", own_input::program(), entry.number, job.settings.seed),
    }
}

/// How many claims stand, and those that are most often asked for.
fn findings(claims: &[Claim]) -> Vec<Finding> {
    if claims.is_empty() {
        return Vec::new();
    }
    let here = |text| finding(text, Evidence::section("claims"), Tone::Neutral);
    let mut all = vec![here(reports::claims::summary(claims))];
    // The 0.1 second, and what threads and processes are for.
    let asked = claims.iter().filter(|claim| [15, 2, 16].contains(&claim.number) && claim.is_decided());
    all.extend(asked.map(|claim| here(format!("“{}”: {}.", claim.text, claim.verdict))));
    all
}
