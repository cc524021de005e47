//! Claims about databases and files: 10 and 11.

use reports::model::ClaimVerdict::{Refuted, Supported};

use super::super::{
    cells::{
        Key,
        Load::{Hash, HashLarge, Sqlite},
        Width::{Cores, FourEach, One},
        key,
    },
    taken::{EVEN, Judged, Judgement, Side, Taken, ratio, side, undecided, when},
};
use crate::executors::Kind::{Process, Serial, Thread};

pub(in super::super) const DATABASES: &[Key] = &[
    key(Sqlite, Thread, Cores),
    key(Sqlite, Process, Cores),
    key(Sqlite, Thread, FourEach),
    key(Sqlite, Process, FourEach),
    key(Sqlite, Serial, One),
];

/// 10: database queries belong on threads.
pub(in super::super) fn databases(taken: &Taken) -> Judgement {
    let cores = taken.ratio(DATABASES[0], DATABASES[1])?;
    let many = taken.ratio(DATABASES[2], DATABASES[3])?;
    let speed_up = taken.ratio(DATABASES[4], DATABASES[0])?;
    let verdict = match (side(&cores, EVEN), side(&many, EVEN)) {
        (Side::Below, Side::Below) => Supported,
        (Side::Above, Side::Above) => Refuted,
        (Side::Below, Side::Above) => {
            when("there are no more threads than cores: with four a core, processes are faster")
        }
        (Side::Above, Side::Below) => when("there are more threads than cores: with one a core, processes are faster"),
        (Side::Across, _) => undecided("the ratio with one worker a core", &cores),
        (_, Side::Across) => undecided("the ratio with four workers a core", &many),
    };
    let figures = vec![
        ratio("one worker a core, threads / processes", cores),
        ratio("four a core, threads / processes", many),
        ratio("speed-up of one thread a core", speed_up),
    ];
    Ok(Judged::new(verdict, figures))
}

pub(in super::super) const HASHING: &[Key] =
    &[key(Hash, Thread, Cores), key(Hash, Process, Cores), key(HashLarge, Thread, Cores)];

/// 11: hashing files needs processes.
pub(in super::super) fn hashing(taken: &Taken) -> Judgement {
    let threads = taken.ratio(HASHING[0], HASHING[1])?;
    let chunks = taken.ratio(HASHING[0], HASHING[2])?;
    let verdict = match side(&threads, EVEN) {
        Side::Below => Refuted,
        Side::Above => Supported,
        Side::Across => undecided("the ratio of times", &threads),
    };
    let figures = vec![
        ratio("hashing files, threads / processes", threads),
        ratio("chunks of 4 KiB / of 256 KiB, on threads", chunks),
    ];
    Ok(Judged::new(verdict, figures))
}
