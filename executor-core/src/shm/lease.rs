//! A lease: one worker has one segment of the parent's shared memory, until the parent gets it back.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::counts::{self, WITHDRAWN};
use crate::{
    sys::{self, Mapping, Writable},
    untrusted::{Malformed, Reader},
};

/// Segments that can be leased to one worker at the same time. Memory that is not touched takes no space.
pub(crate) const SLOTS: u32 = 1 << 16;

/// Bytes of a worker's counts.
pub(super) const COUNTS: usize = 8 * SLOTS as usize;

/// The description of a segment that is given to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) id: u64,
    pub(crate) slot: u32,
    /// Bytes of the whole segment.
    pub(crate) length: u64,
}

impl Share {
    /// `has_file`: its file comes beside it.
    pub(crate) fn to_bytes(self, has_file: bool) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.slot.to_le_bytes());
        bytes[20] = u8::from(has_file);
        bytes
    }

    /// And whether its file comes beside it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<(Self, bool), Malformed> {
        let mut reader = Reader(bytes);
        let (id, length) = (reader.u64()?, reader.u64()?);
        Ok((Self { id, length, slot: reader.u32()? }, reader.u8()? == 1))
    }
}

/// Shared by the account of a worker's leases and the segments that were leased to it.
#[derive(Debug)]
pub(crate) struct LenderState {
    /// Written by the worker, one for each slot: how many holders it has. It is believed as far as only this worker is
    /// concerned: with a wrong count it reads something else, or keeps memory until it dies.
    pub(super) holds: Mapping,
    /// Segments that the worker is to unmap.
    to_forget: Mutex<Vec<u64>>,
    /// Wakes the supervisor, which tells it.
    pub(super) doorbell: Arc<UnixStream>,
}

impl LenderState {
    /// That of a new worker, and the file of its counts.
    pub(crate) fn new(doorbell: Arc<UnixStream>) -> io::Result<(Self, OwnedFd)> {
        let (holds, file) = Mapping::create(COUNTS, Writable::Everywhere)?;
        Ok((Self { holds, to_forget: Mutex::default(), doorbell }, file))
    }

    /// The ids of segments that the worker is to unmap.
    pub(crate) fn to_forget(&self) -> MutexGuard<'_, Vec<u64>> {
        self.to_forget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, slot: u32) -> &AtomicU64 {
        self.holds.long(8 * slot as usize)
    }

    /// Wakes the supervisor.
    pub(super) fn ring(&self) {
        // When the buffer is full the supervisor will wake up anyway.
        sys::send_if_room(self.doorbell.as_fd(), &[1]);
    }

    pub(super) fn is_of_same_pool(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.doorbell, &other.doorbell)
    }
}

/// A worker has this segment.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(super) lender: Arc<LenderState>,
    pub(super) slot: u32,
}

impl Lease {
    pub(crate) fn new(lender: Arc<LenderState>, slot: u32) -> Self {
        Self { lender, slot }
    }

    fn holds(&self) -> &AtomicU64 {
        self.lender.count(self.slot)
    }

    pub(super) fn is_of(&self, lender: &Arc<LenderState>) -> bool {
        Arc::ptr_eq(&self.lender, lender)
    }

    /// Asks to be told when the worker holds it no longer, unless that is so already.
    pub(super) fn withdraw(&self) {
        counts::withdraw(self.holds());
    }

    /// Whether the worker holds it no longer.
    pub(super) fn is_released(&self) -> bool {
        counts::is_released(self.holds())
    }

    /// The worker need not tell any more.
    pub(super) fn renew(&self) {
        // ORDERING: told by a later request, or not at all.
        self.holds().fetch_and(!WITHDRAWN, Ordering::Relaxed);
    }

    /// Ends a holder that the worker has handed over.
    pub(super) fn release_one(&self) {
        // ORDERING: the parent holds it itself now.
        self.holds().fetch_sub(1, Ordering::Relaxed);
    }

    /// Has the worker unmap it.
    pub(super) fn forget(&self, id: u64) {
        self.lender.to_forget().push(id);
        self.lender.ring();
    }
}
