//! One segment of shared memory, as the program has it. The [store](super::store) keeps the counts in it.

use std::{os::fd::OwnedFd, sync::atomic::AtomicUsize};

use crate::sys::{self, Mapping};

/// The purpose of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// For as long as it has a holder.
    Shared,
    /// The same, in memory that no worker has before it is sent to it, and that is not used again.
    Private,
    /// For one task, which could have its argument in another way.
    Argument,
}

/// A segment of shared memory.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) id: u64,
    pub(super) mapping: Mapping,
    /// `None` when it was closed: then no other worker can be given it.
    pub(super) file: Option<OwnedFd>,
    /// Made by a worker: it never changes, and cannot be used again.
    pub(super) is_sealed: bool,
    /// Of the process in whose store it is.
    generation: u64,
    /// Holders in this process. It falls without the store's lock and rises from zero only under it.
    pub(super) holders: AtomicUsize,
}

impl Segment {
    pub(super) fn new(id: u64, mapping: Mapping, file: Option<OwnedFd>, is_sealed: bool) -> Self {
        let generation = sys::generation();
        Self { id, mapping, file, is_sealed, generation, holders: AtomicUsize::new(0) }
    }

    /// Whether this process is a forked copy of the one whose store it is in: it may be read for as long as this copy has a holder
    /// of it, and nothing else.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.generation != sys::generation()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn file(&self) -> Option<&OwnedFd> {
        self.file.as_ref()
    }

    /// Bytes of all of it.
    pub(crate) fn length(&self) -> usize {
        self.mapping.length()
    }
}
