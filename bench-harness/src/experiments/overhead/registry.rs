//! The one table of measurements: the subjects of each, and the function that measures them.

use reports::model::Reason;

use super::{
    fork_join, idle, map,
    measurement::{Measurement as M, Probe, Reading, Subject},
    memory, metg, payload, round_trip, shared_bytes, startup, submitters, throughput, waits,
};
use crate::{
    executors::Kind,
    peers::{Peer, Python, baselines::Baseline},
};

struct Row {
    measurement: M,
    /// The subjects, each of which is measured in a process of its own.
    subjects: fn() -> Vec<Subject>,
    /// Takes the measurement in this process, which was started for it.
    measure: fn(&Probe) -> Result<Vec<Reading>, Reason>,
}

const fn row(
    measurement: M,
    subjects: fn() -> Vec<Subject>,
    measure: fn(&Probe) -> Result<Vec<Reading>, Reason>,
) -> Row {
    Row { measurement, subjects, measure }
}

/// The table, in the order of the document.
static TABLE: [Row; 15] = [
    row(M::Throughput, || all_and(&[Baseline::Ring]), throughput::measure),
    row(M::RoundTrip, || all_and(&Baseline::PING_PONGS), round_trip::measure),
    row(M::Payload, takers_of_bytes, payload::measure),
    row(M::SharedBytes, process, shared_bytes::measure),
    row(M::Map, both, map::measure),
    row(M::SkewedMap, thread, map::measure_skewed),
    row(M::Submitters, || [pools(), vec![Subject::Peer(Peer::Crossbeam)]].concat(), submitters::measure),
    row(M::Waits, both, waits::measure),
    row(M::ForkJoin, thread, fork_join::measure),
    row(M::Startup, starters, startup::measure),
    row(M::Recovery, process, startup::measure_recovery),
    row(M::Memory, both, memory::measure),
    row(M::Depth, both, memory::measure_depth),
    row(M::Idle, both, idle::measure),
    row(M::Metg, pools, metg::measure),
];

fn thread() -> Vec<Subject> {
    vec![Subject::THREAD]
}

fn process() -> Vec<Subject> {
    vec![Subject::PROCESS]
}

fn both() -> Vec<Subject> {
    vec![Subject::THREAD, Subject::PROCESS]
}

fn pools() -> Vec<Subject> {
    Kind::pools().map(Subject::Lab).collect()
}

/// All contenders that take tasks, and the baselines that they are compared with.
fn all_and(baselines: &[Baseline]) -> Vec<Subject> {
    let lab = Kind::ALL.map(Subject::Lab);
    let baselines: Vec<Subject> = baselines.iter().map(|baseline| Subject::Baseline(*baseline)).collect();
    [&lab[..], &Peer::ALL.map(Subject::Peer), &baselines].concat()
}

/// The subjects of the payload measurement: procspawn cannot send so much back.
fn takers_of_bytes() -> Vec<Subject> {
    let mut subjects = all_and(&[Baseline::CopyOneMebibyte, Baseline::CopyLarge]);
    subjects.retain(|subject| *subject != Subject::Peer(Peer::Procspawn));
    subjects
}

/// The subjects that have workers to start.
fn starters() -> Vec<Subject> {
    let python = Python::ALL.map(Peer::Python);
    let peers = [Peer::Procspawn].into_iter().chain(python).map(Subject::Peer);
    pools().into_iter().chain(peers).collect()
}

fn find(measurement: M) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.measurement == measurement)
}

/// All measurements.
pub(crate) fn all() -> Vec<M> {
    TABLE.iter().map(|row| row.measurement).collect()
}

/// The subjects of a measurement.
pub(super) fn subjects(measurement: M) -> Vec<Subject> {
    find(measurement).map(|row| (row.subjects)()).unwrap_or_default()
}

/// Takes a measurement in this process.
pub(crate) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let row = find(probe.measurement)
        .ok_or_else(|| Reason::from(format!("nothing measures {}", probe.measurement.name())))?;
    (row.measure)(probe)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_measurement_has_a_subject_and_a_name_that_clap_and_serde_share() {
        assert_eq!(all(), M::value_variants());
        for measurement in all() {
            assert!(!subjects(measurement).is_empty());
            assert_eq!(serde_json::to_value(measurement).unwrap(), measurement.name());
        }
    }
}
