//! What an executor is doing right now: [`Stats`].

/// A snapshot of an executor. Counters count from its start; all of it was true at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that exist.
    pub workers: usize,
    /// Workers that have nothing to do.
    pub idle: usize,
    /// Tasks that have not started.
    pub queued: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that ended with a result.
    pub done: u64,
    /// Tasks that ended with an error other than cancellation.
    pub failed: u64,
    /// Tasks that were cancelled or killed.
    pub cancelled: u64,
    /// Worker processes that died without being asked to.
    pub died: u64,
    /// Worker processes that were started to take a dead one's place.
    pub respawned: u64,
}
