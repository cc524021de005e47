//! Every verdict of every rule is reached by samples in which the truth is planted.

use reports::model::ClaimVerdict;
use workloads::Random;

use super::super::{
    cells::{
        Key,
        Load::{self, FetchFast, FetchSlow, Hash, HashLarge, Memory, Spin, Sqlite, Submit, Wait},
        Width::{self, Cores, Fifty, FourEach, One, SixteenEach},
    },
    list::{ENTRIES, How},
    taken::{Judged, Point, Taken},
};
use crate::{
    executors::Kind::{self, Process, Serial, Thread},
    experiments::cost::{
        Batch,
        planted::{Time, costs},
    },
};

/// What the samples have beside their true times.
#[derive(Clone, Copy, PartialEq)]
enum Noise {
    /// A drift of each block, and 1% of noise.
    Random,
    /// Two percent up in some blocks and down in others, which are other ones for each cell: no figure lies on one side of its truth.
    Balanced,
}

/// What a claim says of cells whose true times are these.
fn judge(number: usize, (cores, blocks): (u32, u32), noise: Noise, time: &dyn Fn(Load, Kind, Width) -> f64) -> Judged {
    let How::Cells(keys, judge) = ENTRIES[number - 1].how else { panic!("claim {number} has no cells") };
    let mut random = Random::new(number as u64);
    let mut around = move |share: f64| 1.0 + share * ((random.next_u64() % 1001) as f64 / 500.0 - 1.0);
    let mut taken = Taken { cores, ..Taken::default() };
    for block in 0..blocks {
        // A drift of the whole block says nothing of a time by itself.
        let drift = if keys.len() > 1 && number != 6 && number != 19 { around(0.2) } else { 1.0 };
        for (index, key) in keys.iter().enumerate() {
            let Key { load, kind, width } = *key;
            let factor = match noise {
                Noise::Random => drift * around(0.01),
                Noise::Balanced => 0.98 + 0.04 * f64::from((block >> (index % 3)) & 1),
            };
            let switches = if width == SixteenEach { 1000.0 * time(load, kind, width) } else { 1000.0 };
            let point = Point { block, value: factor * time(load, kind, width), switches: factor * switches };
            taken.cells.entry(*key).or_default().push(point);
        }
    }
    judge(&taken).unwrap()
}

/// The verdict in one word.
fn word(judged: &Judged) -> &'static str {
    match judged.verdict {
        ClaimVerdict::Supported => "supported",
        ClaimVerdict::Refuted => "refuted",
        ClaimVerdict::Conditional { .. } => "condition",
        ClaimVerdict::Unknown { .. } => "unknown",
        ClaimVerdict::Untestable { .. } => "untestable",
        ClaimVerdict::NotJudged => "not judged",
    }
}

fn says(number: usize, expected: &str, time: &dyn Fn(Load, Kind, Width) -> f64) {
    // What lies on a bound is not told.
    let noise = if expected == "unknown" { Noise::Balanced } else { Noise::Random };
    let judged = judge(number, (2, 9), noise, time);
    assert_eq!(word(&judged), expected, "claim {number}: {judged:?}");
    assert!(!judged.figures.is_empty(), "claim {number}");
}

#[test]
fn tasks_that_compute() {
    // Threads take so many times as long as processes.
    let kinds = |waiting: f64, computing: f64| {
        move |load, kind, _| {
            if kind == Process {
                1.0
            } else if load == Wait {
                waiting
            } else {
                computing
            }
        }
    };
    says(2, "condition", &kinds(1.0, 1.0));
    says(2, "supported", &kinds(1.0, 2.0));
    says(2, "refuted", &kinds(1.3, 1.0));
    says(2, "unknown", &kinds(1.05, 1.0));
    says(2, "unknown", &kinds(1.0, 1.05));
    for (speed_up, expected) in [(1.95, "refuted"), (1.0, "supported"), (1.3, "unknown"), (1.5, "unknown")] {
        says(16, expected, &|_, kind, _| if kind == Serial { speed_up } else { 1.0 });
    }
    for (slower, expected) in [(1.2, "supported"), (1.0, "refuted"), (1.05, "unknown")] {
        says(17, expected, &|_, _, width| if width == SixteenEach { slower } else { 1.0 });
    }
    for (slower, expected) in [(1.9, "supported"), (1.0, "refuted"), (1.3, "unknown")] {
        says(18, expected, &|_, _, width| if width == One { slower } else { 1.0 });
    }
    for (gain, expected) in [(1.0, "supported"), (1.4, "refuted"), (1.05, "unknown")] {
        says(21, expected, &|_, _, width| if width == Cores { gain } else { 1.0 });
    }
    for (regret, expected) in [(0.9, "supported"), (1.4, "refuted"), (1.05, "unknown")] {
        // Of one load only: the worst decides.
        says(22, expected, &|load, _, width| if load == Sqlite && width == Cores { regret } else { 1.0 });
    }
}

#[test]
fn tasks_that_wait() {
    for (efficiency, expected) in [(0.95, "supported"), (0.5, "refuted"), (0.8, "unknown")] {
        says(3, expected, &|_, _, _| 20e6 / efficiency);
    }
    for (gain, expected) in [(20.0, "supported"), (1.0, "refuted"), (1.2, "unknown"), (1.5, "unknown")] {
        says(20, expected, &|_, _, width| if width == Fifty { 1.0 } else { gain });
    }
    let fifty = |slow: f64, fast: f64| {
        move |load, _, width| match (load, width) {
            (FetchSlow, Cores) => slow,
            (FetchFast, Cores) => fast,
            _ => 1.0,
        }
    };
    says(23, "supported", &fifty(10.0, 2.0));
    says(23, "condition", &fifty(10.0, 1.0));
    says(23, "refuted", &fifty(1.0, 1.0));
    says(23, "unknown", &fifty(1.5, 1.0));
    says(23, "unknown", &fifty(10.0, 1.5));
}

#[test]
fn databases_files_and_pools() {
    let threads = |cores: f64, many: f64| {
        move |load, kind, width| match (load, kind, width) {
            (Sqlite, Thread, Cores) => cores,
            (Sqlite, Thread, FourEach) => many,
            _ => 1.0,
        }
    };
    says(10, "supported", &threads(1.0, 0.9));
    says(10, "refuted", &threads(1.5, 1.5));
    says(10, "condition", &threads(1.0, 1.5));
    says(10, "condition", &threads(1.5, 1.0));
    says(10, "unknown", &threads(1.05, 1.0));
    says(10, "unknown", &threads(1.0, 1.05));
    for (slower, expected) in [(1.0, "refuted"), (1.5, "supported"), (1.05, "unknown")] {
        says(11, expected, &|load, kind, _| {
            if kind == Thread && (load == Hash || load == HashLarge) { slower } else { 1.0 }
        });
    }
    for (nanos, expected) in [(1e3, "supported"), (1e6, "refuted"), (1e5, "unknown")] {
        says(6, expected, &|load, kind, _| if load == Submit && kind == Process { nanos } else { 1e3 });
    }
    // Memory of 32 workers beside that of two, and switches.
    let many = |memory: f64, switches: f64| {
        move |load, _, width| match (load, width) {
            (Memory, SixteenEach) => memory,
            (Spin, SixteenEach) => switches,
            _ => 1.0,
        }
    };
    says(19, "supported", &many(5.0, 2.0));
    says(19, "condition", &many(5.0, 1.0));
    says(19, "condition", &many(0.5, 2.0));
    says(19, "refuted", &many(0.5, 1.0));
    says(19, "unknown", &many(1.0, 2.0));
    says(19, "unknown", &many(5.0, 1.05));
}

#[test]
fn few_samples_decide_nothing_and_some_machines_cannot_show_it() {
    for (index, entry) in ENTRIES.iter().enumerate().filter(|(_, entry)| matches!(entry.how, How::Cells(..))) {
        let judged = judge(index + 1, (2, 3), Noise::Random, &|_, _, _| 1.0);
        assert_eq!(word(&judged), "unknown", "claim {}: {judged:?}", entry.number);
        let ClaimVerdict::Unknown { why } = judged.verdict else { panic!() };
        assert!(why.contains("--reps 6"), "{why}");
    }
    for (number, cores) in [(16, 1), (18, 1), (3, 64), (20, 64), (23, 64)] {
        let judged = judge(number, (cores, 9), Noise::Random, &|_, _, _| 1.0);
        assert_eq!(word(&judged), "untestable", "claim {number}");
    }
}

#[test]
fn a_cell_without_samples_is_said_with_its_reason() {
    for entry in &ENTRIES {
        let (How::Cells(_, judge) | How::Costs(judge)) = entry.how else { continue };
        let cores = 2;
        assert!(
            judge(&Taken { cores, ..Taken::default() }).unwrap_err().contains("was not measured"),
            "{}",
            entry.number
        );
    }
    let How::Cells(keys, judge) = ENTRIES[10].how else { panic!() };
    let failed = keys.iter().map(|key| (*key, "no such file".to_owned())).collect();
    assert_eq!(judge(&Taken { failed, ..Taken::default() }), Err("no such file".to_owned()));
}

/// What a claim says of planted costs.
fn of_costs(number: usize, expected: &str, time: Time<'_>) -> Judged {
    let blocks = if expected == "unknown" { 3 } else { 6 };
    let How::Costs(judge) = ENTRIES[number - 1].how else { panic!("claim {number} asks for no costs") };
    let judged = judge(&Taken { cores: 2, costs: Some(costs(2, blocks, time)), ..Taken::default() }).unwrap();
    assert_eq!(word(&judged), expected, "claim {number}: {judged:?}");
    judged
}

#[test]
fn what_processes_cost() {
    let slower = |batch: Batch, times: f64| {
        move |kind: Kind, of: Option<Batch>, _: bool, tasks: f64, work: f64| {
            (1000.0 * tasks + work / 2.0) * if kind == Process && of == Some(batch) { times } else { 1.0 }
        }
    };
    of_costs(12, "supported", &slower(Batch::Nothing, 3.0));
    of_costs(12, "refuted", &slower(Batch::Nothing, 1.0));
    of_costs(12, "refuted", &slower(Batch::Values, 9.0));
    (12..=14).for_each(|number| drop(of_costs(number, "unknown", &slower(Batch::Nothing, 3.0))));
    of_costs(13, "condition", &slower(Batch::Nested, 9.0));
    of_costs(13, "supported", &slower(Batch::Nested, 1.3));
    of_costs(13, "refuted", &slower(Batch::Nested, 1.0));
    of_costs(14, "refuted", &slower(Batch::Nothing, 9.0));
    of_costs(14, "condition", &slower(Batch::Start, 9.0));
    of_costs(14, "condition", &slower(Batch::Values, 9.0));
    of_costs(14, "supported", &|kind, of, cold, tasks, work| {
        slower(Batch::Start, 9.0)(kind, of, cold, tasks, work) + slower(Batch::Values, 9.0)(kind, of, cold, tasks, work)
    });
}

#[test]
fn a_tenth_of_a_second_warm_and_cold_and_by_number_of_tasks() {
    // Two milliseconds for a pool, one microsecond for a task, two cores.
    let real = |_: Kind, _: Option<Batch>, cold: bool, tasks: f64, work: f64| {
        (if cold { 2e6 } else { 0.0 }) + 1000.0 * tasks + work / 2.0
    };
    let judged = of_costs(15, "refuted", &real);
    let figure = |what: &str| {
        let found = judged.figures.iter().find(|figure| figure.what.starts_with(what));
        found.unwrap_or_else(|| panic!("{what}: {judged:?}")).estimate.median
    };
    // What is paid once is divided among the tasks: (start / tasks + cost of a task) / (1 - 1 / cores).
    for (what, truth) in [
        ("work from which 1000 tasks gain, warm", 2e3),
        ("2 tasks, pool built", 2.002e6),
        ("10 tasks, pool built", 402e3),
        ("1000 tasks, pool built", 6e3),
    ] {
        assert!((figure(what) / truth - 1.0).abs() < 0.1, "{what}: {} {truth}", figure(what));
    }
    assert_eq!(judged.seen, "");
    let poor = of_costs(15, "refuted", &|_, of, cold, tasks, work| {
        real(Process, of, cold, tasks, work) * if of.is_none() && tasks > 256.0 { 3.0 } else { 1.0 }
    });
    assert!(poor.seen.contains("model predicts batches poorly") && poor.figures.len() == 3, "{poor:?}");
    // A pool that takes a second pays off only for many tasks.
    of_costs(15, "condition", &|_, _, cold, tasks, work| if cold { 1e9 } else { 0.0 } + 1000.0 * tasks + work / 2.0);
    of_costs(15, "supported", &|_, _, _, tasks, work| 1e6 * tasks + work);
    of_costs(15, "supported", &|_, _, _, _, work| work);
    of_costs(15, "unknown", &real);
    let How::Costs(judge) = ENTRIES[14].how else { panic!() };
    assert_eq!(word(&judge(&Taken { cores: 1, ..Taken::default() }).unwrap()), "untestable");
}
