//! Claims about tasks that compute: 2, 16, 17, 18, 21, 22.

use reports::model::ClaimVerdict::{Refuted, Supported};

use super::super::{
    cells::{
        Key,
        Load::{Hash, Spin, Sqlite, Wait},
        Width::{Cores, Fifty, FourEach, One, SixteenEach},
        key,
    },
    taken::{EVEN, Judged, Judgement, Side, Taken, ratio, side, undecided, when},
};
use crate::executors::Kind::{Process, Serial, Thread};

const ONE_CORE: &str = "the machine has one core";

pub(in super::super) const KINDS_OF_WORK: &[Key] =
    &[key(Wait, Thread, Fifty), key(Wait, Process, Fifty), key(Spin, Thread, Cores), key(Spin, Process, Cores)];

/// 2: threads for tasks that wait, processes for those that compute.
pub(in super::super) fn kinds_of_work(taken: &Taken) -> Judgement {
    let [thread_waits, process_waits, thread, process] = [0, 1, 2, 3].map(|index| KINDS_OF_WORK[index]);
    let waits = taken.ratio(thread_waits, process_waits)?;
    let computes = taken.ratio(thread, process)?;
    let verdict = match (side(&waits, EVEN), side(&computes, EVEN)) {
        (Side::Above, _) => Refuted,
        (Side::Across, _) => undecided("the time of tasks that wait", &waits),
        (Side::Below, Side::Below) => when("the tasks wait: threads compute as fast as processes"),
        (Side::Below, Side::Above) => Supported,
        (Side::Below, Side::Across) => undecided("the time of tasks that compute", &computes),
    };
    let figures = vec![
        ratio("computing, threads / processes", computes),
        ratio("waiting on 50 workers, threads / processes", waits),
    ];
    Ok(Judged::new(verdict, figures))
}

pub(in super::super) const PARALLEL: &[Key] = &[key(Spin, Serial, One), key(Spin, Thread, Cores)];

/// 16: threads do not compute in parallel.
pub(in super::super) fn parallel(taken: &Taken) -> Judgement {
    if taken.cores < 2 {
        return Ok(Judged::untestable(ONE_CORE));
    }
    let speed_up = taken.ratio(PARALLEL[0], PARALLEL[1])?;
    let verdict = match (side(&speed_up, 0.75 * f64::from(taken.cores)), side(&speed_up, 1.1)) {
        (Side::Above, _) => Refuted,
        (_, Side::Below) => Supported,
        _ => undecided("the speed-up", &speed_up),
    };
    Ok(Judged::new(verdict, vec![ratio("speed-up of a thread for each core", speed_up)]))
}

pub(in super::super) const CROWD: &[Key] = &[key(Spin, Thread, SixteenEach), key(Spin, Thread, Cores)];

/// 17: many threads are slower because they switch.
pub(in super::super) fn crowd(taken: &Taken) -> Judgement {
    let slower = taken.ratio(CROWD[0], CROWD[1])?;
    let verdict = match side(&slower, EVEN) {
        Side::Above => Supported,
        Side::Below => Refuted,
        Side::Across => undecided("the ratio of times", &slower),
    };
    let mut figures = vec![ratio("time of 16 threads a core / one", slower)];
    figures.extend(switches(taken).ok());
    Ok(Judged::new(verdict, figures))
}

fn switches(taken: &Taken) -> Result<reports::model::ClaimFigure, String> {
    // A sample without any switch would have no ratio.
    let switches = taken.ratio_by(CROWD[0], CROWD[1], |point| point.switches.max(1.0))?;
    Ok(ratio("context switches of 16 threads a core / one", switches))
}

pub(in super::super) const TOO_FEW: &[Key] = &[key(Spin, Thread, One), key(Spin, Thread, Cores)];

/// 18: too few workers leave cores idle.
pub(in super::super) fn too_few(taken: &Taken) -> Judgement {
    if taken.cores < 2 {
        return Ok(Judged::untestable(ONE_CORE));
    }
    let slower = taken.ratio(TOO_FEW[0], TOO_FEW[1])?;
    let verdict = match (side(&slower, f64::midpoint(1.0, f64::from(taken.cores))), side(&slower, EVEN)) {
        (Side::Above, _) => Supported,
        (_, Side::Below) => Refuted,
        _ => undecided("the ratio of times", &slower),
    };
    Ok(Judged::new(verdict, vec![ratio("time of one thread / one for each core", slower)]))
}

pub(in super::super) const MORE_PROCESSES: &[Key] = &[key(Spin, Process, Cores), key(Spin, Process, FourEach)];

/// 21: more processes than cores do not help tasks that compute.
pub(in super::super) fn more_processes(taken: &Taken) -> Judgement {
    let gain = taken.ratio(MORE_PROCESSES[0], MORE_PROCESSES[1])?;
    let verdict = match side(&gain, EVEN) {
        Side::Below => Supported,
        Side::Above => Refuted,
        Side::Across => undecided("the gain", &gain),
    };
    Ok(Judged::new(verdict, vec![ratio("gain of four processes a core over one", gain)]))
}

/// A worker for each core, and another number.
const DEFAULTS: [(&str, Key, Key); 5] = [
    ("computing, threads, over one", key(Spin, Thread, Cores), key(Spin, Thread, One)),
    ("computing, threads, over 16 a core", key(Spin, Thread, Cores), key(Spin, Thread, SixteenEach)),
    ("computing, processes, over 4 a core", key(Spin, Process, Cores), key(Spin, Process, FourEach)),
    ("hashing, threads, over 4 a core", key(Hash, Thread, Cores), key(Hash, Thread, FourEach)),
    ("SQLite, threads, over 4 a core", key(Sqlite, Thread, Cores), key(Sqlite, Thread, FourEach)),
];

pub(in super::super) const DEFAULT: &[Key] = &[
    key(Spin, Thread, Cores),
    key(Spin, Thread, One),
    key(Spin, Thread, SixteenEach),
    key(Spin, Process, Cores),
    key(Spin, Process, FourEach),
    key(Hash, Thread, Cores),
    key(Hash, Thread, FourEach),
    key(Sqlite, Thread, Cores),
    key(Sqlite, Thread, FourEach),
];

/// 22: one worker for each core is a good default for tasks that compute.
pub(in super::super) fn default(taken: &Taken) -> Judgement {
    let mut regrets = DEFAULTS
        .into_iter()
        .map(|(what, own, other)| Ok((what, taken.ratio(own, other)?)))
        .collect::<Result<Vec<_>, String>>()?;
    // The worst one decides, and comes first.
    regrets.sort_by(|(_, a), (_, b)| b.median.total_cmp(&a.median));
    let is = |wanted: Side| regrets.iter().find(|(_, regret)| side(regret, EVEN) == wanted);
    let verdict = match (is(Side::Above), is(Side::Across)) {
        (Some(_), _) => Refuted,
        (None, Some((what, regret))) => undecided(what, regret),
        (None, None) => Supported,
    };
    let figures = regrets.into_iter().map(|(what, regret)| ratio(format!("time of one a core, {what}"), regret));
    Ok(Judged::new(verdict, figures.collect()))
}
