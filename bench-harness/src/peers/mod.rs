//! Executors of other projects, and what the bare machine can do, for the same tables as those of executor-core.

pub(crate) mod baselines;
#[cfg(feature = "peers")]
mod crates;
mod peer;
mod python;

use crate::contender::ContenderVisit;

pub(crate) use peer::Peer;
pub(crate) use python::{Interpreter, Python, Scripts};

/// Must be called first in `main`: procspawn, one of the peers, also starts this program again.
pub(crate) fn init() {
    #[cfg(feature = "peers")]
    procspawn::init();
}

/// Builds a peer, and passes it to `visit`.
pub(crate) fn with_peer<V: ContenderVisit>(peer: Peer, workers: usize, visit: V) -> Result<V::Output, String> {
    #[cfg(feature = "peers")]
    return crates::with_peer(peer, workers, visit);
    #[cfg(not(feature = "peers"))]
    {
        let _ = (workers, visit);
        Err(format!("{} is not in this build: build the lab with its feature \"peers\"", peer.name()))
    }
}
