//! Words of memory that this process and its workers see at the same time.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::AtomicU64,
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An array of atomic words in shared memory.
pub(crate) struct SharedWords {
    words: NonNull<AtomicU64>,
    count: usize,
    file: OwnedFd,
}

// SAFETY: the memory is only reached as `&AtomicU64`, which may be shared between threads.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// New memory, all zero. Pages that nobody writes to take no space.
    pub(crate) fn create(count: usize) -> io::Result<Self> {
        let file = anonymous_file()?;
        rustix::fs::ftruncate(&file, (count * size_of::<AtomicU64>()) as u64)?;
        // A worker that could shrink the file could make this process fault on its own memory.
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::SealFlags;
            rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        }
        let words = Self::map(file.as_fd(), count, ProtFlags::READ | ProtFlags::WRITE)?;
        // From here on nobody can map the file to write to it.
        #[cfg(target_os = "linux")]
        rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::FUTURE_WRITE)?;
        Ok(Self { words, count, file })
    }

    /// The memory behind `file`, to be read. The file must hold `count` words.
    pub(crate) fn open(file: OwnedFd, count: usize) -> io::Result<Self> {
        let size = rustix::fs::fstat(&file)?.st_size;
        if u64::try_from(size).unwrap_or(0) < (count * size_of::<AtomicU64>()) as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory is too small"));
        }
        let words = Self::map(file.as_fd(), count, ProtFlags::READ)?;
        Ok(Self { words, count, file })
    }

    fn map(file: BorrowedFd<'_>, count: usize, access: ProtFlags) -> io::Result<NonNull<AtomicU64>> {
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that exists.
        let address =
            unsafe { mmap(ptr::null_mut(), count * size_of::<AtomicU64>(), access, MapFlags::SHARED, file, 0) }?;
        NonNull::new(address.cast()).ok_or_else(|| io::Error::other("the mapping is at address zero"))
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A word; only memory that was created here may be written to.
    pub(crate) fn get(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.count {
            return None;
        }
        // SAFETY: the mapping has `count` words.
        let word = unsafe { self.words.add(index) };
        // SAFETY: the mapping is aligned to pages, and lives as long as `self`.
        Some(unsafe { word.as_ref() })
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.words.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

#[cfg(target_os = "linux")]
fn anonymous_file() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(memfd_create("executor-core", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// A file that has no name any more.
#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> io::Result<OwnedFd> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // ORDERING: only uniqueness matters.
    let name = format!("executor-core-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}
