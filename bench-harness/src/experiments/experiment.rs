//! The trait of experiments.

use reports::model::{Finding, Run, Skipped};

use super::settings::Settings;
use crate::{error::LabError, plan::Plan, runner::progress::Progress};

/// The job that all experiments of one run share.
pub(crate) struct Job<'a> {
    pub(crate) settings: &'a Settings<'a>,
    /// Cells of the grid, with their input.
    pub(crate) plan: &'a Plan,
    /// Number of samples of each of these.
    pub(crate) repetitions: u32,
    pub(crate) cores: u32,
}

/// A part of a run: it measures something, and fills its own field of the run.
pub(crate) trait Experiment: Sync {
    /// Its name, which is also that of its section in the report.
    fn id(&self) -> &'static str;

    /// Number of samples that it takes, for the progress.
    fn steps(&self, job: &Job<'_>) -> usize;

    /// Measures until the end or until the user stops it. Returns the bad samples, which no figure includes.
    ///
    /// # Errors
    ///
    /// An error that makes the whole run worthless. An error in a sample is a part of the result.
    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError>;

    /// Its findings.
    fn findings(&self, _: &Run) -> Vec<Finding> {
        Vec::new()
    }
}
