//! Claims about what a process pool costs: 12 to 15.

use reports::model::{
    ClaimFigure,
    ClaimVerdict::{Refuted, Supported},
    Estimate, FigureKind, NoCrossing,
};

use super::super::taken::{EVEN, Judged, Judgement, Side, Taken, figure, ratio, side, undecided, when};
use crate::{
    executors::Kind::{Process, Thread},
    experiments::cost::{Batch, Costs},
};

/// 12: processes are not for short tasks.
pub(in super::super) fn short_tasks(taken: &Taken) -> Judgement {
    let costs = taken.costs()?;
    let slower = costs.ratio((Process, Batch::Nothing), (Thread, Batch::Nothing))?;
    let verdict = match side(&slower, EVEN) {
        Side::Above => Supported,
        Side::Below => Refuted,
        Side::Across => undecided("the ratio of times", &slower),
    };
    let mut figures = vec![ratio("4000 tasks that do nothing, processes / threads", slower)];
    figures.extend(break_even(costs, 1000, false, "work from which 1000 tasks gain by processes"));
    Ok(Judged::new(verdict, figures))
}

/// 13: processes are not for large data.
pub(in super::super) fn large_data(taken: &Taken) -> Judgement {
    let costs = taken.costs()?;
    let copied = costs.ratio((Process, Batch::Nested), (Thread, Batch::Nested))?;
    let shared = costs.ratio((Process, Batch::Shared), (Process, Batch::Nested))?;
    let verdict = match (side(&copied, EVEN), side(&shared, 0.5)) {
        (Side::Below, _) => Refuted,
        (Side::Across, _) => undecided("the ratio of times", &copied),
        (Side::Above, Side::Below) => {
            when("the bytes are inside of another value: SharedBytes takes less than half of the time")
        }
        (Side::Above, Side::Above) => Supported,
        (Side::Above, Side::Across) => undecided("what SharedBytes takes", &shared),
    };
    let figures = vec![
        ratio("arguments of 128 KiB in a struct, processes / threads", copied),
        ratio("as SharedBytes / in a struct, on processes", shared),
    ];
    Ok(Judged::new(verdict, figures))
}

/// How many times as long it must take at least to be called significant.
const SIGNIFICANT: f64 = 2.0;

/// 14: starting processes and sending values costs much.
pub(in super::super) fn overhead(taken: &Taken) -> Judgement {
    let costs = taken.costs()?;
    let start = costs.ratio((Process, Batch::Start), (Thread, Batch::Start))?;
    let values = costs.ratio((Process, Batch::Values), (Thread, Batch::Values))?;
    let verdict = match (side(&start, SIGNIFICANT), side(&values, SIGNIFICANT)) {
        (Side::Above, Side::Above) => Supported,
        (Side::Below, Side::Below) => Refuted,
        (Side::Above, Side::Below) => when("the start of a pool is meant: sending 4 KiB costs little"),
        (Side::Below, Side::Above) => when("sending values is meant: a pool starts quickly"),
        (Side::Across, _) => undecided("the ratio of starts", &start),
        (_, Side::Across) => undecided("the ratio with values", &values),
    };
    let mut figures = vec![
        ratio("start and two tasks, processes / threads", start),
        ratio("tasks with 4 KiB, processes / threads", values),
    ];
    let time = costs.time((Process, Batch::Start)).ok();
    figures.extend(time.map(|time| figure("start and two tasks, processes", FigureKind::Duration, time)));
    Ok(Judged::new(verdict, figures))
}

/// Batches in which tasks are shorter than 0.1 s by a factor of five or more.
const SHORT: [(Batch, &str); 3] = [
    (Batch::Short, "150 tasks of 0.4 ms, processes / serial"),
    (Batch::ColdShort, "pool built for 120 tasks of 0.5 ms, processes / serial"),
    (Batch::ColdFew, "pool built for one task a core of 20 ms, processes / serial"),
];

/// What takes less than this many times as long is faster.
const FASTER: f64 = 1.0 / EVEN;

/// Numbers of tasks for which the model says from which work on they gain.
const NUMBERS: [u32; 4] = [4, 10, 100, 1000];

/// 15: below 0.1 s a task costs more than it gains.
pub(in super::super) fn tenth_of_a_second(taken: &Taken) -> Judgement {
    if taken.cores < 2 {
        return Ok(Judged::untestable("on one core no executor gains by any length of task"));
    }
    let costs = taken.costs()?;
    let measured = SHORT
        .into_iter()
        .map(|(batch, what)| Ok((what, costs.against_serial((Process, batch))?)))
        .collect::<Result<Vec<(&str, Estimate)>, String>>()?;
    let sides: Vec<Side> = measured.iter().map(|(_, estimate)| side(estimate, FASTER)).collect();
    let undecided_one = measured.iter().find(|(_, estimate)| side(estimate, FASTER) == Side::Across);
    let verdict = match (&sides[..], undecided_one) {
        (_, Some((what, estimate))) => undecided(what, estimate),
        ([Side::Below, Side::Below, Side::Below], _) => Refuted,
        ([Side::Below, ..], _) => when("the pool is built for these tasks, and they are few"),
        _ => Supported,
    };
    let mut figures: Vec<ClaimFigure> =
        break_even(costs, 1000, false, "work from which 1000 tasks gain, warm pool").into_iter().collect();
    for tasks in [taken.cores].into_iter().chain(NUMBERS.into_iter().filter(|tasks| *tasks > taken.cores)) {
        figures.extend(break_even(costs, tasks, true, &format!("{tasks} tasks, pool built for them")));
    }
    figures.extend(measured.into_iter().map(|(what, estimate)| ratio(what, estimate)));
    Ok(Judged { seen: beyond(costs, taken.cores), ..Judged::new(verdict, figures) })
}

/// The work of a task from which a batch is faster on processes than serial, by the cost model.
fn break_even(costs: &Costs, tasks: u32, cold: bool, what: &str) -> Option<ClaimFigure> {
    let estimate = costs.break_even(Process, tasks, cold)?.ok()?;
    Some(figure(what, FigureKind::Duration, estimate))
}

/// The numbers of tasks for which the model has no figure, in words.
fn beyond(costs: &Costs, cores: u32) -> String {
    if costs.break_even(Process, cores, true).is_none() {
        return "The cost model predicts batches poorly, so that nothing is said of other numbers of tasks: more samples (--reps 20) \
                or a quieter machine would tell."
            .to_owned();
    }
    let more = NUMBERS.into_iter().filter(|tasks| *tasks > cores).map(|tasks| (tasks, true));
    let texts = [(1000, false), (cores, true)].into_iter().chain(more).filter_map(|(tasks, cold)| {
        let why: NoCrossing = costs.break_even(Process, tasks, cold)?.err()?;
        Some(format!("{tasks} tasks on a {} pool: {why}.", if cold { "cold" } else { "warm" }))
    });
    texts.collect::<Vec<_>>().join(" ")
}
