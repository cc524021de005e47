//! The worker's side: the parent's memory that was lent to it, and memory that it made for results.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    block::{Block, Made, Reference},
    loans::{SLOTS, Share, WITHDRAWN},
    note_use,
};
use crate::{
    process::transport::kick_parent,
    sys::{Mapping, Writable},
};

/// How many holders this process has of what stands in each slot. The parent reads it, and believes it only as far as this
/// process alone is concerned.
static HOLDS: OnceLock<Mapping> = OnceLock::new();

/// What was lent, or why it cannot be used.
static LENT: Mutex<Option<Table>> = Mutex::new(None);

type Table = HashMap<u64, Result<Arc<Lent>, String>>;

#[derive(Debug)]
struct Lent {
    mapping: Mapping,
    id: u64,
    slot: u32,
}

impl Lent {
    fn holds(&self) -> Option<&'static AtomicU64> {
        HOLDS.get().map(|holds| holds.long(8 * self.slot as usize))
    }
}

fn with_lent<R>(f: impl FnOnce(&mut Table) -> R) -> R {
    f(LENT.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Takes memory that the parent lends.
pub(in crate::process) fn accept(share: Share, mut files: impl Iterator<Item = OwnedFd>) {
    note_use();
    let mut map = || -> Result<Mapping, &str> {
        let mut next = || files.next().ok_or("this process has too many files open");
        let file = next()?;
        if share.has_holds {
            let holds = next()?;
            let holds = Mapping::open(holds.as_fd(), 8 * SLOTS as usize, Writable::Everywhere);
            let _ = HOLDS.set(holds.map_err(|_| "the system has no address space left")?);
        }
        let length = usize::try_from(share.length).map_err(|_| "it is too long")?;
        let mapping = Mapping::open(file.as_fd(), length, Writable::HereOnly);
        let mapping = mapping.map_err(|_| "the system has no address space left")?;
        mapping.leave_out_of_dumps();
        Ok(mapping)
    };
    // The task that refers to it will fail to decode its argument, and say why.
    let lent = map()
        .map(|mapping| Arc::new(Lent { mapping, id: share.id, slot: share.slot }))
        .map_err(|why| format!("shared bytes could not be mapped: {why}"));
    with_lent(|all| all.insert(share.id, lent));
}

/// The parent takes memory back that nobody here holds any more.
pub(in crate::process) fn forget(id: u64) {
    let lent = with_lent(|all| all.remove(&id));
    drop(lent);
}

/// What a reference in an argument means.
pub(super) fn find(reference: Reference) -> Result<Block, String> {
    let unknown = || "a reference to shared bytes that this worker was not given".to_owned();
    if reference.from_worker {
        return Err(unknown());
    }
    let lent = with_lent(|all| all.get(&reference.id).cloned()).ok_or_else(unknown)??;
    let length = usize::try_from(reference.length).map_err(|_| unknown())?;
    if lent.mapping.length() < length {
        return Err(unknown());
    }
    let borrowed = Borrowed { lent, length };
    borrowed.hold();
    Ok(Block::Borrowed(Arc::new(borrowed)))
}

/// A holder of what the parent has lent; its clones are counted by the `Arc` around it.
#[derive(Debug)]
pub(crate) struct Borrowed {
    lent: Arc<Lent>,
    length: usize,
}

impl Borrowed {
    pub(super) fn id(&self) -> u64 {
        self.lent.id
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the parent, which this process trusts, writes to the memory again only when the count of this slot is
        // zero and the request is done; `self` is counted.
        unsafe { self.lent.mapping.bytes(0, self.length) }
    }

    /// One more holder, counted before the request is answered.
    pub(super) fn hold(&self) {
        if let Some(holds) = self.lent.holds() {
            // ORDERING: published by the answer.
            holds.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let Some(holds) = self.lent.holds() else { return };
        // ORDERING: Release: what was read was read before. The parent sets `WITHDRAWN` in the same word, so either it sees
        // that nobody is left, or this sees that it waits for that.
        if holds.fetch_sub(1, Ordering::AcqRel) == WITHDRAWN | 1 {
            kick_parent();
        }
    }
}

/// Memory that this worker made, and that nobody can write to any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    mapping: Mapping,
    file: OwnedFd,
    id: u64,
}

impl Sealed {
    pub(super) fn make(length: usize, fill: impl FnOnce(&mut [u8])) -> Made {
        static NEXT: AtomicU64 = AtomicU64::new(1);
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
        // SAFETY: the kernel lets nobody write to it.
        unsafe { self.mapping.bytes(0, self.mapping.length()) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }
}
