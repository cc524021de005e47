//! Performance targets: the figures that this project wants to reach, each against the baseline or the peer that was measured
//! in the same block.

use reports::{
    model::OverheadGroup,
    overhead::{Bound, Claim, Figure, Unit},
};

use super::{
    fork_join, idle, map,
    measurement::{Measurement, Subject},
    memory, metg, payload, round_trip, shared_bytes, startup, submitters, throughput, waits,
};
use crate::{
    peers::{Peer, Python},
    stats,
};

/// The figure by which a figure is divided.
#[derive(Debug, Clone, Copy)]
enum Against {
    /// No other figure: it is compared by itself, in this unit, or is a ratio already.
    Itself(Unit),
    /// A figure of the same measurement.
    Other { subject: &'static str, quantity: &'static str },
    /// The best of the peers that work with threads: the one with the highest (or lowest) median of the whole run.
    BestPeer { highest: bool },
}

struct Target {
    measurement: Measurement,
    subject: Subject,
    quantity: &'static str,
    against: Against,
    reach: Bound,
    stretch: Option<Bound>,
}

const fn target(
    measurement: Measurement,
    subject: Subject,
    quantity: &'static str,
    against: Against,
    reach: Bound,
    stretch: Option<Bound>,
) -> Target {
    Target { measurement, subject, quantity, against, reach, stretch }
}

const US: f64 = 1e3;
const MS: f64 = 1e6;
const MIB: f64 = (1 << 20) as f64;

fn targets() -> Vec<Target> {
    use Against::{BestPeer, Itself, Other};
    use Bound::{AtLeast, AtMost};
    use Measurement as M;
    let (process, thread) = (Subject::PROCESS, Subject::THREAD);
    let python = Other { subject: Python::ProcessPool.name(), quantity: throughput::QUANTITY };
    let rayon = |quantity| Other { subject: map::RAYON, quantity };
    let join = |quantity| Other { subject: fork_join::RAYON, quantity };
    let serial = Other { subject: map::SERIAL, quantity: map::ITEMS };
    let (speed, ratio, time) = (Itself(Unit::PerSecond), Itself(Unit::Ratio), Itself(Unit::Nanoseconds));
    let (bytes, count) = (Itself(Unit::Bytes), Itself(Unit::Count));
    let (highest, lowest) = (BestPeer { highest: true }, BestPeer { highest: false });
    vec![
        target(M::Throughput, process, throughput::QUANTITY, speed, AtLeast(2e6), Some(AtLeast(5e6))),
        target(M::Throughput, process, throughput::QUANTITY, python, AtLeast(100.0), Some(AtLeast(250.0))),
        target(M::Throughput, thread, throughput::QUANTITY, highest, AtLeast(1.0), Some(AtLeast(1.5))),
        target(M::RoundTrip, process, round_trip::P50_RATIO, ratio, AtMost(6.0), Some(AtMost(3.0))),
        // The stricter of two readings: against the ping-pong's median, and not against its tail.
        target(M::RoundTrip, process, round_trip::P99_TO_P50, ratio, AtMost(20.0), Some(AtMost(6.0))),
        target(M::RoundTrip, thread, round_trip::P50_RATIO, ratio, AtMost(5.0), None),
        target(M::RoundTrip, thread, round_trip::P99_RATIO, ratio, AtMost(5.0), None),
        // The same for machines on which the tail of a single ping-pong cannot be measured.
        target(M::RoundTrip, thread, round_trip::P99_TO_FIVE, ratio, AtMost(1.0), None),
        target(M::RoundTrip, thread, round_trip::P50, lowest, AtMost(1.0), Some(AtMost(0.3))),
        target(M::RoundTrip, thread, round_trip::P99, lowest, AtMost(1.0), Some(AtMost(0.3))),
        target(M::Payload, process, payload::SHARE, ratio, AtLeast(0.5), Some(AtLeast(0.8))),
        target(M::SharedBytes, process, shared_bytes::FIRST, time, AtMost(20.0 * US), Some(AtMost(5.0 * US))),
        target(M::SharedBytes, process, shared_bytes::AGAIN, ratio, AtMost(1.5), Some(AtMost(1.1))),
        target(M::Map, process, map::INTO_VEC, speed, AtLeast(20e6), Some(AtLeast(100e6))),
        target(M::Map, process, map::DRAINED, speed, AtLeast(20e6), Some(AtLeast(100e6))),
        target(M::Map, thread, map::INTO_VEC, rayon(map::ITEMS), AtLeast(0.9), Some(AtLeast(1.05))),
        target(M::Map, thread, map::DRAINED, serial, AtLeast(0.7), Some(AtLeast(0.95))),
        target(M::SkewedMap, thread, map::SKEWED, rayon(map::ITEMS), AtLeast(1.0), Some(AtLeast(1.2))),
        target(M::Submitters, thread, submitters::QUANTITY, ratio, AtMost(1.1), Some(AtMost(0.9))),
        target(M::Waits, thread, waits::RATIO, ratio, AtMost(1.1), None),
        target(M::Waits, process, waits::RATIO, ratio, AtMost(1.1), None),
        target(M::Waits, process, waits::SOCKET_RATIO, ratio, AtMost(1.1), None),
        target(
            M::ForkJoin,
            thread,
            fork_join::NO_CUTOFF,
            join(fork_join::NO_CUTOFF),
            AtLeast(0.25),
            Some(AtLeast(0.35)),
        ),
        target(M::ForkJoin, thread, fork_join::CUTOFF, join(fork_join::CUTOFF), AtLeast(0.9), Some(AtLeast(1.0))),
        target(M::Startup, process, startup::FIRST, time, AtMost(5.0 * MS), Some(AtMost(2.0 * MS))),
        target(M::Recovery, process, startup::REPLACED, time, AtMost(5.0 * MS), Some(AtMost(MS))),
        target(M::Memory, process, memory::BEYOND_ARGUMENT, bytes, AtMost(256.0), Some(AtMost(128.0))),
        target(M::Memory, process, memory::FILES, count, AtMost(0.0), None),
        target(M::Memory, thread, memory::BEYOND_BOTH, bytes, AtMost(96.0), Some(AtMost(64.0))),
        // "Never slows" and "linear", with room for noise.
        target(M::Depth, thread, memory::SUBMIT, ratio, AtMost(1.25), None),
        target(M::Depth, thread, memory::GROWTH, ratio, AtMost(1.25), None),
        target(M::Idle, process, idle::SWITCHES, count, AtMost(0.0), None),
        target(M::Idle, process, idle::PSS, bytes, AtMost(2.0 * MIB), Some(AtMost(MIB))),
        target(M::Idle, thread, idle::SWITCHES, count, AtMost(0.0), None),
        target(M::Metg, process, metg::METG, time, AtMost(3.0 * US), Some(AtMost(US))),
        target(M::Metg, thread, metg::METG, time, AtMost(US), Some(AtMost(0.3 * US))),
    ]
}

/// Compares the figures with their targets, for the measurements that were taken.
pub(super) fn claims(figures: &[Figure], taken: &[Measurement]) -> Vec<Claim> {
    targets().iter().filter(|target| taken.contains(&target.measurement)).map(|target| claim(target, figures)).collect()
}

fn claim(target: &Target, figures: &[Figure]) -> Claim {
    let measurement = target.measurement.name();
    let subject = target.subject.name();
    let find = |subject: &str, quantity: &str| {
        figures.iter().find(|figure| {
            figure.measurement == measurement && figure.subject == subject && figure.quantity == quantity
        })
    };
    let own = find(subject, target.quantity);
    let base = match target.against {
        Against::Itself(_) => None,
        Against::Other { subject, quantity } => find(subject, quantity),
        Against::BestPeer { highest } => best_peer(figures, &measurement, target.quantity, highest),
    };
    let wanted = match target.against {
        Against::Itself(_) => "",
        Against::Other { subject, .. } => subject,
        Against::BestPeer { .. } => base.map_or("the best peer", |base| &base.subject),
    };
    let blocks = match (own, base, wanted) {
        (Some(own), _, "") => stats::block_medians(&rounds(own)),
        (Some(own), Some(base), _) => stats::block_ratios(&rounds(own), &rounds(base)),
        _ => Vec::new(),
    };
    let estimate = stats::estimate(&blocks);
    let note = if estimate.is_some() {
        String::new()
    } else {
        // The row of the missing subject says why it is missing.
        let reason = |name: &str| {
            let row = figures.iter().find(|figure| {
                figure.measurement == measurement && figure.subject == name && figure.estimate.is_none()
            });
            row.map(|row| row.note.clone())
        };
        reason(subject).or_else(|| reason(wanted)).unwrap_or_else(|| "not measured".to_owned())
    };
    let unit = if let Against::Itself(unit) = target.against { unit } else { Unit::Ratio };
    Claim {
        measurement,
        subject: subject.to_owned(),
        quantity: target.quantity.to_owned(),
        against: wanted.to_owned(),
        unit,
        estimate,
        blocks,
        reach: target.reach.judge(estimate.as_ref()),
        stretch: target.stretch.map(|bound| bound.judge(estimate.as_ref())),
        note,
    }
}

/// The best peer with threads: peers with processes cannot be compared with a thread pool.
fn best_peer<'a>(figures: &'a [Figure], measurement: &str, quantity: &str, highest: bool) -> Option<&'a Figure> {
    let threads: Vec<&str> = Peer::ALL.into_iter().filter(|peer| !peer.has_processes()).map(Peer::name).collect();
    figures
        .iter()
        .filter(|figure| figure.measurement == measurement && figure.quantity == quantity)
        .filter(|figure| figure.group == OverheadGroup::Peer && threads.contains(&figure.subject.as_str()))
        .filter_map(|figure| Some((figure, figure.estimate?.median)))
        .max_by(|(_, a), (_, b)| if highest { a.total_cmp(b) } else { b.total_cmp(a) })
        .map(|(figure, _)| figure)
}

pub(super) fn rounds(figure: &Figure) -> Vec<(u32, Vec<f64>)> {
    figure.blocks.iter().map(|block| (block.block, block.values.clone())).collect()
}

#[cfg(test)]
mod tests {
    use reports::overhead::{Block, TargetStatus};

    use super::{super::registry, *};

    fn figure(measurement: Measurement, subject: Subject, quantity: &str, values: &[f64]) -> Figure {
        Figure {
            measurement: measurement.name(),
            subject: subject.name().to_owned(),
            group: subject.group(),
            quantity: quantity.to_owned(),
            unit: Unit::PerSecond,
            estimate: stats::estimate(values),
            blocks: values
                .iter()
                .enumerate()
                .map(|(block, value)| Block { block: block as u32, order: 0, values: vec![*value] })
                .collect(),
            detail: false,
            note: String::new(),
            missing: None,
        }
    }

    fn find<'a>(claims: &'a [Claim], subject: &str, against: &str) -> &'a Claim {
        claims.iter().find(|claim| claim.subject == subject && claim.against == against).unwrap()
    }

    #[test]
    fn threads_are_held_against_the_best_peer_that_works_with_threads() {
        let of = |subject, values: &[f64]| figure(Measurement::Throughput, subject, throughput::QUANTITY, values);
        let figures = [
            of(Subject::THREAD, &[30.0, 36.0, 33.0, 33.0, 33.0, 33.0]),
            of(Subject::PROCESS, &[1.0; 6]),
            of(Subject::Peer(Peer::Crossbeam), &[10.0, 12.0, 11.0, 11.0, 11.0, 11.0]),
            of(Subject::Peer(Peer::Threadpool), &[5.0; 6]),
            of(Subject::Peer(Peer::Procspawn), &[1e9; 6]),
        ];
        let claims = claims(&figures, &[Measurement::Throughput]);
        let claim = find(&claims, "thread", Peer::Crossbeam.name());
        assert_eq!((claim.blocks.as_slice(), claim.unit), (&[3.0; 6][..], Unit::Ratio));
        assert_eq!((claim.reach.verdict, claim.stretch.unwrap().verdict), (TargetStatus::Holds, TargetStatus::Holds));
        assert_eq!(find(&claims, "process", "").reach.verdict, TargetStatus::Fails);
        let missing = find(&claims, "process", Python::ProcessPool.name());
        assert_eq!((missing.reach.verdict, missing.note.as_str()), (TargetStatus::Unknown, "not measured"));
    }

    #[test]
    fn what_is_missing_says_why() {
        let mut failed = figure(Measurement::SharedBytes, Subject::PROCESS, "-", &[]);
        failed.note = "not measured: there is none".to_owned();
        let claims = claims(&[failed], &[Measurement::SharedBytes]);
        assert_eq!(claims.len(), 2);
        assert!(claims.iter().all(|claim| claim.note == "not measured: there is none"));
    }

    #[test]
    fn every_target_is_of_a_subject_that_is_measured() {
        for target in targets() {
            assert!(registry::subjects(target.measurement).contains(&target.subject), "{}", target.quantity);
        }
    }
}
