//! Claims about tasks that wait: 3, 20, 23.

use reports::model::{
    ClaimVerdict::{Refuted, Supported},
    FigureKind,
};

use super::super::{
    cells::{
        Key,
        Load::{FetchFast, FetchSlow, Wait},
        WAITS,
        Width::{Cores, Fifty},
        key,
    },
    taken::{EVEN, Judged, Judgement, Side, Taken, figure, ratio, side, undecided, when},
};
use crate::executors::Kind::Thread;

/// The last number of cores that 50 workers are clearly more than.
const FEW_CORES: u32 = 16;
const MANY_CORES: &str = "50 workers are not clearly more than its cores";

pub(in super::super) const OVERLAP: &[Key] = &[key(Wait, Thread, Fifty)];

/// The share of the ideal that 50 threads must reach.
const EFFICIENT: f64 = 0.8;

/// 3: threads that wait do not hold each other up.
pub(in super::super) fn overlap(taken: &Taken) -> Judgement {
    if taken.cores > FEW_CORES {
        return Ok(Judged::untestable(MANY_CORES));
    }
    let (tasks, micros) = WAITS;
    let ideal = f64::from(tasks) * micros as f64 * 1000.0 / 50.0;
    let efficiency = taken.estimate(OVERLAP[0], |point| ideal / point.value)?;
    let verdict = match side(&efficiency, EFFICIENT) {
        Side::Above => Supported,
        Side::Below => Refuted,
        Side::Across => undecided("the efficiency", &efficiency),
    };
    Ok(Judged::new(verdict, vec![figure("ideal time / time of 50 threads", FigureKind::Share, efficiency)]))
}

pub(in super::super) const MORE_WORKERS: &[Key] = &[key(Wait, Thread, Cores), key(Wait, Thread, Fifty)];

/// 20: more workers than cores help tasks that wait.
pub(in super::super) fn more_workers(taken: &Taken) -> Judgement {
    if taken.cores > FEW_CORES {
        return Ok(Judged::untestable(MANY_CORES));
    }
    let gain = taken.ratio(MORE_WORKERS[0], MORE_WORKERS[1])?;
    let verdict = match (side(&gain, 1.5), side(&gain, EVEN)) {
        (Side::Above, _) => Supported,
        (_, Side::Below) => Refuted,
        _ => undecided("the gain", &gain),
    };
    Ok(Judged::new(verdict, vec![ratio("gain of 50 threads over one a core", gain)]))
}

pub(in super::super) const FIFTY: &[Key] = &[
    key(FetchSlow, Thread, Cores),
    key(FetchSlow, Thread, Fifty),
    key(FetchFast, Thread, Cores),
    key(FetchFast, Thread, Fifty),
];

/// 23: 50 workers for requests.
pub(in super::super) fn fifty(taken: &Taken) -> Judgement {
    if taken.cores > FEW_CORES {
        return Ok(Judged::untestable(MANY_CORES));
    }
    let slow = taken.ratio(FIFTY[0], FIFTY[1])?;
    let fast = taken.ratio(FIFTY[2], FIFTY[3])?;
    let verdict = match (side(&slow, 1.5), side(&fast, 1.5)) {
        (Side::Above, Side::Above) => Supported,
        (Side::Above, Side::Below) => {
            when("the answers are late: requests that are answered at once gain little from 50 workers")
        }
        (Side::Below, _) => Refuted,
        (Side::Across, _) => undecided("the gain with late answers", &slow),
        (_, Side::Across) => undecided("the gain with answers at once", &fast),
    };
    let figures = vec![
        ratio("gain of 50 threads over one a core, answers after 20 ms", slow),
        ratio("the same, answers at once", fast),
    ];
    Ok(Judged::new(verdict, figures))
}
