//! `lab overhead`: the cost of one task, as a document of its own.

use std::process::ExitCode;

use reports::overhead::Overhead;

use super::exit::gave_wrong_answers;
use crate::{
    error::LabError,
    experiments::overhead::{self, Measurement, Plan, Sizes},
    machine,
    runner::progress::Progress,
    stats::nanos,
};

/// The arguments of the command.
pub(super) struct Wanted {
    pub(super) only: Vec<Measurement>,
    pub(super) workers: u32,
    pub(super) quick: bool,
    pub(super) blocks: Option<u32>,
    pub(super) seed: u64,
}

/// Measures, and compares the figures with their targets.
pub(super) fn measure(wanted: Wanted) -> Result<(Overhead, ExitCode), LabError> {
    let Wanted { only, workers, quick, blocks, seed } = wanted;
    let names = only.iter().map(|measurement| measurement.name()).collect::<Vec<_>>().join(",");
    let command = format!(
        "cargo lab overhead{}{}{} --workers {workers} --seed {seed}",
        if only.is_empty() { String::new() } else { format!(" --only {names}") },
        if quick { " --quick" } else { "" },
        blocks.map_or_else(String::new, |blocks| format!(" --blocks {blocks}")),
    );
    let mut sizes = if quick { Sizes::QUICK } else { Sizes::FULL };
    sizes.blocks = blocks.unwrap_or(sizes.blocks);
    let measurements = if only.is_empty() {
        overhead::all()
    } else {
        // Each measurement once, in the order of the table.
        overhead::all().into_iter().filter(|measurement| only.contains(measurement)).collect()
    };
    let plan = Plan { measurements, workers: workers as usize, sizes, seed };
    let host = machine::inspect();
    let mut progress = Progress::new(plan.steps() as u64)?;
    let figures = overhead::run(&plan, &mut progress);
    let elapsed = progress.end();
    let interrupted = progress.interrupted();
    let claims = overhead::claims(&figures, &plan);
    let document = Overhead {
        schema_version: reports::overhead::SCHEMA_VERSION,
        command,
        revision: machine::revision(),
        seed,
        workers,
        blocks: sizes.blocks,
        quick,
        interrupted,
        elapsed_ns: nanos(elapsed),
        host,
        figures,
        claims,
    };
    let is_wrong = document.figures.iter().any(|figure| gave_wrong_answers(figure.group, figure.missing.as_ref()));
    let code = match (is_wrong, interrupted) {
        (true, _) => ExitCode::from(5),
        (false, true) => ExitCode::from(130),
        (false, false) => ExitCode::SUCCESS,
    };
    Ok((document, code))
}
