//! The batches and fits of the cost model for other experiments: single batches compared directly, and what the model says of
//! other numbers of tasks.

use reports::{
    cost::Lane,
    model::{Estimate, NoCrossing, Skipped},
};
use workloads::kernels;

use super::{
    blocks::{data, take},
    crossings,
    design::{Shape, shapes},
    fit::{self, Drawn},
    probe::{Measured, Pool},
};
use crate::{executors::Kind, runner::progress::Progress, stats};

/// A batch by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Batch {
    /// 4,000 tasks that do nothing.
    Nothing,
    /// Tasks with 4 KiB in a struct.
    Values,
    /// Tasks with 128 KiB in a struct.
    Nested,
    /// The same as `SharedBytes`.
    Shared,
    /// 150 tasks of 0.4 ms.
    Short,
    /// A pool that is built for two tasks that do nothing.
    Start,
    /// A pool that is built for 120 tasks of 0.5 ms.
    ColdShort,
    /// A pool that is built for one task a core, of 20 ms.
    ColdFew,
}

impl Batch {
    /// Its tasks, bytes of an argument, lane, and whether its pool is cold and its tasks work.
    fn is(self, shape: &Shape, cores: u32) -> bool {
        let Shape { tasks, lane, bytes_in, cold, held_out, iterations, .. } = *shape;
        let (of_tasks, of_bytes, of_lane, is_cold, works) = match self {
            Self::Nothing => (4000, 0, None, false, false),
            Self::Values => (200, 4 << 10, Some(Lane::Nested), false, false),
            Self::Nested => (32, 128 << 10, Some(Lane::Nested), false, false),
            Self::Shared => (32, 128 << 10, Some(Lane::Shared), false, false),
            Self::Short => (150, 0, None, false, true),
            Self::Start => (2, 0, None, true, false),
            Self::ColdShort => (120, 0, None, true, true),
            Self::ColdFew => (cores, 0, None, true, true),
        };
        !held_out && (tasks, bytes_in, lane, cold, iterations > 0) == (of_tasks, of_bytes, of_lane, is_cold, works)
    }
}

/// For each block the time of a batch's work in a plain loop, and that on the executor.
type Times = Vec<(u32, (f64, f64))>;

/// What threads and processes cost, one of each for a core.
pub(in super::super) struct Costs {
    cores: u32,
    shapes: Vec<Shape>,
    pools: Vec<Pool>,
    measured: Measured,
    drawn: Vec<Option<Drawn>>,
}

impl Costs {
    /// Number of samples.
    pub(in super::super) fn steps(cores: u32, blocks: u32) -> usize {
        crossings::pools(cores).len() * blocks as usize
    }

    /// Measures blocks in which a batch is timed at most so many times.
    pub(in super::super) fn take(
        cores: u32,
        (blocks, rounds, seed): (u32, u32, u64),
        progress: &mut Progress,
    ) -> (Self, Vec<Skipped>) {
        let speed = kernels::calibrate();
        let mut shapes = shapes(speed);
        let few = Shape { tasks: cores, iterations: (20_000.0 * speed) as u64, ..COLD };
        shapes.push(few);
        let pools = crossings::pools(cores);
        let mut bad = Vec::new();
        let measured = take(&pools, |_| shapes.clone(), (blocks, rounds, seed), progress, &mut bad);
        (Self::of(cores, shapes, measured, seed), bad)
    }

    fn of(cores: u32, shapes: Vec<Shape>, measured: Measured, seed: u64) -> Self {
        let pools = crossings::pools(cores);
        let drawn = pools.iter().zip(&measured).map(|(pool, blocks)| {
            let drawn = fit::fit(&data(*pool, cores, &shapes, blocks), fit::DRAWS, seed)?;
            // What the model predicts poorly is not asked.
            (!drawn.fit.is_poor()).then_some(drawn)
        });
        Self { cores, drawn: drawn.collect(), shapes, pools, measured }
    }

    fn times(&self, (kind, batch): (Kind, Batch)) -> Result<Times, String> {
        let missing = || format!("the batch was not measured on {kind}");
        let pool = self.pools.iter().position(|(of, _)| *of == kind).ok_or_else(missing)?;
        let mut shapes = self.shapes.iter();
        let is_it = |shape: &Shape| batch.is(shape, self.cores);
        // What was added comes last, and may look like one of the model's.
        let shape = if batch == Batch::ColdFew { shapes.rposition(is_it) } else { shapes.position(is_it) };
        let shape = shape.ok_or_else(missing)?;
        Ok(self.measured[pool].iter().filter_map(|(block, it)| Some((*block, *it.times.get(shape)?))).collect())
    }

    /// The time of a batch.
    pub(in super::super) fn time(&self, of: (Kind, Batch)) -> Result<Estimate, String> {
        let times: Vec<f64> = self.times(of)?.into_iter().map(|(_, (_, wall))| wall).collect();
        stats::estimate(&times).ok_or_else(nothing)
    }

    /// The ratio of the times of two batches, by block.
    pub(in super::super) fn ratio(&self, of: (Kind, Batch), base: (Kind, Batch)) -> Result<Estimate, String> {
        let walls = |of| -> Result<Vec<(u32, Vec<f64>)>, String> {
            Ok(self.times(of)?.into_iter().map(|(block, (_, wall))| (block, vec![wall])).collect())
        };
        stats::estimate(&stats::block_ratios(&walls(of)?, &walls(base)?)).ok_or_else(nothing)
    }

    /// The ratio of a batch's time to that of its work in a plain loop in the same process.
    pub(in super::super) fn against_serial(&self, of: (Kind, Batch)) -> Result<Estimate, String> {
        let ratios: Vec<f64> = self.times(of)?.into_iter().map(|(_, (work, wall))| wall / work).collect();
        stats::estimate(&ratios).ok_or_else(nothing)
    }

    /// From which work of a task on a batch is faster than serial, by the model. `None` where there is no model.
    pub(in super::super) fn break_even(
        &self,
        kind: Kind,
        tasks: u32,
        cold: bool,
    ) -> Option<Result<Estimate, NoCrossing>> {
        let pool = self.pools.iter().position(|(of, _)| *of == kind)?;
        let found = crossings::crossing(self.drawn[pool].as_ref()?, None, 1.0, (tasks, 0, cold));
        match (found.task_ns, found.missing) {
            (Some(task), _) => Some(Ok(task)),
            (None, why) => why.map(Err),
        }
    }
}

fn nothing() -> String {
    "no block has it: the run was stopped before, or its samples have failed".to_owned()
}

const COLD: Shape =
    Shape { tasks: 1, iterations: 0, lane: None, bytes_in: 0, bytes_out: 0, cold: true, held_out: false };

#[cfg(test)]
pub(in super::super) mod planted {
    //! Costs that were not measured.

    use super::*;
    use crate::experiments::cost::probe::CostBlock;

    /// What a batch takes in nanoseconds: by its pool, what it is for, whether its pool is cold, its tasks and their work.
    pub(in super::super::super) type Time<'a> = &'a dyn Fn(Kind, Option<Batch>, bool, f64, f64) -> f64;

    /// Costs in which each batch takes what `time` says.
    pub(in super::super::super) fn costs(cores: u32, blocks: u32, time: Time<'_>) -> Costs {
        const ALL: [Batch; 8] = [
            Batch::Nothing,
            Batch::Values,
            Batch::Nested,
            Batch::Shared,
            Batch::Short,
            Batch::Start,
            Batch::ColdShort,
            Batch::ColdFew,
        ];
        let mut shapes = shapes(1000.0);
        shapes.push(Shape { tasks: cores, iterations: 20_000_000, ..COLD });
        let last = shapes.len() - 1;
        let block = |number: u32, kind: Kind| {
            let drift = 1.0 + 0.01 * f64::from(number % 3);
            let of = |(index, shape): (usize, &Shape)| {
                let batch = ALL
                    .into_iter()
                    .find(|batch| batch.is(shape, cores) && (*batch == Batch::ColdFew) == (index == last));
                let work = f64::from(shape.tasks) * (shape.iterations as f64 + 1.0);
                (work * drift, time(kind, batch, shape.cold, shape.tasks.into(), work) * drift)
            };
            (number, CostBlock { times: shapes.iter().enumerate().map(of).collect(), memory: None })
        };
        let pools = crossings::pools(cores);
        let measured = pools.iter().map(|(kind, _)| (0..blocks).map(|number| block(number, *kind)).collect()).collect();
        Costs::of(cores, shapes.clone(), measured, 1)
    }

    #[test]
    fn each_batch_is_one_of_the_design() {
        let costs = costs(2, 6, &|_, _, _, tasks, work| work / 2.0 + 1000.0 * tasks);
        for kind in [Kind::Thread, Kind::Process] {
            for batch in [Batch::Nothing, Batch::Values, Batch::Nested, Batch::Shared, Batch::Start] {
                assert_eq!(costs.times((kind, batch)).unwrap().len(), 6, "{batch:?}");
            }
            for batch in [Batch::Short, Batch::ColdShort, Batch::ColdFew] {
                assert!(costs.against_serial((kind, batch)).unwrap().high < 0.6, "{batch:?}");
            }
        }
        assert!((costs.time((Kind::Process, Batch::ColdFew)).unwrap().median / 20e6 - 1.0).abs() < 0.1);
    }
}
