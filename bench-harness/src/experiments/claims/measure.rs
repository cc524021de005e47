//! Takes the samples: scenarios in processes of their own, and cells in blocks.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use reports::model::{ClaimFigure, ClaimVerdict};
use serde::de::DeserializeOwned;

use super::{
    cells::{Key, Load, Loads},
    scenarios::{ClaimProbe, Seen, Value},
    taken::{Judged, Point, Taken, figure},
};
use crate::{
    cell::Measured,
    experiments::experiment::Job,
    runner::{child, progress::Progress, schedule::interleave},
    stats,
};

/// The longest that one scenario may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks a process of its own.
fn ask<T: DeserializeOwned>(probe: ClaimProbe) -> Result<T, String> {
    let input = serde_json::to_vec(&probe).map_err(|error| error.to_string())?;
    let output = child::run_lab("claim-sample", &input, LIMIT)?;
    let answer: Result<T, String> =
        serde_json::from_slice(&output).map_err(|error| format!("invalid output: {error}"))?;
    answer
}

/// Runs a scenario some times. `None` if it was stopped before the first.
pub(super) fn scenario(number: u32, times: u32, progress: &mut Progress) -> Option<Judged> {
    let mut all = Vec::new();
    for _ in 0..times {
        if progress.interrupted() {
            break;
        }
        progress.begin(&format!("claim {number}"));
        match ask(ClaimProbe::Scenario(number)) {
            Ok(seen) => all.push(seen),
            Err(why) => {
                let why = format!("its program failed: {why}");
                return Some(Judged::new(ClaimVerdict::Unknown { why }, Vec::new()));
            }
        }
        progress.step();
    }
    merge(all)
}

/// What several runs of one scenario say together.
pub(super) fn merge(all: Vec<Seen>) -> Option<Judged> {
    let first = all.first()?;
    // Where one run shows something else than the others, that one is told of.
    let odd = all.iter().find(|seen| seen.verdict != first.verdict);
    let (verdict, seen) = match odd {
        Some(odd) => {
            let why = format!("its runs differ: {}, and {}", first.seen, odd.seen);
            (ClaimVerdict::Unknown { why }, String::new())
        }
        None => (first.verdict.clone(), format!("{}, in {} runs", first.seen, all.len())),
    };
    Some(Judged { verdict, figures: figures(&all), seen })
}

fn figures(all: &[Seen]) -> Vec<ClaimFigure> {
    let Some(first) = all.first() else { return Vec::new() };
    let of = |Value { what, kind, .. }: &Value| {
        let same = all.iter().flat_map(|seen| &seen.values).filter(|value| value.what == *what);
        Some(figure(what, *kind, stats::estimate(&same.map(|value| value.value).collect::<Vec<_>>())?))
    };
    first.values.iter().filter_map(of).collect()
}

/// Takes all cells, each once in every block.
pub(super) fn cells(
    keys: &[Key],
    (blocks, seed): (u32, u64),
    job: &Job<'_>,
    progress: &mut Progress,
    taken: &mut Taken,
) {
    let settings = job.settings;
    let loads = keys.iter().map(|key| key.load);
    let loads = Loads::prepare(loads, (settings.registry, &settings.data), job.cores, settings.quick);
    let mut digests: BTreeMap<Load, String> = BTreeMap::new();
    for slot in interleave(keys.len(), blocks, seed) {
        if progress.interrupted() {
            break;
        }
        let key = keys[slot.cell];
        progress.begin(&format!("{:?} on {} with {} workers", key.load, key.kind, key.width.workers(job.cores)));
        // What has failed once fails again, and may take its whole time limit to do so.
        if let Entry::Vacant(failed) = taken.failed.entry(key) {
            match take(key, &loads, job, progress, &mut digests) {
                Ok(point) => taken.cells.entry(key).or_default().push(Point { block: slot.block, ..point }),
                Err(why) => drop(failed.insert(why)),
            }
        }
        progress.step();
    }
}

fn take(
    key: Key,
    loads: &Loads,
    job: &Job<'_>,
    progress: &mut Progress,
    digests: &mut BTreeMap<Load, String>,
) -> Result<Point, String> {
    let workers = key.width.workers(job.cores);
    let point = |value: f64| Point { value, ..Point::default() };
    match key.load {
        Load::Submit => ask(ClaimProbe::Submit(key.kind, workers)).map(point),
        Load::Memory => {
            let spec = loads.spec(key, job.cores, &job.settings.data)?;
            let peak = child::peak_memory(&spec);
            peak.map(|bytes| point(bytes as f64)).ok_or_else(|| "this system does not tell the memory".to_owned())
        }
        load => {
            let spec = loads.spec(key, job.cores, &job.settings.data)?;
            let Measured { makespan_ns, counters, first_error, digest, .. } = progress.sampler.sample(&spec)?;
            if let Some(error) = first_error {
                return Err(format!("a task of {} failed: {error}", key.kind));
            }
            if *digests.entry(load).or_insert_with(|| digest.clone()) != digest {
                return Err(format!("{} gave other answers than another executor", key.kind));
            }
            let switches = (counters.voluntary_switches + counters.involuntary_switches) as f64;
            Ok(Point { switches, ..point(makespan_ns as f64) })
        }
    }
}
