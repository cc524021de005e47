//! What one task costs on each executor, with the peers and the limits of the machine in the same table.
//!
//! Rows are measured in blocks, each with every row once in an order of its own.

use std::{hint::black_box, time::Instant};

use executor_core::Executor;
use reports::model::{Estimate, OverheadGroup, OverheadRow};
use workloads::kernels::Block;

use crate::{
    cell::nanos,
    error::LabError,
    executors::{Kind, Visit, with_executor},
    peers,
    runner::{progress::Progress, schedule::interleave},
    stats,
};

pub(crate) const MIB: usize = 1 << 20;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) blocks: usize,
    /// For executors that need about a microsecond; divided for the slower ones.
    pub(crate) tasks: u32,
    pub(crate) round_trips: u32,
    pub(crate) payloads: u32,
}

impl Effort {
    pub(crate) const QUICK: Self = Self { blocks: 3, tasks: 20_000, round_trips: 500, payloads: 10 };
    pub(crate) const FULL: Self = Self { blocks: 7, tasks: 50_000, round_trips: 2000, payloads: 30 };

    /// Less, for something that needs so many times as long for a task.
    pub(crate) fn over(self, divisor: u32) -> Self {
        let less = |count: u32| (count / divisor).max(20);
        Self { tasks: less(self.tasks), round_trips: less(self.round_trips), ..self }
    }
}

/// One block's figures for one row.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Figures {
    /// Tasks per second, submitted first and then collected.
    pub(crate) throughput: Option<f64>,
    pub(crate) round_trip_p50_ns: Option<f64>,
    pub(crate) round_trip_p99_ns: Option<f64>,
    pub(crate) payload_mib_per_second: Option<f64>,
}

/// A row that can be measured.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) group: OverheadGroup,
    pub(crate) note: String,
    pub(crate) measure: Box<dyn Fn(Effort) -> Result<Figures, String>>,
}

/// Times `round_trip` so often, and fills in the percentiles.
pub(crate) fn round_trips(figures: &mut Figures, count: u32, mut round_trip: impl FnMut()) {
    let times = (0..count).map(|_| {
        let start = Instant::now();
        round_trip();
        nanos(start.elapsed())
    });
    if let Some(latency) = crate::cell::percentiles(times.collect()) {
        figures.round_trip_p50_ns = Some(latency.p50_ns as f64);
        figures.round_trip_p99_ns = Some(latency.p99_ns as f64);
    }
}

/// Keeps the optimiser from leaving out what made `value`.
pub(crate) fn consume<T>(value: T) {
    black_box(value);
}

/// How many per second.
pub(crate) fn rate(count: f64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    count / start.elapsed().as_secs_f64()
}

fn echo(x: u64) -> u64 {
    x
}

fn length(block: Block) -> u64 {
    block.0.len() as u64
}

struct Measure(Effort);

impl Visit for Measure {
    type Output = Figures;

    fn visit<E: Executor>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Figures {
        let effort = self.0;
        let mut figures = Figures::default();
        let round_trip = |x: u64| {
            // A task that is lost would show as a wrong sum below.
            executor.submit(echo, x).map_or(0, |future| future.result().unwrap_or(0))
        };
        (0..20).for_each(|x| consume(round_trip(x)));
        let mut sum = 0;
        figures.throughput = Some(rate(f64::from(effort.tasks), || {
            let futures: Vec<_> = (0..effort.tasks).filter_map(|x| executor.submit(echo, x.into()).ok()).collect();
            sum = futures.into_iter().map(|future| future.result().unwrap_or(0)).sum();
        }));
        if sum != (0..u64::from(effort.tasks)).sum::<u64>() {
            figures.throughput = None;
        }
        round_trips(&mut figures, effort.round_trips, || consume(round_trip(1)));
        let blocks: Vec<_> = (0..effort.payloads).map(|_| Block(vec![7; MIB])).collect();
        figures.payload_mib_per_second = Some(rate(f64::from(effort.payloads), || {
            for block in blocks {
                consume(executor.submit(length, block).map(|future| future.result()));
            }
        }));
        figures
    }
}

fn ours(workers: usize) -> Vec<Subject> {
    let row = |kind: Kind, divisor, note: &str| Subject {
        name: kind.name().to_owned(),
        group: OverheadGroup::Ours,
        note: note.to_owned(),
        measure: Box::new(move |effort| {
            with_executor(kind, workers, Measure(effort.over(divisor))).map_err(|error| crate::error::chain(&error))
        }),
    };
    vec![
        row(Kind::Serial, 1, "runs the task in submit"),
        row(Kind::Thread, 1, ""),
        row(Kind::Rayon, 1, ""),
        row(Kind::Process, 10, "Unix socket per worker"),
        row(Kind::ThreadPerTask, 50, ""),
        row(Kind::ProcessPerTask, 1000, ""),
    ]
}

/// The whole table.
pub(crate) fn run(
    workers: usize,
    effort: Effort,
    seed: u64,
    progress: &mut Progress,
) -> Result<Vec<OverheadRow>, LabError> {
    let subjects: Vec<Subject> =
        ours(workers).into_iter().chain(peers::subjects(workers)).chain(peers::limits()).collect();
    let mut measured: Vec<Vec<Figures>> = subjects.iter().map(|_| Vec::new()).collect();
    let mut failed: Vec<Option<String>> = subjects.iter().map(|_| None).collect();
    for slot in interleave(subjects.len(), effort.blocks as u32, seed) {
        if progress.interrupted() {
            break;
        }
        let index = slot.cell;
        progress.begin(&format!("overhead: {}", subjects[index].name));
        if failed[index].is_none() {
            match (subjects[index].measure)(effort) {
                Ok(figures) => measured[index].push(figures),
                Err(error) => failed[index] = Some(error),
            }
        }
        if slot.order as usize % subjects.len() == subjects.len() - 1 {
            progress.step();
        }
    }
    let rows = subjects.into_iter().zip(measured).zip(failed).map(|((subject, measured), failed)| {
        let of = |value: fn(&Figures) -> Option<f64>| -> Option<Estimate> {
            stats::estimate(&measured.iter().filter_map(value).collect::<Vec<_>>())
        };
        OverheadRow {
            throughput: of(|figures| figures.throughput),
            round_trip_p50_ns: of(|figures| figures.round_trip_p50_ns),
            round_trip_p99_ns: of(|figures| figures.round_trip_p99_ns),
            payload_mib_per_second: of(|figures| figures.payload_mib_per_second),
            name: subject.name,
            group: subject.group,
            workers: workers as u32,
            note: failed.map_or(subject.note, |error| format!("not measured: {error}")),
        }
    });
    Ok(rows.collect())
}
