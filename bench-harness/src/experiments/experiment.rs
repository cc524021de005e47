//! What an experiment is.

use reports::model::{Finding, Run, Skipped};

use super::settings::Settings;
use crate::{error::LabError, plan::Plan, runner::progress::Progress};

/// What all experiments of one run know.
pub(crate) struct Job<'a> {
    pub(crate) settings: &'a Settings<'a>,
    /// Cells of the grid, with their input.
    pub(crate) plan: &'a Plan,
    /// How many samples of each of these.
    pub(crate) repetitions: u32,
    pub(crate) cores: u32,
}

/// A part of a run: it measures something, and fills its own field of the run.
pub(crate) trait Experiment: Sync {
    /// Its name, which is that of the section of the report with its figures.
    fn id(&self) -> &'static str;

    /// How many samples it takes, for the progress.
    fn steps(&self, job: &Job<'_>) -> usize;

    /// Measures, as far as the user lets it; the samples that were bad, which are in no figure.
    ///
    /// # Errors
    ///
    /// What makes the whole run worthless. What goes wrong with a sample is a part of the result.
    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError>;

    /// What its figures say.
    fn findings(&self, _: &Run) -> Vec<Finding> {
        Vec::new()
    }
}
