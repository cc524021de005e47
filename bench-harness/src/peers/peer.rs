//! Executors of other projects, by name.

use serde::{Deserialize, Serialize};

use super::Python;

/// An executor of another project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Peer {
    Crossbeam,
    Threadpool,
    RayonSpawn,
    TokioBlocking,
    ThreadSpawn,
    Procspawn,
    Python(Python),
}

impl Peer {
    pub(crate) const ALL: [Self; 10] = [
        Self::Crossbeam,
        Self::Threadpool,
        Self::RayonSpawn,
        Self::TokioBlocking,
        Self::ThreadSpawn,
        Self::Procspawn,
        Self::Python(Python::ThreadPool),
        Self::Python(Python::ProcessPool),
        Self::Python(Python::InterpreterPool),
        Self::Python(Python::Loky),
    ];

    pub(crate) fn has_processes(self) -> bool {
        match self {
            Self::Procspawn | Self::Python(Python::ProcessPool | Python::Loky) => true,
            Self::Crossbeam | Self::Threadpool | Self::RayonSpawn | Self::TokioBlocking | Self::ThreadSpawn => false,
            Self::Python(Python::ThreadPool | Python::InterpreterPool) => false,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crossbeam => "crossbeam-channel + oneshot",
            Self::Threadpool => "threadpool + oneshot",
            Self::RayonSpawn => "rayon spawn + oneshot",
            Self::TokioBlocking => "tokio spawn_blocking",
            Self::ThreadSpawn => "std thread spawn + join",
            Self::Procspawn => "procspawn 1.0",
            Self::Python(python) => python.name(),
        }
    }

    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Crossbeam => "boxed closures; arguments are moved, not copied",
            Self::ThreadSpawn => "a thread per task; arguments are moved, not copied",
            Self::Procspawn => "at most 100 tasks in flight",
            Self::Python(_) => "measured by Python's own clock",
            // Without the note, their rate with 1 MiB arguments would look like that of a copy.
            Self::Threadpool | Self::RayonSpawn | Self::TokioBlocking => "arguments are moved, not copied",
        }
    }
}
