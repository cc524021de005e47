//! What the samples say: pure functions.

use reports::model::{Estimate, PythonCell, PythonComparison, PythonVerdict, Verdict};

use super::contender::{Contender, Found, Measured};
use crate::{executors::Kind, stats};

/// Times that differ by less are even.
const EVEN: f64 = 1.05;

/// An interval that covers less says nothing.
const LEAST_CONFIDENCE: f64 = 0.95;

/// Computes the estimates, and compares each cell's answers with those of the serial executor.
pub(super) fn check(measured: &mut [Measured]) {
    let serial = measured.iter().filter(|it| it.contender == Contender::Lab(Kind::Serial));
    let expected: Vec<(String, Option<String>)> = serial
        .map(|Measured { cell, .. }| {
            let is_valid = !matches!(cell.verdict, Verdict::Failed { .. });
            let digest = cell.samples.first().filter(|_| is_valid).map(|sample| sample.digest.clone());
            (cell.workload.clone(), digest)
        })
        .collect();
    for Measured { cell, .. } in measured {
        if matches!(cell.verdict, Verdict::Failed { .. }) || cell.samples.is_empty() {
            continue;
        }
        let expected = expected.iter().find(|(workload, _)| *workload == cell.workload);
        cell.verdict = match expected.and_then(|(_, digest)| digest.as_ref()) {
            None => {
                let error = "its answers could not be checked: the serial executor has none".to_owned();
                Verdict::Failed { error }
            }
            Some(expected) => match cell.samples.iter().find(|sample| sample.digest != *expected) {
                Some(sample) => Verdict::Wrong { expected: expected.clone(), found: sample.digest.clone() },
                None => Verdict::Correct,
            },
        };
        if cell.verdict == Verdict::Correct {
            let times: Vec<f64> = cell.samples.iter().map(|sample| sample.makespan_ns as f64).collect();
            cell.makespan_ns = stats::estimate(&times);
        }
    }
}

/// Each executor of Python against its counterpart, by block.
pub(super) fn compare(measured: &[Measured], found: &Found) -> Vec<PythonComparison> {
    let of_python = measured.iter().filter(|it| matches!(it.contender, Contender::Python { .. }));
    let comparisons = of_python.map(|Measured { contender, cell }| {
        let ours = Contender::Lab(contender.counterpart());
        let against = measured.iter().find(|it| it.contender == ours && it.cell.workload == cell.workload);
        let ratio =
            against.and_then(|against| stats::estimate(&stats::block_ratios(&rounds(cell)?, &rounds(&against.cell)?)));
        PythonComparison {
            workload: cell.workload.clone(),
            executor: cell.executor.clone(),
            against: found.name(ours),
            ratio,
            verdict: verdict(ratio.as_ref()),
        }
    });
    comparisons.collect()
}

/// The makespans by block; `None` where the answers were not right.
fn rounds(cell: &PythonCell) -> Option<Vec<(u32, Vec<f64>)>> {
    let rounds = cell.samples.iter().map(|sample| (sample.block, vec![sample.makespan_ns as f64]));
    (cell.verdict == Verdict::Correct).then(|| rounds.collect())
}

fn verdict(ratio: Option<&Estimate>) -> PythonVerdict {
    match ratio {
        None => PythonVerdict::NotMeasured,
        Some(ratio) if ratio.confidence < LEAST_CONFIDENCE => PythonVerdict::TooFew,
        Some(ratio) if ratio.low >= 1.0 / EVEN && ratio.high <= EVEN => PythonVerdict::Even,
        Some(ratio) if ratio.low > 1.0 => PythonVerdict::Slower,
        Some(ratio) if ratio.high < 1.0 => PythonVerdict::Faster,
        Some(_) => PythonVerdict::CannotTell,
    }
}
