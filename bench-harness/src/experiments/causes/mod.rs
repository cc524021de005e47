//! Why cells take longer than they should: the causes that the counters of the grid tell, and, where a switch turns the
//! cause off, the same cells once more without it.

mod decide;
#[cfg(test)]
mod tests;

use reports::model::{Cause, CauseKind, Estimate, Evidence, Finding, Run, Skipped, Switched, Tone};

pub(super) use decide::{is_above, times};

use super::{
    experiment::{Experiment, Job},
    words::finding,
};
use crate::{
    cell::CellSpec,
    error::LabError,
    runner::{child, progress::Progress, schedule::interleave},
    stats,
};

/// At most this many slow cells are measured once more with their cause turned off.
const SWITCHED: usize = 3;

/// Keeps freed memory in the process, instead of giving it back to the system.
pub(super) const KEEP_MEMORY: Switch = Switch {
    what: "with freed memory kept (MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ of 1 GiB)",
    environment: &[("MALLOC_TRIM_THRESHOLD_", "1073741824"), ("MALLOC_MMAP_THRESHOLD_", "1073741824")],
};

/// What turns a cause off, in the environment of a sample's process.
pub(super) struct Switch {
    what: &'static str,
    pub(super) environment: &'static [(&'static str, &'static str)],
}

/// The switch of a cause, where there is one: that of glibc's allocator.
fn switch_of(cause: &Cause) -> Option<&'static Switch> {
    let has_switch = cfg!(all(target_os = "linux", target_env = "gnu"));
    (has_switch && cause.kinds.contains(&CauseKind::PageFaults)).then_some(&KEEP_MEMORY)
}

/// The causes behind the grid.
pub(crate) struct Causes;

impl Experiment for Causes {
    fn id(&self) -> &'static str {
        "causes"
    }

    /// Causes are known only when the grid is measured, so that this is the most that there can be.
    fn steps(&self, job: &Job<'_>) -> usize {
        SWITCHED * 2 * job.repetitions as usize
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        run.causes = decide::slow_cells(run);
        let mut left = self.steps(job);
        let switchable = run.causes.iter_mut().filter_map(|cause| Some((switch_of(cause)?, cause)));
        for (switch, cause) in switchable.take(SWITCHED) {
            cause.switched = measure_without(switch, cause, job, progress, &mut left);
        }
        (0..left).for_each(|_| progress.step());
        Ok(Vec::new())
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        run.causes.iter().map(|cause| sentence(run, cause)).collect()
    }
}

/// Measures both cells of a cause again without it, interleaved.
fn measure_without(
    switch: &Switch,
    cause: &Cause,
    job: &Job<'_>,
    progress: &mut Progress,
    left: &mut usize,
) -> Option<Switched> {
    let planned = |id: &str| job.plan.cells.iter().find(|spec| super::grid::id_of(spec) == id);
    let specs: [&CellSpec; 2] = [planned(&cause.cell)?, planned(&cause.against)?];
    let mut times: [Vec<(u32, Vec<f64>)>; 2] = Default::default();
    for slot in interleave(specs.len(), job.repetitions, job.settings.seed ^ *left as u64) {
        if progress.interrupted() {
            return None;
        }
        progress.begin(&format!("{} {}", super::grid::id_of(specs[slot.cell]), switch.what));
        let sample = child::sample_in(specs[slot.cell], switch.environment);
        // What fails without the cause, or gives no answer, is no evidence.
        if let Some(sample) = sample.ok().filter(|sample| sample.failed_tasks == 0) {
            times[slot.cell].push((slot.block, vec![sample.makespan_ns as f64]));
        }
        *left -= 1;
        progress.step();
    }
    let ratio = stats::estimate(&stats::block_ratios(&times[0], &times[1]))?;
    Some(Switched { switch: switch.what.to_owned(), ratio })
}

/// The whole sentence: what is slow, why, and what is left of it without the cause.
fn sentence(run: &Run, cause: &Cause) -> Finding {
    let mut text = format!("{}: {}.", cause.what, cause.evidence);
    if let Some(Switched { switch, ratio }) = &cause.switched {
        text.push_str(&format!(
            " Measured again {switch}: {} the time, {}.",
            decide::times(ratio),
            verdict(cause, ratio)
        ));
    }
    let workload = run.cells.iter().find(|cell| cell.id == cause.cell).map_or("", |cell| cell.workload.as_str());
    finding(text, Evidence::chart("scaling", workload), Tone::Neutral)
}

/// What the switch has shown, by the share of the difference that is gone.
fn verdict(cause: &Cause, without: &Estimate) -> &'static str {
    let excess = cause.ratio.median - 1.0;
    let gone = |ratio: f64| (cause.ratio.median - ratio) / excess;
    match (gone(without.high), gone(without.median), gone(without.low)) {
        (least, ..) if least >= 0.5 => "so that is the cause: the allocator, which gives its heap back",
        (least, .., most) if least < 0.2 && most >= 0.5 => "which is too uncertain to say whether that is the cause",
        (_, share, _) if share >= 0.2 => "so that is a part of the cause",
        _ => "so that is not the cause",
    }
}
