//! Memory that two processes share: lines of atomic words, and nothing else.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64},
};

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

/// Two cache lines, since these are fetched in pairs: a write to one `Line` does not disturb a reader of another one.
#[repr(C, align(128))]
pub(super) struct Line {
    /// A word that can be slept on.
    pub(super) bell: AtomicU32,
    pub(super) words: [AtomicU64; 8],
}

/// `count` lines of shared memory.
pub(super) struct Shared {
    lines: NonNull<Line>,
    count: usize,
}

// SAFETY: the memory is only reached as shared references to atomics.
unsafe impl Send for Shared {}
// SAFETY: the memory is only reached as shared references to atomics, which may be shared among threads.
unsafe impl Sync for Shared {}

impl Shared {
    /// New memory, all zero, and the file to map it elsewhere.
    pub(super) fn create(count: usize) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create("lab-baseline", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, (count * size_of::<Line>()) as u64)?;
        Ok((Self::open(file.as_fd(), count)?, file))
    }

    /// The memory behind `file`, which must hold `count` lines: one that [`create`](Self::create) made with as many.
    pub(super) fn open(file: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let size = rustix::fs::fstat(file)?.st_size;
        if u64::try_from(size).unwrap_or(0) < (count * size_of::<Line>()) as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory is too small"));
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that exists.
        let address = unsafe { mmap(ptr::null_mut(), count * size_of::<Line>(), access, MapFlags::SHARED, file, 0) }?;
        let lines = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("the mapping is at address zero"))?;
        Ok(Self { lines, count })
    }

    pub(super) fn lines(&self) -> &[Line] {
        // SAFETY: the mapping has `count` lines, is aligned to pages, and lives as long as `self`; any bytes make atomics;
        // both processes reach it only by atomics.
        unsafe { NonNull::slice_from_raw_parts(self.lines, self.count).as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.lines.as_ptr().cast(), self.count * size_of::<Line>()) };
        debug_assert!(unmapped.is_ok(), "a mapping of this process can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_writes_the_other_reads() {
        let (here, file) = Shared::create(3).unwrap();
        let there = Shared::open(file.as_fd(), 3).unwrap();
        here.lines()[2].words[7].store(42, Ordering::Relaxed);
        assert_eq!(there.lines()[2].words[7].load(Ordering::Relaxed), 42);
        assert_eq!((there.lines().len(), size_of::<Line>()), (3, 128));
        assert!(Shared::open(file.as_fd(), 100).is_err());
    }
}
