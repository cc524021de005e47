//! Other people's executors, and the machine's own limits, for the same tables as ours.

#[cfg(feature = "peers")]
mod crates;
pub(crate) mod limits;
mod python;

use serde::{Deserialize, Serialize};

use crate::lane::LaneVisit;

pub(crate) use python::Python;

/// Somebody else's executor.
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
            // Or their rate with 1 MiB arguments would look like a copy's.
            Self::Threadpool | Self::RayonSpawn | Self::TokioBlocking => "arguments are moved, not copied",
        }
    }
}

/// To be called first in `main`: one of the peers starts this program again as well.
pub(crate) fn init() {
    #[cfg(feature = "peers")]
    procspawn::init();
}

/// Builds a peer, and shows it to `visit`.
pub(crate) fn with_peer<V: LaneVisit>(peer: Peer, workers: usize, visit: V) -> Result<V::Output, String> {
    #[cfg(feature = "peers")]
    return crates::with_peer(peer, workers, visit);
    #[cfg(not(feature = "peers"))]
    {
        let _ = (workers, visit);
        Err(format!("{} is not in this build: build the lab with its feature \"peers\"", peer.name()))
    }
}
