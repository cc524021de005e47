//! Memory that this process and its workers see at the same time.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Which processes may write to a mapping besides the one that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writable {
    /// No other one: a process that is given the file can only map it to read.
    HereOnly,
    /// Each process that is given the file.
    Everywhere,
}

/// A mapped file without a name. Its size never changes, so that no access to it can fault.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is only reached through atomics, and through methods whose callers make sure that no other thread or process
// touches the same bytes meanwhile.
unsafe impl Send for Mapping {}
// SAFETY: what all threads may do at the same time is atomic; for the rest, callers make sure that no other thread or process
// touches the same bytes meanwhile.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// New memory, all zero, and its file. Pages that are not touched take no space.
    pub(crate) fn create(length: usize, writable: Writable) -> io::Result<(Self, OwnedFd)> {
        may_have_file_of(length)?;
        let file = anonymous_file()?;
        rustix::fs::ftruncate(&file, length as u64)?;
        // A worker that could shrink the file could make this process fault on its own memory.
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::SealFlags;
            rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        }
        let mapping = Self::map(file.as_fd(), length, ProtFlags::READ | ProtFlags::WRITE)?;
        // From here on no process can map the file to write to it.
        #[cfg(target_os = "linux")]
        if writable == Writable::HereOnly {
            rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::FUTURE_WRITE)?;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = writable;
        Ok((mapping, file))
    }

    /// The memory behind a file that another process made. The file must be long enough.
    pub(crate) fn open(file: BorrowedFd<'_>, length: usize, writable: Writable) -> io::Result<Self> {
        let size = rustix::fs::fstat(file)?.st_size;
        if u64::try_from(size).unwrap_or(0) < length as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory is too small"));
        }
        let access = match writable {
            Writable::HereOnly => ProtFlags::READ,
            Writable::Everywhere => ProtFlags::READ | ProtFlags::WRITE,
        };
        Self::map(file, length, access)
    }

    fn map(file: BorrowedFd<'_>, length: usize, access: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that exists.
        let address = unsafe { mmap(ptr::null_mut(), length, access, MapFlags::SHARED, file, 0) }?;
        let base = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("the mapping is at address zero"))?;
        Ok(Self { base, length })
    }

    /// New memory that `fill` has filled and that no process can write to any more, and its file. An error has what `fill` wrote if
    /// it has run.
    #[cfg(target_os = "linux")]
    pub(crate) fn create_sealed(
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(Self, OwnedFd), Option<Vec<u8>>> {
        let (mapping, file) = Self::create(length, Writable::Everywhere).map_err(|_| None)?;
        mapping.populate(length);
        // SAFETY: the mapping was just made, and no other process has its file.
        fill(unsafe { mapping.bytes_mut(0, length) });
        // The seal is refused as long as a process could write: one that another thread has just forked, for example.
        drop(mapping);
        let seal = || {
            // The parent takes no holes. There is one only where the kernel could not populate, and `fill` did not write.
            if !is_there(file.as_fd(), length)? {
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length as u64)?;
            }
            rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::WRITE)?;
            Self::map(file.as_fd(), length, ProtFlags::READ)
        };
        match seal() {
            Ok(mapping) => Ok((mapping, file)),
            Err(_) => Err(read_shared(file.as_fd(), length)),
        }
    }

    /// The memory behind a file that a process made that is not trusted: only if no process can write to it, or shorten it, any
    /// more, and if there is memory behind it: holes cost the other process nothing, and addresses here. A file that is not like
    /// this is [`InvalidData`](io::ErrorKind::InvalidData).
    #[cfg(target_os = "linux")]
    pub(crate) fn open_sealed(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        use rustix::fs::SealFlags;
        let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let seals = rustix::fs::fcntl_get_seals(file).map_err(|_| bad("it is not shared memory"))?;
        if length == 0 || !seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW) {
            return Err(bad("the shared memory is not sealed"));
        }
        if has_huge_pages(file)? {
            // They are mapped in whole pages only, and can be unmapped only like that.
            return Err(bad("the shared memory is not made of ordinary pages"));
        }
        if !is_there(file, length)? {
            return Err(bad("there is no memory behind the file"));
        }
        Self::open(file, length, Writable::HereOnly)
    }

    /// A sealed file that is nothing but a hole.
    #[cfg(all(test, not(loom), target_os = "linux"))]
    pub(crate) fn create_hollow(length: u64) -> io::Result<OwnedFd> {
        use rustix::fs::SealFlags;
        let file = anonymous_file()?;
        rustix::fs::ftruncate(&file, length)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
        Ok(file)
    }

    /// Bytes in it.
    #[cfg(target_os = "linux")]
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Makes the first `length` bytes be there, all at once: cheaper than page by page as they are touched.
    #[cfg(target_os = "linux")]
    pub(crate) fn populate(&self, length: usize) {
        use rustix::mm::Advice;
        let place = self.place(0, length, 1);
        // To read is enough, and allowed in every mapping: pages of a file that all share can be written to from then on. An
        // older kernel does it page by page.
        // SAFETY: makes pages of a mapping of ours present, which changes nothing that a program can see.
        let _ = unsafe { rustix::mm::madvise(place.as_ptr().cast(), length, Advice::LinuxPopulateRead) };
    }

    /// As on Linux, where it can be done.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn populate(&self, _: usize) {}

    /// Keeps it out of forked copies of this process, which a signal ends where they touch it.
    #[cfg(target_os = "linux")]
    pub(crate) fn leave_out_of_copies(&self) {
        // SAFETY: changes nothing that this process can see.
        let _ =
            unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.length, rustix::mm::Advice::LinuxDontFork) };
    }

    /// Keeps it out of core dumps, which would fill every hole in it with pages.
    #[cfg(target_os = "linux")]
    pub(crate) fn leave_out_of_dumps(&self) {
        // Where it is refused, a dump is only longer.
        // SAFETY: changes nothing that a program can see.
        let _ =
            unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.length, rustix::mm::Advice::LinuxDontDump) };
    }

    /// The place of `length` bytes at `offset`.
    ///
    /// # Panics
    ///
    /// When it is not all inside the mapping, or not aligned.
    fn place(&self, offset: usize, length: usize, alignment: usize) -> NonNull<u8> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(inside && offset.is_multiple_of(alignment), "shared memory has no {length} bytes at {offset}");
        // SAFETY: inside the mapping, as was just checked.
        unsafe { self.base.add(offset) }
    }

    /// A word. It may be written to only in memory that this process may write to.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: aligned and inside the mapping, which lives as long as `self`; every bit pattern is a number.
        unsafe { self.place(offset, 4, 4).cast().as_ref() }
    }

    /// A long word, under the conditions of [`word`](Self::word).
    pub(crate) fn long(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: aligned and inside the mapping, which lives as long as `self`; every bit pattern is a number.
        unsafe { self.place(offset, 8, 8).cast().as_ref() }
    }

    /// Writes bytes.
    ///
    /// # Safety
    ///
    /// This process may write to the mapping, and no other thread or process reads these bytes, or writes to them, until it is told
    /// to.
    pub(crate) unsafe fn write(&self, offset: usize, bytes: &[u8]) {
        let place = self.place(offset, bytes.len(), 1);
        // SAFETY: the place is inside the mapping and this process's own for now.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
    }

    /// Bytes that no thread or process writes to.
    ///
    /// # Safety
    ///
    /// No thread or process writes to these bytes while they are borrowed. That can be known only of bytes that no other process
    /// can write to, or in a process that trusts the other one.
    pub(crate) unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let place = self.place(offset, length, 1);
        // SAFETY: inside the mapping, and no thread or process writes to it while it is borrowed.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), length) }
    }

    /// Bytes that only this process touches for now.
    ///
    /// # Safety
    ///
    /// This process may write to the mapping, and no other thread or process touches these bytes while they are borrowed.
    #[expect(clippy::mut_from_ref, reason = "the protocol of the memory says which process has which bytes")]
    pub(crate) unsafe fn bytes_mut(&self, offset: usize, length: usize) -> &mut [u8] {
        let place = self.place(offset, length, 1);
        // SAFETY: inside the mapping, and this process's own for now.
        unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), length) }
    }

    /// Appends a copy of bytes that another process may be writing to at this moment; they may be any mixture then. `offset` is a
    /// multiple of 8.
    pub(crate) fn copy_out(&self, offset: usize, length: usize, output: &mut Vec<u8>) {
        output.reserve(length.next_multiple_of(8));
        let end = output.len() + length;
        for at in (offset..offset + length).step_by(8) {
            // ORDERING: whether the bytes are complete was learnt from another word.
            output.extend_from_slice(&self.long(at).load(Ordering::Relaxed).to_ne_bytes());
        }
        output.truncate(end);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

/// An array of long words that only the process that made it can write to.
#[derive(Debug)]
pub(crate) struct SharedWords {
    mapping: Mapping,
    count: usize,
    file: OwnedFd,
}

impl SharedWords {
    /// New words, all zero.
    pub(crate) fn create(count: usize) -> io::Result<Self> {
        let (mapping, file) = Mapping::create(count * size_of::<AtomicU64>(), Writable::HereOnly)?;
        Ok(Self { mapping, count, file })
    }

    /// The words behind `file`, to be read. The file must hold `count` of them.
    pub(crate) fn open(file: OwnedFd, count: usize) -> io::Result<Self> {
        let mapping = Mapping::open(file.as_fd(), count * size_of::<AtomicU64>(), Writable::HereOnly)?;
        Ok(Self { mapping, count, file })
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A word. It may be written to only in memory that was created here.
    pub(crate) fn get(&self, index: usize) -> Option<&AtomicU64> {
        (index < self.count).then(|| self.mapping.long(index * size_of::<AtomicU64>()))
    }
}

/// Whether two descriptors stand for the same file.
pub(crate) fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// A copy of the first bytes of shared memory that another process may be writing to, or shortening, at this moment: the kernel
/// copies, so there is no race that this program would take part in. `None` when it is not shared memory, or too short.
#[cfg(target_os = "linux")]
pub(crate) fn read_shared(file: BorrowedFd<'_>, length: usize) -> Option<Vec<u8>> {
    // Only shared memory has seals. A read of another file might never return.
    rustix::fs::fcntl_get_seals(file).ok()?;
    let size = u64::try_from(rustix::fs::fstat(file).ok()?.st_size).ok()?;
    if size < length as u64 {
        return None;
    }
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => return None,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    bytes.truncate(length);
    Some(bytes)
}

/// Whether there is memory behind the first `length` bytes, as far as the number of a file's pages tells.
#[cfg(target_os = "linux")]
fn is_there(file: BorrowedFd<'_>, length: usize) -> io::Result<bool> {
    let pages = u64::try_from(rustix::fs::fstat(file)?.st_blocks).unwrap_or(0);
    Ok(pages.saturating_mul(512) >= length as u64)
}

#[cfg(target_os = "linux")]
fn has_huge_pages(file: BorrowedFd<'_>) -> io::Result<bool> {
    // Its type is a number that has more bits on some machines.
    const HUGETLBFS: u32 = 0x9584_58f6;
    Ok(rustix::fs::fstatfs(file)?.f_type as u32 == HUGETLBFS)
}

/// Memory of this machine, with what it may swap out.
#[cfg(target_os = "linux")]
pub(crate) fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let [ram, swap] = [info.totalram, info.totalswap].map(u64::from);
    ram.saturating_add(swap).saturating_mul(info.mem_unit.into())
}

/// Shared memory is a file, and a process that makes one longer than the limit (`RLIMIT_FSIZE`) gets a signal that ends it, so the
/// limit is asked first. An error says what to do.
pub(crate) fn may_have_file_of(length: usize) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit};
    match getrlimit(Resource::Fsize).current {
        Some(limit) if limit < length as u64 => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!(
                "shared memory of {length} bytes is not allowed by the limit on the size of files, which is {limit} bytes: \
                 raise RLIMIT_FSIZE (ulimit -f)"
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether a file is shared memory, which the kernel handles without asking any other party, also when it is closed.
#[cfg(target_os = "linux")]
pub(crate) fn is_shared_memory(file: BorrowedFd<'_>) -> bool {
    // Only shared memory has seals.
    rustix::fs::fcntl_get_seals(file).is_ok()
}

/// Whether this process may have long mappings of long files: holes cost nothing, but count for these limits.
#[cfg(target_os = "linux")]
pub(crate) fn may_have_long_files() -> bool {
    use rustix::process::{Resource, getrlimit};
    [Resource::As, Resource::Fsize].into_iter().all(|limit| getrlimit(limit).current.is_none())
}

#[cfg(target_os = "linux")]
fn anonymous_file() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(memfd_create("executor-core", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// A file that has no name any more.
#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> io::Result<OwnedFd> {
    use std::sync::atomic::AtomicU32;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // ORDERING: only uniqueness matters.
    let name = format!("executor-core-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}
