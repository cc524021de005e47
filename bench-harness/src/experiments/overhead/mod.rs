//! The cost of one task on each executor, with the peers and the baselines of the machine in the same tables.
//!
//! A *block* takes every measurement once: the measurements in an order of its own, and within each its subjects in an order
//! of its own, all by a recorded seed. Each subject is measured in a process that was started for it, so that heap, layout in
//! memory and all else that differs between two starts is drawn anew in each block, and so that a hang or a crash costs only
//! the row of its subject. Within such a process, the variants to compare are interleaved in *rounds*. A figure is the median of
//! its blocks' medians, a ratio the median of the blocks' ratios.

mod contenders;
mod fork_join;
mod idle;
mod interleave;
mod map;
mod measurement;
mod memory;
pub(crate) mod metg;
mod payload;
mod registry;
mod round_trip;
mod rows;
mod shared_bytes;
mod sizes;
mod startup;
mod submitters;
mod targets;
mod throughput;
mod waits;

use std::time::Duration;

use reports::{
    model::Reason,
    overhead::{Block, Claim, Figure},
};
use workloads::Random;

pub(crate) use measurement::{Measurement, Probe};
pub(crate) use registry::{all, measure};
pub(crate) use rows::PerTask;
pub(crate) use sizes::Sizes;

use crate::{
    runner::{
        child,
        progress::Progress,
        schedule::{Slot, interleave},
    },
    stats,
};
use measurement::{Reading, Subject};

/// The longest that one process may measure.
const LIMIT: Duration = Duration::from_secs(90);

/// Stands in place of a quantity where there is none.
pub(super) const NO_FIGURE: &str = "-";

/// The measurements to take.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) workers: usize,
    pub(crate) sizes: Sizes,
    pub(crate) seed: u64,
}

impl Plan {
    /// Every process to be started, in order, with its block.
    fn schedule(&self) -> Vec<(Slot, Measurement, Subject)> {
        let mut random = Random::new(self.seed);
        let mut all = Vec::new();
        for place in interleave(self.measurements.len(), self.sizes.blocks, self.seed) {
            let measurement = self.measurements[place.cell];
            if place.block >= measurement.blocks(&self.sizes) {
                continue;
            }
            let subjects = registry::subjects(measurement);
            // The subjects of one measurement follow each other, because they are compared.
            for slot in interleave(subjects.len(), 1, random.next_u64()) {
                let order = all.len() as u32;
                all.push((Slot { block: place.block, order, ..slot }, measurement, subjects[slot.cell]));
            }
        }
        all
    }

    /// Number of processes that the plan starts.
    pub(crate) fn steps(&self) -> usize {
        self.schedule().len()
    }
}

/// Takes all measurements.
pub(crate) fn run(plan: &Plan, progress: &mut Progress) -> Vec<Figure> {
    let mut figures = Figures::default();
    for (slot, measurement, subject) in plan.schedule() {
        if progress.interrupted() {
            break;
        }
        progress.begin(&format!("{}: {}", measurement.name(), subject.name()));
        // A subject that has failed once fails again, and may take its whole time limit to do so.
        if !figures.failed(measurement, subject) {
            let seed = plan.seed ^ u64::from(slot.order);
            let probe = Probe { measurement, subject, workers: plan.workers, sizes: plan.sizes, seed };
            figures.add(slot, measurement, subject, in_new_process(&probe));
        }
        progress.step();
    }
    figures.finish(&plan.measurements)
}

/// Compares the figures with their targets.
pub(crate) fn claims(figures: &[Figure], plan: &Plan) -> Vec<Claim> {
    targets::claims(figures, &plan.measurements)
}

fn in_new_process(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let input = serde_json::to_vec(probe).map_err(|error| error.to_string())?;
    let output = child::run_lab("probe", &input, LIMIT)?;
    let answer: Result<Vec<Reading>, Reason> =
        serde_json::from_slice(&output).map_err(|error| format!("invalid output: {error}"))?;
    answer
}

/// The figures that were measured so far.
#[derive(Debug, Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn add(&mut self, slot: Slot, measurement: Measurement, subject: Subject, answer: Result<Vec<Reading>, Reason>) {
        let readings = answer.unwrap_or_else(|reason| vec![Reading::missing(subject, NO_FIGURE, reason)]);
        for reading in readings {
            let name = measurement.name();
            let known = self.0.iter_mut().find(|figure| {
                figure.measurement == name && figure.subject == reading.subject && figure.quantity == reading.quantity
            });
            let block = Block { block: slot.block, order: slot.order, values: reading.values };
            match known {
                Some(figure) => figure.blocks.push(block),
                None => self.0.push(Figure {
                    measurement: name,
                    subject: reading.subject,
                    group: reading.group,
                    quantity: reading.quantity,
                    unit: reading.unit,
                    estimate: None,
                    blocks: vec![block],
                    detail: reading.detail,
                    note: reading.note,
                    missing: reading.missing,
                }),
            }
        }
    }

    fn failed(&self, measurement: Measurement, subject: Subject) -> bool {
        let name = measurement.name();
        self.0.iter().any(|figure| {
            figure.measurement == name && figure.subject == subject.name() && figure.quantity == NO_FIGURE
        })
    }

    /// Computes the estimates, and sorts the figures by the plan instead of by the order of measuring.
    fn finish(self, measurements: &[Measurement]) -> Vec<Figure> {
        let mut figures = self.0;
        for figure in &mut figures {
            figure.blocks.retain(|block| !block.values.is_empty());
            figure.estimate = stats::estimate(&stats::block_medians(&targets::rounds(figure)));
        }
        let metg = metg::figures(&figures);
        figures.splice(0..0, metg);
        let place = |figure: &Figure| {
            let measurement = measurements.iter().find(|measurement| measurement.name() == figure.measurement);
            let subjects = measurement.map(|measurement| registry::subjects(*measurement)).unwrap_or_default();
            let measurement = measurements.iter().position(|measurement| measurement.name() == figure.measurement);
            // Subjects that are measured beside others come after all of these.
            let subject =
                subjects.iter().position(|subject| subject.name() == figure.subject).unwrap_or(subjects.len());
            (measurement, subject)
        };
        figures.sort_by_cached_key(place);
        figures
    }
}

#[cfg(test)]
mod tests {
    use reports::overhead::Unit;

    use super::*;

    fn plan() -> Plan {
        let measurements = vec![Measurement::Map, Measurement::Throughput, Measurement::Depth];
        Plan { measurements, workers: 2, sizes: Sizes { blocks: 5, ..Sizes::QUICK }, seed: 7 }
    }

    #[test]
    fn every_block_has_every_subject_once_and_those_of_a_measurement_stand_together() {
        let schedule = plan().schedule();
        for block in 0..5 {
            let own: Vec<_> = schedule.iter().filter(|(slot, ..)| slot.block == block).collect();
            let expected: &[Measurement] = if block < 3 {
                &[Measurement::Map, Measurement::Throughput, Measurement::Depth]
            } else {
                &[Measurement::Map, Measurement::Throughput]
            };
            let mut runs: Vec<Measurement> = own.iter().map(|(_, measurement, _)| *measurement).collect();
            runs.dedup();
            assert_eq!(runs.len(), expected.len());
            for measurement in expected {
                for subject in registry::subjects(*measurement) {
                    assert_eq!(own.iter().filter(|it| it.1 == *measurement && it.2 == subject).count(), 1);
                }
            }
        }
        assert!(schedule.iter().enumerate().all(|(order, (slot, ..))| slot.order == order as u32));
        let again: Vec<_> = plan().schedule().into_iter().map(|(slot, ..)| slot).collect();
        assert_eq!(schedule.into_iter().map(|(slot, ..)| slot).collect::<Vec<_>>(), again);
    }

    #[test]
    fn blocks_are_collected_under_one_figure_and_a_failure_is_a_row() {
        let mut figures = Figures::default();
        let reading = |value| vec![Reading::new(Subject::THREAD, "tasks", Unit::PerSecond, vec![value, value])];
        let slot = |block| Slot { block, order: block, cell: 0 };
        figures.add(slot(0), Measurement::Throughput, Subject::PROCESS, Err("it hung".into()));
        figures.add(slot(0), Measurement::Throughput, Subject::THREAD, Ok(reading(1.0)));
        figures.add(slot(1), Measurement::Throughput, Subject::THREAD, Ok(reading(3.0)));
        assert!(figures.failed(Measurement::Throughput, Subject::PROCESS));
        assert!(!figures.failed(Measurement::Throughput, Subject::THREAD));
        let figures = figures.finish(&[Measurement::Throughput]);
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].subject.as_str(), figures[0].blocks.len()), ("thread", 2));
        assert_eq!(figures[0].estimate.unwrap().median, 2.0);
        assert_eq!((figures[1].note.as_str(), figures[1].estimate), ("not measured: it hung", None));
    }
}
