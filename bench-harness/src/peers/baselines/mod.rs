//! Baselines: bare primitives that show what the machine allows. They are measured beside the executors, so that both terms
//! of a ratio were taken under the same conditions.
//!
//! - `ping_pong`: one message there and one back, at a time: by spinning, by futex, by pipe.
//! - `ring`: many messages under way between two processes.
//! - `copy`: memory.

#[cfg(target_os = "linux")]
mod answer;
pub(crate) mod copy;
#[cfg(target_os = "linux")]
mod peer_process;
mod ping_pong;
#[cfg(target_os = "linux")]
mod pipe;
#[cfg(target_os = "linux")]
pub(crate) mod ring;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "maps memory that two processes see; all accesses to it are atomic")]
mod shared;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
pub(crate) use answer::run_peer;
pub(crate) use ping_pong::{PingPong, WARM_UP};

/// A primitive by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Baseline {
    SpinThreads,
    SpinProcesses,
    FutexProcesses,
    PipeProcesses,
    Ring,
    CopyOneMebibyte,
    CopyLarge,
}

impl Baseline {
    pub(crate) const PING_PONGS: [Self; 4] =
        [Self::SpinThreads, Self::SpinProcesses, Self::FutexProcesses, Self::PipeProcesses];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SpinThreads => "spinning ping-pong, threads",
            Self::SpinProcesses => "spinning ping-pong, processes",
            Self::FutexProcesses => "futex ping-pong, processes",
            Self::PipeProcesses => "pipe ping-pong, processes",
            Self::Ring => "shared-memory ring, processes",
            Self::CopyOneMebibyte => "memcpy of 1 MiB",
            Self::CopyLarge => "memcpy of 256 MiB",
        }
    }

    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::SpinThreads | Self::SpinProcesses => "one cache line each way, no sleeping",
            Self::FutexProcesses => "both sleep for each message",
            Self::PipeProcesses => "one byte each way",
            Self::Ring => "there and back, pipelined; spins for 20 µs before it sleeps",
            Self::CopyOneMebibyte => "the same megabyte again and again, out of the cache",
            Self::CopyLarge => "from memory to memory",
        }
    }
}

/// Two peers that spin need a core each; on one core, a trip takes as long as the scheduler lets the other one spin.
fn need_two_cores() -> Result<(), String> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err("needs two cores, and this process may use one: see taskset and the container's limits".to_owned());
    }
    Ok(())
}
