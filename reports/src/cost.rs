//! The cost model of a machine: what executors cost, as `lab cost` has fitted it, and what it predicts.
//!
//! A batch of N tasks takes, on an executor with W workers,
//!
//! ```text
//! cold start + batch + N x (task + bytes in and out by lane) + work / gain
//! ```
//!
//! where the *batch* is what happens once, such as waking the workers, and *work* is the time of the same tasks in a plain loop,
//! rounded up to whole rounds of the cores that can work. The model is linear in its terms, so a prediction needs nothing but a
//! sum, and its interval the covariance of the terms.

use serde::{Deserialize, Serialize};

use crate::model::{Estimate, NoCrossing};

/// The way in which the bytes of an argument or a result travel to worker processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A `Vec<u8>` inside of another type.
    Nested,
    /// A `Vec<u8>` that is the whole argument or result.
    Bytes,
    /// `SharedBytes`.
    Shared,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nested, Self::Bytes, Self::Shared];

    /// Its name in sentences.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nested => "nested bytes",
            Self::Bytes => "Vec<u8>",
            Self::Shared => "SharedBytes",
        }
    }
}

/// A term of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Term {
    /// Building the pool, with all that its first tasks cost more. Nanoseconds.
    ColdStart,
    /// What a batch costs once. Nanoseconds.
    Batch,
    /// What a task costs. Nanoseconds.
    Task,
    /// The share of the work in a plain loop that is left: the gain is its inverse.
    Work,
    /// What a task whose argument has bytes of this lane costs more, whatever their number. Nanoseconds.
    Lane(Lane),
    /// The same for its result. Nanoseconds.
    LaneOut(Lane),
    /// What a byte of an argument costs. Nanoseconds.
    ByteIn(Lane),
    /// What a byte of a result costs. Nanoseconds.
    ByteOut(Lane),
}

impl Term {
    /// Every term, in the order of a fit.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let lanes = Lane::ALL
            .into_iter()
            .flat_map(|lane| [Self::Lane(lane), Self::ByteIn(lane), Self::LaneOut(lane), Self::ByteOut(lane)]);
        [Self::ColdStart, Self::Batch, Self::Task, Self::Work].into_iter().chain(lanes).collect()
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::ColdStart => "cold start".to_owned(),
            Self::Batch => "a batch, once".to_owned(),
            Self::Task => "a task".to_owned(),
            Self::Work => "gain".to_owned(),
            Self::Lane(lane) => format!("a task with an argument of {}", lane.name()),
            Self::LaneOut(lane) => format!("a task with a result of {}", lane.name()),
            Self::ByteIn(lane) => format!("a KiB in, {}", lane.name()),
            Self::ByteOut(lane) => format!("a KiB out, {}", lane.name()),
        }
    }
}

/// A batch of equal tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Number of tasks.
    pub tasks: f64,
    /// Time of all of them in a plain loop.
    pub work_ns: f64,
    /// The lane of their bytes, if any.
    pub lane: Option<Lane>,
    /// Bytes of each argument.
    pub bytes_in: f64,
    /// Bytes of each result.
    pub bytes_out: f64,
    /// Whether the pool is built for it.
    pub cold: bool,
}

impl Load {
    /// The amount of a term in it, with cores for `width` tasks at a time.
    #[must_use]
    pub fn amount(&self, term: Term, width: u32) -> f64 {
        let of = |lane, amount| if self.lane == Some(lane) { self.tasks * amount } else { 0.0 };
        match term {
            Term::ColdStart => f64::from(u8::from(self.cold)),
            Term::Batch => 1.0,
            Term::Task => self.tasks,
            Term::Work => {
                let width = f64::from(width.max(1));
                // The last round takes as long as one that is full.
                self.work_ns * (self.tasks / width).ceil() * width / self.tasks.max(1.0)
            }
            Term::Lane(lane) => of(lane, f64::from(u8::from(self.bytes_in > 0.0))),
            Term::LaneOut(lane) => of(lane, f64::from(u8::from(self.bytes_out > 0.0))),
            Term::ByteIn(lane) => of(lane, self.bytes_in),
            Term::ByteOut(lane) => of(lane, self.bytes_out),
        }
    }
}

/// A term with its figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The term.
    pub term: Term,
    /// Its coefficient, with a bootstrap interval over blocks.
    pub estimate: Estimate,
    /// Why the measurements cannot tell it; it still takes part in predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A measured batch, beside what the model says of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The batch.
    pub load: Load,
    /// Whether it was left out of the fit.
    pub held_out: bool,
    /// The measured time.
    pub measured_ns: Estimate,
    /// The model's time.
    pub predicted_ns: f64,
}

impl Point {
    /// Measured against predicted: 0.1 is a tenth more than predicted.
    #[must_use]
    pub fn residual(&self) -> f64 {
        self.measured_ns.median / self.predicted_ns - 1.0
    }
}

/// The model of one executor with one number of workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Name of the executor.
    pub executor: String,
    /// Number of workers.
    pub workers: u32,
    /// Tasks that can compute at the same time: workers, or cores where these are fewer.
    pub width: u32,
    /// The terms.
    pub terms: Vec<Fitted>,
    /// Covariance of the terms, in their order.
    pub covariance: Vec<Vec<f64>>,
    /// Every measured batch.
    pub points: Vec<Point>,
    /// Nine of ten residuals are smaller than this share.
    pub spread: f64,
    /// Memory of the process tree for each worker, beyond that of a process without a pool.
    pub memory_per_worker: Option<u64>,
}

impl Fit {
    /// A term's coefficient.
    #[must_use]
    pub fn coefficient(&self, term: Term) -> f64 {
        self.terms.iter().find(|fitted| fitted.term == term).map_or(0.0, |fitted| fitted.estimate.median)
    }

    /// The time of a batch, with an interval for terms and residuals together.
    #[must_use]
    pub fn predict(&self, load: &Load) -> Estimate {
        let amounts: Vec<f64> = self.terms.iter().map(|fitted| load.amount(fitted.term, self.width)).collect();
        let time: f64 = amounts.iter().zip(&self.terms).map(|(amount, fitted)| amount * fitted.estimate.median).sum();
        let product = |row: &Vec<f64>| row.iter().zip(&amounts).map(|(value, amount)| value * amount).sum::<f64>();
        let variance: f64 = self.covariance.iter().zip(&amounts).map(|(row, amount)| amount * product(row)).sum();
        let error = (3.84 * variance.max(0.0) + (self.spread * time).powi(2)).sqrt();
        let n = self.terms.first().map_or(0, |fitted| fitted.estimate.n);
        Estimate { median: time, low: (time - error).max(0.0), high: time + error, confidence: 0.9, n }
    }

    /// The held-out points that the model predicts within `share`, and all of them.
    #[must_use]
    pub fn predicted_within(&self, share: f64) -> (usize, usize) {
        let held = || self.points.iter().filter(|point| point.held_out);
        (held().filter(|point| point.residual().abs() <= share).count(), held().count())
    }

    /// Whether fewer than nine of ten held-out points are predicted within 15%.
    #[must_use]
    pub fn is_poor(&self) -> bool {
        let (within, all) = self.predicted_within(0.15);
        10 * within < 9 * all
    }
}

/// A crossing of the times of two executors over the work of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreakEven {
    /// The executor that is worth it from there on.
    pub executor: String,
    /// The one that it is compared with: another executor or `serial`.
    pub against: String,
    /// Number of workers of both.
    pub workers: u32,
    /// Tasks in the batch.
    pub tasks: u32,
    /// Bytes of each argument, as a `Vec<u8>`.
    pub bytes_in: u32,
    /// Whether the pools are built for the batch.
    pub cold: bool,
    /// It may take this many times as long: 1 for an even time.
    pub factor: f64,
    /// Work of a task, by the model.
    pub task_ns: Option<Estimate>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<NoCrossing>,
    /// Measured beside the crossing, as a check.
    pub checks: Vec<Check>,
}

/// The two executors of a [`BreakEven`], measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Work of a task.
    pub task_ns: f64,
    /// Time of the one divided by that of the other.
    pub ratio: Estimate,
}

impl BreakEven {
    /// Takes its figures out, because of `why`.
    pub fn withhold(&mut self, why: NoCrossing) {
        (self.task_ns, self.missing) = (None, Some(why));
        self.checks.clear();
    }

    /// What is compared, in words.
    #[must_use]
    pub fn label(&self) -> String {
        let (executor, against, tasks) = (&self.executor, &self.against, self.tasks);
        let what = if self.factor > 1.0 { "is within 5% of" } else { "is as fast as" };
        let state = if self.cold { "cold" } else { "warm" };
        let bytes = match self.bytes_in {
            0 => String::new(),
            size => format!(" with {}", crate::format::bytes(size.into())),
        };
        format!("{executor} ({state}) {what} {against}, {tasks} tasks{bytes}, {} workers", self.workers)
    }

    /// Whether the checks agree: slower before the crossing, and faster after it; `None` where they cannot tell.
    #[must_use]
    pub fn agrees(&self) -> Option<bool> {
        let task = self.task_ns?;
        let mut told = Vec::new();
        for check in &self.checks {
            let is_faster = check.ratio.high < self.factor;
            if is_faster || check.ratio.low > self.factor {
                told.push(is_faster == (check.task_ns > task.median));
            }
        }
        (!told.is_empty()).then(|| told.into_iter().all(|agrees| agrees))
    }
}

/// The model of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CostModel {
    /// One for each executor and number of workers.
    pub fits: Vec<Fit>,
    /// Crossings of their times.
    pub break_even: Vec<BreakEven>,
}

impl CostModel {
    /// Takes the figures out of the crossings of executors whose models predict poorly what they have not seen: such a model says
    /// nothing of break-even, either.
    pub fn withhold_poor(&mut self) {
        let poor: Vec<&Fit> = self.fits.iter().filter(|fit| fit.is_poor()).collect();
        for crossing in &mut self.break_even {
            let is_of = |fit: &&Fit| {
                fit.workers == crossing.workers && [&crossing.executor, &crossing.against].contains(&&fit.executor)
            };
            if poor.iter().any(is_of) {
                crossing.withhold(NoCrossing::PoorModel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(tasks: f64, work_ns: f64) -> Load {
        Load { tasks, work_ns, lane: None, bytes_in: 0.0, bytes_out: 0.0, cold: false }
    }

    #[test]
    fn work_is_rounded_up_to_whole_rounds() {
        let amount = |tasks, width| load(tasks, tasks * 100.0).amount(Term::Work, width);
        assert_eq!(amount(1.0, 2), 200.0, "of which a gain of 2 leaves one task's time");
        assert_eq!(amount(4.0, 2), 400.0);
        assert_eq!(amount(5.0, 2), 600.0);
    }

    #[test]
    fn a_model_that_predicts_poorly_has_no_break_even() {
        let mut model = crate::fixture::run().cost.unwrap();
        let before = model.clone();
        model.withhold_poor();
        assert_eq!(model, before, "none is poor");
        let is_of = |fit: &&mut Fit| fit.executor == "thread" && fit.workers == 2;
        let points = model.fits.iter_mut().filter(is_of).flat_map(|fit| &mut fit.points);
        points.filter(|point| point.held_out).for_each(|point| point.predicted_ns = 2.0 * point.measured_ns.median);
        model.withhold_poor();
        let missing: Vec<_> = model.break_even.iter().map(|it| (it.against.as_str(), it.missing)).collect();
        assert_eq!(missing, [("serial", None), ("thread", Some(NoCrossing::PoorModel))]);
        assert_eq!(model.break_even[0], before.break_even[0]);
    }

    #[test]
    fn bytes_count_in_their_lane_only() {
        let load = Load { lane: Some(Lane::Bytes), bytes_in: 10.0, ..load(3.0, 0.0) };
        assert_eq!(load.amount(Term::ByteIn(Lane::Bytes), 1), 30.0);
        assert_eq!(load.amount(Term::ByteIn(Lane::Nested), 1), 0.0);
        assert_eq!(load.amount(Term::Lane(Lane::Bytes), 1), 3.0);
        assert_eq!(load.amount(Term::LaneOut(Lane::Bytes), 1), 0.0);
    }
}
