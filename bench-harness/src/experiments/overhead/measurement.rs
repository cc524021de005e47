//! The measurements by name, the subjects that can be measured, and the output of a measuring process.

use clap::ValueEnum;
use reports::{
    model::{OverheadGroup, Reason, note_of},
    overhead::Unit,
};
use serde::{Deserialize, Serialize};

use super::sizes::Sizes;
use crate::{
    executors::Kind,
    peers::{Peer, baselines::Baseline},
};

/// One kind of cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measurement {
    /// Submit many empty tasks, then collect them: tasks per second.
    Throughput,
    /// One empty task at a time, interleaved with a bare ping-pong.
    RoundTrip,
    /// Arguments of 1 MiB, several at a time, interleaved with memcpy.
    Payload,
    /// `SharedBytes` of 64 MiB against an argument of 64 bytes.
    SharedBytes,
    /// A map of cheap items: on processes, and on threads beside rayon and a serial loop.
    Map,
    /// A map with a few expensive items, the most expensive one last; beside rayon.
    SkewedMap,
    /// 16 threads that submit at once against one.
    Submitters,
    /// The longest wait in a stream of tasks of mixed lengths, against an ideal queue's.
    Waits,
    /// Tasks that wait on tasks: recursive Fibonacci, beside rayon's join.
    #[serde(rename = "fan-out")]
    #[value(name = "fan-out")]
    ForkJoin,
    /// From `build()` to the first result.
    Startup,
    /// From `kill -9` of a worker to the first result of the one that replaces it.
    Recovery,
    /// Memory and file descriptors of a queued task.
    Memory,
    /// Millions of queued tasks: whether `submit` slows down, and whether memory grows in proportion.
    Depth,
    /// Wake-ups and CPU time of an idle pool, and the memory of its workers.
    Idle,
    /// The shortest task for which an executor is half efficient.
    Metg,
}

/// The subject of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Subject {
    Lab(Kind),
    Peer(Peer),
    Baseline(Baseline),
}

impl Subject {
    pub(crate) const THREAD: Self = Self::Lab(Kind::Thread);
    pub(crate) const PROCESS: Self = Self::Lab(Kind::Process);

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lab(kind) => kind.name(),
            Self::Peer(peer) => peer.name(),
            Self::Baseline(baseline) => baseline.name(),
        }
    }

    pub(crate) fn group(self) -> OverheadGroup {
        match self {
            Self::Lab(_) => OverheadGroup::Lab,
            Self::Peer(_) => OverheadGroup::Peer,
            Self::Baseline(_) => OverheadGroup::Baseline,
        }
    }

    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Lab(kind) => kind.note(),
            Self::Peer(peer) => peer.note(),
            Self::Baseline(baseline) => baseline.note(),
        }
    }
}

/// The description of one measurement, as it is sent to its process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) measurement: Measurement,
    pub(crate) subject: Subject,
    pub(crate) workers: usize,
    pub(crate) sizes: Sizes,
    /// Seed of the orders that a measurement draws itself.
    pub(crate) seed: u64,
}

/// One figure of one process, round by round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) subject: String,
    pub(crate) group: OverheadGroup,
    pub(crate) quantity: String,
    pub(crate) unit: Unit,
    pub(crate) values: Vec<f64>,
    pub(crate) detail: bool,
    pub(crate) note: String,
    /// Why there are no values.
    pub(crate) missing: Option<Reason>,
}

impl Reading {
    pub(crate) fn new(subject: Subject, quantity: impl Into<String>, unit: Unit, values: Vec<f64>) -> Self {
        Self {
            subject: subject.name().to_owned(),
            group: subject.group(),
            quantity: quantity.into(),
            unit,
            values,
            detail: false,
            note: subject.note().to_owned(),
            missing: None,
        }
    }

    /// A reading of another subject that is measured in the same process.
    pub(crate) fn beside(name: &str, group: OverheadGroup, quantity: &str, unit: Unit, values: Vec<f64>) -> Self {
        Self {
            subject: name.to_owned(),
            group,
            quantity: quantity.to_owned(),
            unit,
            values,
            detail: false,
            note: String::new(),
            missing: None,
        }
    }

    /// A reading that says why there are no figures.
    pub(crate) fn missing(subject: Subject, quantity: &str, reason: Reason) -> Self {
        let reading = Self::new(subject, quantity, Unit::Count, Vec::new()).with_note(note_of(&reason));
        Self { missing: Some(reason), ..reading }
    }

    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) fn into_detail(mut self) -> Self {
        self.detail = true;
        self
    }
}

impl Measurement {
    /// The name, as `--only` takes it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Number of blocks; a measurement that takes long has fewer.
    pub(crate) fn blocks(self, sizes: &Sizes) -> u32 {
        if self == Self::Depth { sizes.blocks.min(3) } else { sizes.blocks }
    }
}
