//! Cores: how many there are for this process, and which one a thread runs on.

use std::{num::NonZeroUsize, sync::OnceLock};

/// The core that the calling thread runs on right now; 0 where that cannot be known.
pub(crate) fn current_core() -> usize {
    // Models take the same steps each time.
    #[cfg(all(target_os = "linux", not(loom)))]
    return rustix::thread::sched_getcpu();
    #[cfg(any(not(target_os = "linux"), loom))]
    0
}

/// CPUs that this process may use: affinity and cgroup quota count. Looked up once, because that reads files.
pub(crate) fn available_cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
}
