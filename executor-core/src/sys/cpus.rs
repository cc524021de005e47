//! Cores: how many there are for this process, and which one a thread runs on.

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The core that the calling thread runs on right now; 0 where that cannot be known.
pub(crate) fn current_core() -> usize {
    // Models take the same steps each time.
    #[cfg(all(target_os = "linux", not(loom)))]
    return rustix::thread::sched_getcpu();
    #[cfg(any(not(target_os = "linux"), loom))]
    0
}

/// CPUs that this process may use: affinity and cgroup quota count. Looked up once, because that reads files. Threads that ask first at
/// the same time all look: a copy of the process that is forked meanwhile would wait for ever for the thread that looks.
#[inline]
pub(crate) fn available_cpus() -> usize {
    static CPUS: AtomicUsize = AtomicUsize::new(0);
    // ORDERING: the number publishes no other memory.
    match CPUS.load(Ordering::Relaxed) {
        0 => look_up(&CPUS),
        cpus => cpus,
    }
}

#[cold]
fn look_up(cpus: &AtomicUsize) -> usize {
    let found = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // ORDERING: the number publishes no other memory.
    cpus.store(found, Ordering::Relaxed);
    found
}
