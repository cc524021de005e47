//! The figures of a report's overhead table: one row for each executor, peer and baseline.

use reports::{
    model::{Estimate, OverheadRow, Run, Skipped},
    overhead::Figure,
};

use super::{Measurement, Plan, Sizes, payload, round_trip, throughput};
use crate::{
    error::LabError,
    experiments::experiment::{Experiment, Job},
    runner::progress::Progress,
};

/// Overhead per task, as a part of the main job.
pub(crate) struct PerTask;

fn workers(job: &Job<'_>) -> usize {
    job.cores.min(2) as usize
}

fn plan(job: &Job<'_>) -> Plan {
    let sizes = if job.settings.quick { Sizes::BENCH_QUICK } else { Sizes::BENCH };
    Plan::for_rows(workers(job), sizes, job.settings.seed)
}

impl Experiment for PerTask {
    fn id(&self) -> &'static str {
        "overhead"
    }

    fn steps(&self, job: &Job<'_>) -> usize {
        plan(job).steps()
    }

    fn run(&self, job: &Job<'_>, progress: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        // A row without any figure would only say that there was no time for it.
        if !progress.interrupted() {
            run.overhead = rows(&super::run(&plan(job), progress), workers(job));
        }
        Ok(Vec::new())
    }
}

impl Plan {
    /// A plan of the measurements that [`rows`] needs.
    fn for_rows(workers: usize, sizes: Sizes, seed: u64) -> Self {
        let measurements = vec![Measurement::Throughput, Measurement::RoundTrip, Measurement::Payload];
        Self { measurements, workers, sizes, seed }
    }
}

/// One row per subject, in the order of their first figures.
fn rows(figures: &[Figure], workers: usize) -> Vec<OverheadRow> {
    let mut rows: Vec<OverheadRow> = Vec::new();
    for figure in figures.iter().filter(|figure| !figure.detail) {
        let index = rows.iter().position(|row| row.name == figure.subject).unwrap_or_else(|| {
            rows.push(OverheadRow {
                name: figure.subject.clone(),
                group: figure.group,
                workers: workers as u32,
                throughput: None,
                round_trip_p50_ns: None,
                round_trip_p99_ns: None,
                payload_mib_per_second: None,
                note: figure.note.clone(),
                missing: figure.missing.clone(),
            });
            rows.len() - 1
        });
        let row = &mut rows[index];
        match figure.quantity.as_str() {
            throughput::QUANTITY => row.throughput = figure.estimate,
            round_trip::P50 => row.round_trip_p50_ns = figure.estimate,
            round_trip::P99 => row.round_trip_p99_ns = figure.estimate,
            payload::QUANTITY => row.payload_mib_per_second = figure.estimate.map(in_mebibytes),
            _ => {}
        }
    }
    rows.sort_by_key(|row| row.group as u8);
    rows
}

fn in_mebibytes(bytes: Estimate) -> Estimate {
    let of = |bytes: f64| bytes / payload::MIB as f64;
    Estimate { median: of(bytes.median), low: of(bytes.low), high: of(bytes.high), ..bytes }
}

#[cfg(test)]
mod tests {
    use reports::{model::OverheadGroup, overhead::Unit};

    use super::*;

    #[test]
    fn figures_of_one_subject_become_one_row() {
        let figure = |subject: &str, group, quantity: &str, value: f64| Figure {
            measurement: String::new(),
            subject: subject.to_owned(),
            group,
            quantity: quantity.to_owned(),
            unit: Unit::Count,
            estimate: crate::stats::estimate(&[value]),
            blocks: Vec::new(),
            detail: false,
            note: "a note".to_owned(),
            missing: None,
        };
        let figures = [
            figure("memcpy", OverheadGroup::Baseline, payload::QUANTITY, 3.0 * payload::MIB as f64),
            figure("thread", OverheadGroup::Lab, throughput::QUANTITY, 5.0),
            figure("thread", OverheadGroup::Lab, round_trip::P50, 7.0),
        ];
        let rows = rows(&figures, 2);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].name.as_str(), rows[0].throughput.unwrap().median), ("thread", 5.0));
        assert_eq!((rows[0].round_trip_p50_ns.unwrap().median, rows[0].round_trip_p99_ns), (7.0, None));
        assert_eq!(rows[1].payload_mib_per_second.unwrap().median, 3.0);
    }
}
