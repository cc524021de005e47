//! A holder's view of a segment of shared memory, the same on both sides.

use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    os::fd::{AsFd, BorrowedFd},
};

use serde::{Deserialize, Serialize};

use super::{
    borrowed::{Borrowed, Sealed, find},
    store::{self, Holder},
};
use crate::role::in_worker;

pub(crate) use super::segment::Use;

/// Immutable bytes in shared memory, and one holder of them.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// In the parent.
    Held(Holder),
    /// In a worker: made here.
    Sealed(std::sync::Arc<Sealed>),
    /// In a worker: the parent's.
    Borrowed(std::sync::Arc<Borrowed>),
}

/// Whether shared memory was had.
pub(crate) enum Made {
    Shared(Block),
    /// The system had none.
    Plain(Vec<u8>),
}

/// Makes a block of `length` bytes, at least one, which `fill` writes.
pub(crate) fn make(length: usize, purpose: Use, fill: impl FnOnce(&mut [u8])) -> Made {
    if in_worker() {
        return Sealed::make(length, fill);
    }
    match store::make(length, purpose) {
        Some(mut fresh) => {
            fill(fresh.bytes_mut());
            Made::Shared(Block::Held(fresh.into_holder()))
        }
        None => {
            let mut bytes = vec![0; length];
            fill(&mut bytes);
            Made::Plain(bytes)
        }
    }
}

/// In the parent: a copy of `bytes`, if there is shared memory for it.
pub(crate) fn copy(bytes: &[u8], purpose: Use) -> Option<Block> {
    let mut fresh = store::make(bytes.len(), purpose)?;
    fresh.bytes_mut().copy_from_slice(bytes);
    Some(Block::Held(fresh.into_holder()))
}

impl Block {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Held(holder) => holder.bytes(),
            Self::Sealed(sealed) => sealed.bytes(),
            Self::Borrowed(borrowed) => borrowed.bytes(),
        }
    }

    /// Whether another process can be given it; otherwise it has to be copied.
    pub(crate) fn can_be_sent(&self) -> bool {
        match self {
            Self::Held(holder) => holder.can_be_leased(),
            Self::Sealed(_) | Self::Borrowed(_) => true,
        }
    }

    /// The reference by which the other side finds it, for callers that make sure that it stays. See
    /// [`Pins::refer`](crate::pins::Pins::refer).
    pub(crate) fn reference(&self) -> Reference {
        Reference { from_worker: matches!(self, Self::Sealed(_)), id: self.id(), length: self.bytes().len() as u64 }
    }

    fn id(&self) -> u64 {
        match self {
            Self::Held(holder) => holder.id(),
            Self::Sealed(sealed) => sealed.id(),
            Self::Borrowed(borrowed) => borrowed.id(),
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.reference() == other.reference()
    }

    /// In a worker that sends it: the file of what was made here.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Sealed(sealed) => Some(sealed.file().as_fd()),
            _ => None,
        }
    }

    /// In a worker that sends it: counts one more holder of a leased segment, which the parent will end.
    pub(crate) fn hand_over(&self) {
        if let Self::Borrowed(borrowed) = self {
            borrowed.hold();
        }
    }
}

/// A block as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    /// Whether the worker has made it, and not the parent.
    pub(crate) from_worker: bool,
    pub(crate) id: u64,
    pub(crate) length: u64,
}

impl Reference {
    /// Bytes of one beside a reply.
    pub(crate) const LENGTH: usize = 24;
    /// Bytes of one within a value, at most.
    pub(crate) const ENCODED: usize = 64;

    /// The block; a reference to what this process was not given is an error.
    pub(crate) fn resolve(self) -> Result<Block, &'static str> {
        if in_worker() {
            return find(self);
        }
        let attached = ATTACHED.with_borrow(|attached| attached.iter().find(|(other, _)| *other == self).cloned());
        match attached {
            Some((_, block)) => block,
            None => Err("a reference to shared bytes that did not come with it"),
        }
    }

    /// As bytes beside a reply.
    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[0] = u8::from(self.from_worker);
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// The inverse of [`to_bytes`](Self::to_bytes).
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.try_into().ok()?;
        let number = |at: usize| bytes[at..].first_chunk().map(|number| u64::from_le_bytes(*number));
        match number(0)? {
            from_worker @ (0 | 1) => Some(Self { from_worker: from_worker == 1, id: number(8)?, length: number(16)? }),
            _ => None,
        }
    }
}

/// Why shared memory that a worker has sent is not there.
pub(crate) const NO_DESCRIPTOR: &str =
    "its shared memory could not be received: the program has too many files open, or too many are under way";

/// The segments that came beside a result, by how the result refers to them; or why they could not be received.
pub(crate) type Attached = Vec<(Reference, Result<Block, &'static str>)>;

thread_local! {
    /// Without a destructor, so that also the destructors of other thread-locals can decode something.
    static ATTACHED: RefCell<ManuallyDrop<Attached>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// Runs `decode`, in which references to `attached` can be resolved.
pub(crate) fn with_attached<R>(attached: &Attached, decode: impl FnOnce() -> R) -> R {
    if attached.is_empty() {
        return decode();
    }
    /// Also puts back what was there before when `decode` panics.
    struct Restore(Attached);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = ManuallyDrop::new(std::mem::take(&mut self.0));
            drop(ManuallyDrop::into_inner(ATTACHED.replace(outer)));
        }
    }
    const { assert!(!std::mem::needs_drop::<RefCell<ManuallyDrop<Attached>>>()) };
    let outer = ATTACHED.replace(ManuallyDrop::new(attached.clone()));
    let _restore = Restore(ManuallyDrop::into_inner(outer));
    decode()
}
