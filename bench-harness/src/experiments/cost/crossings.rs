//! Where the times of two executors cross, by the model, and measured directly beside that as a check.

use reports::{
    cost::{BreakEven, Check, Fit, Load},
    model::{Estimate, NoCrossing},
};

use super::{
    design::Shape,
    fit::Drawn,
    probe::{Measured, Pool},
};
use crate::{executors::Kind, stats};

/// Tasks in the batch.
const TASKS: u32 = 1000;
/// Bytes of an argument that is not empty.
const BYTES: u32 = 64 << 10;
/// The work of a task for which the model is asked, in nanoseconds.
pub(super) const FIRST: f64 = 100.0;
pub(super) const LAST: f64 = 10e6;
/// Processes that take up to this many times as long as threads count as even.
const EVEN: f64 = 1.05;
/// The checks are taken at these multiples of the crossing.
const BESIDE: [f64; 2] = [0.5, 2.0];
/// A check of longer tasks would take too long.
const LONGEST_CHECK: f64 = 200e3;

/// The pools that are compared: threads and processes, on all cores.
pub(super) fn pools(cores: u32) -> Vec<Pool> {
    vec![(Kind::Thread, cores), (Kind::Process, cores)]
}

/// The time of a batch as a line over the work of a task: what it takes without work, and what each nanosecond adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) start: f64,
    pub(super) slope: f64,
}

impl Line {
    pub(super) fn serial(tasks: u32) -> Self {
        Self { start: 0.0, slope: tasks.into() }
    }

    pub(super) fn of(fit: &Fit, coefficients: &[f64], load: &Load) -> Self {
        let at = |task_ns: f64| {
            let load = Load { work_ns: task_ns * load.tasks, ..*load };
            let terms = fit.terms.iter().zip(coefficients);
            terms.map(|(fitted, value)| load.amount(fitted.term, fit.width) * value).sum::<f64>()
        };
        Self { start: at(0.0), slope: at(1.0) - at(0.0) }
    }

    /// From which work on this one takes at most `factor` times as long: infinite where it never does, minus infinite where it
    /// always does.
    pub(super) fn reaches(self, other: Self, factor: f64) -> f64 {
        let behind = self.start - factor * other.start;
        let gain = factor * other.slope - self.slope;
        match (behind > 0.0, gain > 0.0) {
            (true, true) => behind / gain,
            (true, false) => f64::INFINITY,
            (false, _) => f64::NEG_INFINITY,
        }
    }
}

/// The crossing with its interval: `middle` is that of the fit, and `draws` are those of the drawn blocks, whose interval is
/// too narrow by `factor`.
pub(super) fn settle(middle: f64, draws: &[f64], factor: f64, blocks: usize) -> Result<Estimate, NoCrossing> {
    let within = |at: f64| match at {
        at if at < FIRST => f64::NEG_INFINITY,
        at if at > LAST => f64::INFINITY,
        at => at,
    };
    let middle_ln = middle.max(f64::MIN_POSITIVE).ln();
    let end = |share| {
        let at = stats::quantile(draws, share);
        // Widened in the logarithm, since a crossing is a quotient.
        if at > 0.0 && at.is_finite() && middle.is_finite() && middle > 0.0 {
            (middle_ln + factor * (at.ln() - middle_ln)).exp()
        } else {
            at
        }
    };
    let (low, high) = (within(end(0.025).min(middle)), within(end(0.975).max(middle)));
    match (low.is_finite(), high.is_finite()) {
        (true, true) => Ok(Estimate { median: middle, low, high, confidence: 0.95, n: blocks as u32 }),
        (false, true) => Err(NoCrossing::AtMost(high)),
        (true, false) => Err(NoCrossing::AtLeast(low)),
        (false, false) if low < high => Err(NoCrossing::Unknown),
        (false, false) if low < 0.0 => Err(NoCrossing::Below(FIRST)),
        (false, false) => Err(NoCrossing::Never(FIRST, LAST)),
    }
}

/// All crossings.
pub(super) fn find(drawn: &[(Pool, Drawn)], cores: u32) -> Vec<BreakEven> {
    let of = |kind: Kind| drawn.iter().find(|(pool, _)| *pool == (kind, cores)).map(|(_, drawn)| drawn);
    let (Some(thread), Some(process)) = (of(Kind::Thread), of(Kind::Process)) else { return Vec::new() };
    let mut found = Vec::new();
    for (bytes_in, cold) in [(0, false), (0, true), (BYTES, false)] {
        let mut add = |own: &Drawn, other: Option<&Drawn>, factor| {
            found.push(crossing(own, other, factor, (TASKS, bytes_in, cold)));
        };
        add(thread, None, 1.0);
        add(process, None, 1.0);
        add(process, Some(thread), EVEN);
        add(process, Some(thread), 1.0);
    }
    found
}

/// The crossing for a batch of so many tasks with so many bytes, on a cold or a warm pool; without another executor, with serial.
pub(super) fn crossing(
    own: &Drawn,
    other: Option<&Drawn>,
    factor: f64,
    (count, bytes_in, cold): (u32, u32, bool),
) -> BreakEven {
    let lane = (bytes_in > 0).then_some(reports::cost::Lane::Bytes);
    let tasks = f64::from(count);
    let load = Load { tasks, work_ns: 0.0, lane, bytes_in: bytes_in.into(), bytes_out: 0.0, cold };
    let middle = |drawn: &Drawn| drawn.fit.terms.iter().map(|fitted| fitted.estimate.median).collect::<Vec<f64>>();
    let line = |drawn: &Drawn, coefficients: &[f64]| Line::of(&drawn.fit, coefficients, &load);
    let against = |coefficients: &dyn Fn(&Drawn) -> Vec<f64>| {
        other.map_or(Line::serial(count), |other| line(other, &coefficients(other)))
    };
    let at = |coefficients: &dyn Fn(&Drawn) -> Vec<f64>| {
        line(own, &coefficients(own)).reaches(against(coefficients), factor)
    };
    let draws: Vec<f64> = (0..own.draws.len()).map(|index| at(&|drawn: &Drawn| drawn.draws[index].clone())).collect();
    let blocks = own.fit.terms.first().map_or(0, |fitted| fitted.estimate.n as usize);
    let widest = other.map_or(own.factor, |other| own.factor.max(other.factor));
    let settled = settle(at(&middle), &draws, widest, blocks);
    BreakEven {
        executor: own.fit.executor.clone(),
        against: other.map_or_else(|| Kind::Serial.name().to_owned(), |other| other.fit.executor.clone()),
        workers: own.fit.workers,
        tasks: count,
        bytes_in,
        cold,
        factor,
        task_ns: settled.ok(),
        missing: settled.err(),
        checks: Vec::new(),
    }
}

/// The crossings that are checked, and the work of a task beside each.
fn to_check(found: &[BreakEven]) -> impl Iterator<Item = (usize, f64)> + '_ {
    let places = found.iter().enumerate().filter(|(_, crossing)| crossing.bytes_in == 0);
    places.flat_map(|(index, crossing)| {
        let at = crossing.task_ns.filter(|task| task.median < LONGEST_CHECK);
        at.into_iter().flat_map(move |task| BESIDE.map(|factor| (index, factor * task.median)))
    })
}

/// The batches beside the crossings in which a pool takes part, in the order of [`to_check`].
pub(super) fn shapes(found: &[BreakEven], (kind, _): Pool, speed: f64) -> Vec<Shape> {
    to_check(found)
        .filter(|(index, _)| takes_part(&found[*index], kind))
        .map(|(index, task_ns)| Shape {
            tasks: found[index].tasks,
            iterations: (task_ns * speed / 1000.0) as u64,
            lane: None,
            bytes_in: 0,
            bytes_out: 0,
            cold: found[index].cold,
            held_out: false,
        })
        .collect()
}

fn takes_part(crossing: &BreakEven, kind: Kind) -> bool {
    [&crossing.executor, &crossing.against].iter().any(|name| *name == kind.name())
}

/// Adds what was measured: the ratio of both within each block, the serial time being that of the loop in the same process.
pub(super) fn check(found: &mut [BreakEven], pools: &[Pool], measured: &Measured) {
    let planned: Vec<(usize, f64)> = to_check(found).collect();
    let times = |place: usize, name: &str| -> Vec<(u32, (f64, f64))> {
        let Some(at) = pools.iter().position(|(kind, _)| kind.name() == name) else { return Vec::new() };
        let own = planned[..place].iter().filter(|(index, _)| takes_part(&found[*index], pools[at].0)).count();
        measured[at].iter().filter_map(|(block, times)| Some((*block, *times.times.get(own)?))).collect()
    };
    let mut checks: Vec<(usize, Check)> = Vec::new();
    for (place, (index, _)) in planned.iter().enumerate() {
        let crossing = &found[*index];
        let own = times(place, &crossing.executor);
        let other = times(place, &crossing.against);
        let ratio = |(block, (work, wall)): &(u32, (f64, f64))| {
            if crossing.against == Kind::Serial.name() {
                return Some(wall / work);
            }
            // Each by the loop beside it, so that a slower clock of one of the processes cancels out.
            let (_, (others_work, others_wall)) = other.iter().find(|(number, _)| number == block)?;
            Some((wall / work) / (others_wall / others_work))
        };
        let ratios: Vec<f64> = own.iter().filter_map(ratio).collect();
        let works: Vec<f64> = own.iter().map(|(_, (work, _))| work / f64::from(crossing.tasks)).collect();
        if let Some(ratio) = stats::estimate(&ratios) {
            checks.push((*index, Check { task_ns: stats::median(&works), ratio }));
        }
    }
    for (index, check) in checks {
        found[index].checks.push(check);
    }
}
