//! The blocks of the cost model: every pool once in each, in a process that was started for it.

use std::time::Duration;

use reports::model::{Reason, Skipped};

use super::{
    design::Shape,
    fit::Data,
    probe::{CostBlock, CostProbe, Measured, Pool},
};
use crate::runner::{child, progress::Progress, schedule::interleave};

/// The longest that one block of one executor may take.
const LIMIT: Duration = Duration::from_secs(90);

/// How often a batch is timed in a block at most; short ones are timed more often than long ones.
pub(super) const ROUNDS: u32 = 21;

/// Measures the blocks of all pools, each in a process of its own.
pub(super) fn take(
    pools: &[Pool],
    shapes: impl Fn(&Pool) -> Vec<Shape>,
    (blocks, rounds, seed): (u32, u32, u64),
    progress: &mut Progress,
    bad: &mut Vec<Skipped>,
) -> Measured {
    let mut measured: Measured = vec![Vec::new(); pools.len()];
    let mut failed = vec![false; pools.len()];
    for slot in interleave(pools.len(), blocks, seed) {
        if progress.interrupted() {
            break;
        }
        let (executor, workers) = pools[slot.cell];
        progress.begin(&format!("cost of {executor} with {workers} workers"));
        let shapes = shapes(&pools[slot.cell]);
        // A pool that has failed once fails again, and may take its whole time limit to do so.
        if !failed[slot.cell] && !shapes.is_empty() {
            let probe = CostProbe { executor, workers, rounds, seed: seed ^ u64::from(slot.order), shapes };
            match in_new_process(&probe) {
                Ok(block) => measured[slot.cell].push((slot.block, block)),
                Err(reason) => {
                    failed[slot.cell] = true;
                    let what = format!("cost of {executor} with {workers} workers");
                    bad.push(Skipped { what, reason: reason.to_string() });
                }
            }
        }
        progress.step();
    }
    measured
}

fn in_new_process(probe: &CostProbe) -> Result<CostBlock, Reason> {
    let input = serde_json::to_vec(probe).map_err(|error| error.to_string())?;
    let output = child::run_lab("cost-sample", &input, LIMIT)?;
    let answer: Result<CostBlock, Reason> =
        serde_json::from_slice(&output).map_err(|error| format!("invalid output: {error}"))?;
    answer
}

pub(super) fn data((executor, workers): Pool, cores: u32, shapes: &[Shape], blocks: &[(u32, CostBlock)]) -> Data {
    let row = |(shape, (work, wall)): (&Shape, &(f64, f64))| (shape.load(*work), *wall);
    let memory: Vec<f64> = blocks.iter().filter_map(|(_, block)| block.memory.map(|bytes| bytes as f64)).collect();
    Data {
        executor: executor.name().to_owned(),
        workers,
        width: workers.min(cores),
        held_out: shapes.iter().map(|shape| shape.held_out).collect(),
        blocks: blocks.iter().map(|(_, block)| shapes.iter().zip(&block.times).map(row).collect()).collect(),
        memory_per_worker: crate::stats::estimate(&memory).map(|bytes| (bytes.median / f64::from(workers)) as u64),
    }
}
