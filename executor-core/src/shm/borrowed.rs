//! The worker's side: the parent's segments that it has leases of, and segments that it made for results.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    MOST_BLOCKS,
    block::{Block, Made, Reference},
    counts::{self, LOST},
    lease::{COUNTS, Share},
    note_use,
};
use crate::{
    role::is_copy,
    sys::{Mapping, Writable},
};

/// The leases of this worker, and its counts.
#[derive(Debug)]
pub(crate) struct Borrower {
    /// How many holders this process has of the segment in each slot. The parent reads it, and believes it only as far as this
    /// process alone is concerned.
    holds: Arc<Mapping>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leased: BTreeMap<u64, Arc<Leased>>,
    /// The last segments that were leased to this worker and could not be taken, and why. They are sent again with the next request
    /// that needs them, so this is of interest only to requests that are on their way.
    lost: VecDeque<(u64, &'static str)>,
}

/// So many segments are remembered that could not be taken.
const MOST_LOST: usize = 2 * MOST_BLOCKS;

/// This process as a borrower: it is one as soon as it has counts. Without them it may not resolve any reference, because the
/// parent would not know what it holds.
static BORROWER: OnceLock<Borrower> = OnceLock::new();

#[derive(Debug)]
struct Leased {
    mapping: Mapping,
    id: u64,
    slot: u32,
    holds: Arc<Mapping>,
}

impl Leased {
    fn count(&self) -> &AtomicU64 {
        self.holds.long(8 * self.slot as usize)
    }
}

/// How the parent is woken, from any thread, when it has to look at the counts.
static WAKE_PARENT: OnceLock<fn()> = OnceLock::new();

/// From now on `wake_parent` is called when the parent waits for a segment whose last holder is gone.
pub(crate) fn wake_on_release(wake_parent: fn()) {
    let _ = WAKE_PARENT.set(wake_parent);
}

/// Takes the file of the counts, which comes with the parent's first message.
pub(crate) fn open_counts(file: &OwnedFd) -> io::Result<()> {
    let _ = BORROWER.set(Borrower::new(file)?);
    Ok(())
}

/// Takes a segment that the parent leases to this worker.
pub(crate) fn accept(share: Share, file: Option<OwnedFd>) {
    note_use();
    // The parent gives leases only to a worker that has counts.
    if let Some(borrower) = BORROWER.get() {
        borrower.accept(share, file);
    }
}

/// The parent ends the lease of a segment that has no holder here any more.
pub(crate) fn forget(id: u64) {
    if let Some(borrower) = BORROWER.get() {
        borrower.forget(id);
    }
}

/// The segment that a reference in an argument names.
pub(super) fn find(reference: Reference) -> Result<Block, &'static str> {
    BORROWER.get().ok_or(UNKNOWN)?.find(reference)
}

const UNKNOWN: &str = "a reference to shared bytes that this worker was not given";

impl Borrower {
    pub(crate) fn new(file: &OwnedFd) -> io::Result<Self> {
        let holds = Mapping::open(file.as_fd(), COUNTS, Writable::Everywhere)?;
        Ok(Self { holds: Arc::new(holds), state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cannot be taken is said in the segment's count: the parent sends it again. Until then tasks that refer to it fail to
    /// decode their arguments, and say why.
    pub(crate) fn accept(&self, share: Share, file: Option<OwnedFd>) {
        let map = || -> Result<Mapping, &'static str> {
            let file = file.ok_or("shared bytes could not be mapped: this process has too many files open")?;
            let length = usize::try_from(share.length).map_err(|_| "shared bytes are too long for this worker")?;
            let mapping = Mapping::open(file.as_fd(), length, Writable::HereOnly)
                .map_err(|_| "shared bytes could not be mapped: the system has no address space left")?;
            mapping.leave_out_of_dumps();
            Ok(mapping)
        };
        let Share { id, slot, .. } = share;
        match map() {
            Ok(mapping) => {
                let leased = Leased { mapping, id, slot, holds: Arc::clone(&self.holds) };
                self.lock().leased.insert(id, Arc::new(leased));
            }
            Err(why) => {
                let mut state = self.lock();
                state.lost.truncate(MOST_LOST - 1);
                state.lost.push_front((id, why));
                drop(state);
                // ORDERING: published by the answer of the request that needs it.
                self.holds.long(8 * slot as usize).fetch_or(LOST, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn forget(&self, id: u64) {
        let leased = self.lock().leased.remove(&id);
        drop(leased);
    }

    pub(crate) fn find(&self, reference: Reference) -> Result<Block, &'static str> {
        if reference.from_worker {
            return Err(UNKNOWN);
        }
        let state = self.lock();
        let Some(leased) = state.leased.get(&reference.id).cloned() else {
            let lost = state.lost.iter().find(|(id, _)| *id == reference.id);
            return Err(lost.map_or(UNKNOWN, |(_, why)| why));
        };
        drop(state);
        let length = usize::try_from(reference.length).map_err(|_| UNKNOWN)?;
        if leased.mapping.length() < length {
            return Err(UNKNOWN);
        }
        let borrowed = Borrowed { leased, length };
        borrowed.hold();
        Ok(Block::Borrowed(Arc::new(borrowed)))
    }
}

/// A holder of a leased segment; its clones are counted by the `Arc` around it.
#[derive(Debug)]
pub(crate) struct Borrowed {
    leased: Arc<Leased>,
    length: usize,
}

impl Borrowed {
    pub(super) fn id(&self) -> u64 {
        self.leased.id
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the parent, which this process trusts, writes to the memory again only when the count of this slot is
        // zero and the request is done; `self` is counted.
        unsafe { self.leased.mapping.bytes(0, self.length) }
    }

    /// One more holder, counted before the request is answered.
    pub(super) fn hold(&self) {
        if !is_copy() {
            counts::hold(self.leased.count());
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // A copy that a task has made of the worker counts nothing: the numbers are the worker's.
        if !is_copy()
            && counts::release(self.leased.count())
            && let Some(wake_parent) = WAKE_PARENT.get()
        {
            wake_parent();
        }
    }
}

/// Memory that this worker made, and that no process can write to any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    mapping: Mapping,
    file: OwnedFd,
    id: u64,
}

/// The number of the segment that this process makes next.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The numbers that other processes give to their segments are not among those that this one gives: several of them may have a part
/// in one answer, which refers to segments by their numbers. `process` is another one for each worker of the program, and for each
/// fork server, whose segments are the same in all that were forked from it.
pub(crate) fn number_pieces_of(process: u32) {
    debug_assert!(process > 0, "no process has this number");
    // ORDERING: before there is another thread that makes any.
    NEXT.store(u64::from(process) << 32, Ordering::Relaxed);
}

impl Sealed {
    pub(super) fn make(length: usize, fill: impl FnOnce(&mut [u8])) -> Made {
        let mut fill = Some(fill);
        let sealed = Mapping::create_sealed(length, |bytes| {
            if let Some(fill) = fill.take() {
                fill(bytes);
            }
        });
        match sealed {
            Ok((mapping, file)) => {
                // ORDERING: only uniqueness matters.
                let id = NEXT.fetch_add(1, Ordering::Relaxed);
                note_use();
                Made::Shared(Block::Sealed(Arc::new(Self { mapping, file, id })))
            }
            Err(bytes) => {
                let mut bytes = bytes.unwrap_or_else(|| vec![0; length]);
                if let Some(fill) = fill {
                    fill(&mut bytes);
                }
                Made::Plain(bytes)
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the memory is sealed: the kernel lets no process write to it.
        unsafe { self.mapping.bytes(0, self.mapping.length()) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }
}
