//! The names of the causes and controls.

use serde::{Deserialize, Serialize};

/// A cause for which threads may lose to processes, or a control in which nothing is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Pathology {
    /// The allocator gives its heap back to the system.
    MallocTrim,
    /// Large allocations are mapped and unmapped, and every page of them faults.
    MmapChurn,
    /// Mappings of one page are unmapped while other threads run, whose cores must forget the page.
    TlbShootdown,
    /// All threads allocate from one arena.
    Arenas,
    /// SQL statements are prepared for each use.
    SqlitePrepare,
    /// A database is opened and closed for each query.
    SqliteOpen,
    /// All connections of a process share one cache of pages.
    SqliteSharedCache,
    /// All tasks write into one database.
    SqliteWriter,
    /// A quarter of each task holds a lock.
    LockQuarter,
    /// Half of each task holds a lock.
    LockHalf,
    /// All of each task holds a lock.
    LockWhole,
    /// Counters of different threads lie in one cache line.
    FalseSharing,
    /// All threads count the references of one value.
    ArcClone,
    /// All threads print through one writer with a lock.
    Lines,
    /// Control: computes.
    Spin,
    /// Control: hashes memory of its own.
    HashMemory,
    /// Control: takes many bytes.
    Payload,
    /// Control: does nothing.
    Tiny,
    /// Control: reads a table that nothing writes.
    SharedTable,
}
