//! Claims about pools themselves: 6 and 19.

use reports::model::{
    ClaimVerdict::{Refuted, Supported},
    Estimate, FigureKind,
};

use super::super::{
    cells::{
        Key,
        Load::{Memory, Spin, Submit},
        Width::{Cores, SixteenEach},
        key,
    },
    taken::{EVEN, Judged, Judgement, Side, Taken, figure, ratio, side, undecided, when},
};
use crate::{
    executors::Kind::{Process, Thread},
    stats,
};

pub(in super::super) const SUBMIT: &[Key] = &[key(Submit, Thread, Cores), key(Submit, Process, Cores)];

/// What a submit may take, in nanoseconds.
const AT_ONCE: f64 = 100_000.0;

/// 6: `submit` returns at once.
pub(in super::super) fn submit(taken: &Taken) -> Judgement {
    let [thread, process] = [0, 1].map(|index| taken.estimate(SUBMIT[index], |point| point.value));
    let (thread, process) = (thread?, process?);
    let verdict = match [side(&thread, AT_ONCE), side(&process, AT_ONCE)] {
        [Side::Below, Side::Below] => Supported,
        [Side::Above, _] | [_, Side::Above] => Refuted,
        [Side::Across, _] => undecided("the time on threads", &thread),
        [_, Side::Across] => undecided("the time on processes", &process),
    };
    let figures = vec![
        figure("99% of submits take less than, threads", FigureKind::Duration, thread),
        figure("the same, processes", FigureKind::Duration, process),
    ];
    let seen = "A bounded queue that is full makes submit wait, and a serial executor runs the task in it.".to_owned();
    Ok(Judged { seen, ..Judged::new(verdict, figures) })
}

pub(in super::super) const TOO_MANY: &[Key] = &[
    key(Memory, Thread, Cores),
    key(Memory, Thread, SixteenEach),
    key(Memory, Process, Cores),
    key(Memory, Process, SixteenEach),
    key(Spin, Thread, SixteenEach),
    key(Spin, Thread, Cores),
];

/// 19: too many workers waste memory, and switch.
pub(in super::super) fn too_many(taken: &Taken) -> Judgement {
    let thread = per_worker(taken, TOO_MANY[0], TOO_MANY[1])?;
    let process = per_worker(taken, TOO_MANY[2], TOO_MANY[3])?;
    let switches = taken.ratio_by(TOO_MANY[4], TOO_MANY[5], |point| point.switches.max(1.0))?;
    let verdict = match (side(&process, 0.0), side(&switches, EVEN)) {
        (Side::Above, Side::Above) => Supported,
        (Side::Above, Side::Below) => when("memory is meant: the tasks switch no more often"),
        (Side::Below, Side::Above) => when("switches are meant: more workers take no more memory"),
        (Side::Below, Side::Below) => Refuted,
        (Side::Across, _) => undecided("the memory of a worker process", &process),
        (_, Side::Across) => undecided("the ratio of switches", &switches),
    };
    let figures = vec![
        figure("memory of one more worker process", FigureKind::Bytes, process),
        figure("of one more thread", FigureKind::Bytes, thread),
        ratio("context switches of 16 threads a core / one", switches),
    ];
    Ok(Judged::new(verdict, figures))
}

/// Memory of a worker beyond one for each core, by block.
fn per_worker(taken: &Taken, few: Key, many: Key) -> Result<Estimate, String> {
    let more = f64::from(many.width.workers(taken.cores) - few.width.workers(taken.cores));
    let few = taken.points(few)?;
    let more = taken.points(many)?.iter().filter_map(|point| {
        let other = few.iter().find(|other| other.block == point.block)?;
        Some((point.value - other.value) / more)
    });
    stats::estimate(&more.collect::<Vec<_>>()).ok_or_else(|| "no two samples of one block".to_owned())
}
