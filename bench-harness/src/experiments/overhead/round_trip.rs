//! One empty task at a time, from submit to its result.
//!
//! Rounds of trips are interleaved with rounds of a bare spinning ping-pong in the same process, and each is divided by the
//! ping-pong before it: on a machine whose clock and neighbors change, that ratio is stable where both times are not.
//!
//! The tail needs another comparison. Where a core is interrupted about every 50 µs (see `noise`), 1% of all ping-pongs are
//! hit, and three times as many trips, which take three times as long: chance decides whether the ping-pong's p99 is a bare
//! ping-pong or an interruption, and whether the ratio to it is 10 or 0.1. So the trip's p99 is also divided by the p99 of as
//! many ping-pongs in a row as a trip may cost: these are exposed to interruptions for as long as the trip may be.

use std::time::Instant;

use reports::{model::Reason, overhead::Unit};

use super::{
    Sizes,
    contenders::with_contender,
    measurement::{Probe, Reading, Subject},
    throughput::speed,
};
use crate::{
    contender::{Contender, ContenderVisit},
    peers::{
        Peer,
        baselines::{Baseline, PingPong, WARM_UP},
    },
    stats::{nanos, percentiles},
};

pub(super) const P50: &str = "p50";
pub(super) const P99: &str = "p99";
pub(super) const P50_RATIO: &str = "p50 / ping-pong p50";
pub(super) const P99_RATIO: &str = "p99 / ping-pong p99";
pub(super) const P99_TO_P50: &str = "p99 / ping-pong p50";
pub(super) const P99_TO_FIVE: &str = "p99 / p99 of five ping-pongs";

/// Rounds for each that the sizes ask for: they are short, and the more often they are interleaved, the better.
const MORE: u32 = 3;

/// Why there is no ping-pong on a busy machine.
const NO_CORES: &str = "the two parties never had a core each: something else is using them";

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let sizes = probe.sizes;
    let mut bare = sizes.ratios.then(|| PingPong::new(reference(probe.subject)));
    // The trips have a time even where there is no ping-pong.
    let mut reference = |count: u32| match &mut bare {
        Some(Ok(bare)) => on_two_cores(|| bare.trips(count)),
        _ => Vec::new(),
    };
    let mut rounds = Rounds::default();
    let mut note = probe.subject.note().to_owned();
    match probe.subject {
        Subject::Baseline(baseline) => {
            let mut ping_pong = PingPong::new(baseline)?;
            for _ in 0..sizes.rounds * MORE {
                let bare = reference(sizes.trips);
                let mut trips = || ping_pong.trips(sizes.trips);
                let spins = matches!(baseline, Baseline::SpinThreads | Baseline::SpinProcesses);
                rounds.add(bare, if spins { on_two_cores(trips) } else { trips() });
            }
            if rounds.p50.is_empty() {
                return Err(NO_CORES.into());
            }
        }
        Subject::Peer(Peer::Python(python)) => {
            for _ in 0..sizes.rounds.min(2) {
                let bare = reference(sizes.trips);
                let figures = python.measure(probe.workers, "round-trip", sizes.trips / 2, 1)?;
                rounds.add_percentiles(
                    bare,
                    figures.values.first().copied().unwrap_or(f64::NAN),
                    figures.p99.first().copied().unwrap_or(f64::NAN),
                );
                note = python.note(&figures.version);
            }
        }
        subject => {
            with_contender(subject, probe.workers, Trips { sizes, reference: &mut reference, into: &mut rounds })??
        }
    }
    let missing = match &bare {
        Some(Err(error)) => Some(error.as_str()),
        Some(Ok(_)) if rounds.p50_ratio.is_empty() => Some(NO_CORES),
        _ => None,
    };
    if let Some(why) = missing {
        note = format!("{note} (no ping-pong beside it: {why})").trim_start().to_owned();
    }
    Ok(rounds.readings(probe.subject).into_iter().map(|reading| reading.with_note(note.clone())).collect())
}

/// In a round above this time, the two peers share a core, and the scheduler passes it from one to the other: this is no
/// baseline, since every executor would look good beside it.
const SHARED_CORE_NS: u64 = 2000;

/// Trips of a round in which each peer had a core; empty after a few attempts without one.
fn on_two_cores(mut trips: impl FnMut() -> Vec<u64>) -> Vec<u64> {
    for _ in 0..5 {
        let times = trips();
        if percentiles(times.clone()).is_some_and(|times| times.p50_ns < SHARED_CORE_NS) {
            return times;
        }
    }
    Vec::new()
}

/// The ping-pong that a subject is compared with: between processes for a subject with worker processes.
fn reference(subject: Subject) -> Baseline {
    match subject {
        Subject::Lab(kind) if kind.has_processes() => Baseline::SpinProcesses,
        Subject::Peer(peer) if peer.has_processes() => Baseline::SpinProcesses,
        Subject::Baseline(Baseline::SpinProcesses | Baseline::FutexProcesses | Baseline::PipeProcesses) => {
            Baseline::SpinProcesses
        }
        _ => Baseline::SpinThreads,
    }
}

struct Trips<'a> {
    sizes: Sizes,
    reference: &'a mut dyn FnMut(u32) -> Vec<u64>,
    into: &'a mut Rounds,
}

impl ContenderVisit for Trips<'_> {
    type Output = Result<(), Reason>;

    fn visit<C: Contender>(self, contender: &C) -> Self::Output {
        // Single tasks are no faster than many at once, so no more of them fit into a round.
        let count = self.sizes.tasks(speed(contender)?).min(self.sizes.trips);
        for _ in 0..self.sizes.rounds * MORE {
            let bare = (self.reference)(self.sizes.trips);
            let mut lost = 0;
            // As in the ping-pong, the worker wakes up before the first trip that counts.
            let warm_up = WARM_UP.min(count);
            let trips = (0..warm_up + count).map(|_| {
                let start = Instant::now();
                let answer = contender.submit(1).and_then(|ticket| contender.wait(ticket));
                let time = nanos(start.elapsed());
                lost += u32::from(answer != Some(1));
                time
            });
            let trips: Vec<_> = trips.collect();
            if lost > 0 {
                return Err(Reason::wrong(format!("{lost} of {} tasks gave none", trips.len())));
            }
            let trips = trips[warm_up as usize..].to_vec();
            self.into.add(bare, trips);
        }
        Ok(())
    }
}

/// A trip should cost at most this many ping-pongs.
const IN_A_ROW: usize = 5;

/// Percentiles of each round, and their ratios to the ping-pong's.
#[derive(Debug, Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    p50_ratio: Vec<f64>,
    p99_ratio: Vec<f64>,
    p99_to_p50: Vec<f64>,
    p99_to_five: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, bare: Vec<u64>, trips: Vec<u64>) {
        if let Some(trips) = percentiles(trips) {
            self.add_percentiles(bare, trips.p50_ns as f64, trips.p99_ns as f64);
        }
    }

    fn add_percentiles(&mut self, bare: Vec<u64>, p50: f64, p99: f64) {
        self.p50.push(p50);
        self.p99.push(p99);
        let five = bare.chunks_exact(IN_A_ROW).map(|trips| trips.iter().sum()).collect();
        if let (Some(bare), Some(five)) = (percentiles(bare), percentiles(five)) {
            self.p50_ratio.push(p50 / bare.p50_ns as f64);
            self.p99_ratio.push(p99 / bare.p99_ns as f64);
            self.p99_to_p50.push(p99 / bare.p50_ns as f64);
            self.p99_to_five.push(p99 / five.p99_ns as f64);
        }
    }

    fn readings(self, subject: Subject) -> Vec<Reading> {
        let ratio = |name, values| Reading::new(subject, name, Unit::Ratio, values);
        vec![
            Reading::new(subject, P50, Unit::Nanoseconds, self.p50),
            Reading::new(subject, P99, Unit::Nanoseconds, self.p99),
            ratio(P50_RATIO, self.p50_ratio),
            ratio(P99_RATIO, self.p99_ratio),
            ratio(P99_TO_P50, self.p99_to_p50).into_detail(),
            ratio(P99_TO_FIVE, self.p99_to_five).into_detail(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_pong_on_one_core_is_tried_again_and_then_left_out() {
        let mut rounds = vec![vec![300; 9], vec![9000; 9], vec![9000; 9]];
        assert_eq!(on_two_cores(|| rounds.pop().unwrap_or_default()), vec![300; 9]);
        assert!(on_two_cores(|| vec![9000; 9]).is_empty());
    }

    #[test]
    fn each_round_is_divided_by_its_own_ping_pong() {
        let mut rounds = Rounds::default();
        rounds.add(vec![100; 10], vec![500; 10]);
        rounds.add(vec![200; 10], vec![600; 10]);
        rounds.add(Vec::new(), vec![600; 10]);
        assert_eq!((rounds.p50, rounds.p50_ratio), (vec![500.0, 600.0, 600.0], vec![5.0, 3.0]));
        assert_eq!(rounds.p99_to_five, [1.0, 0.6]);
    }
}
