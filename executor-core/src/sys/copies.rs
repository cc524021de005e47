//! Forked copies of this process: how code finds out that it runs in one.
//!
//! A copy made by `fork` has the memory of all threads and only one of the threads. What was built before is there, and no thread
//! works for it; locks that other threads held stay locked for ever; and memory that is shared with worker processes is still
//! shared, by two processes that know nothing of each other's steps. So everything that is built notes the [`generation`] of its
//! process, and is not touched in another one. What is there once per program is kept in [`PerProcess`], which a copy starts anew.
//!
//! Asking costs two loads. The number is in a page that the kernel wipes in a copy (`MADV_WIPEONFORK`), whatever code has made the
//! copy and by whatever call; where a kernel cannot do that, the C library's `fork` tells. A process that shares the memory of this
//! one (`vfork`, `posix_spawn`) is no copy. A fork server's own forks take the number along ([`continue_as`]).

use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

#[cfg(all(target_os = "linux", not(miri), not(loom)))]
pub(crate) use page::{continue_as, forks, generation};

/// Where there are no processes to be copied, there is one generation.
#[cfg(any(miri, loom))]
pub(crate) fn generation() -> u64 {
    1
}

/// Each process is a generation of its own.
#[cfg(not(any(target_os = "linux", miri, loom)))]
pub(crate) fn generation() -> u64 {
    u64::from(std::process::id())
}

#[cfg(all(target_os = "linux", any(miri, loom)))]
pub(crate) fn continue_as(_: u64) {}

#[cfg(all(target_os = "linux", any(miri, loom)))]
pub(crate) fn forks() -> u64 {
    0
}

#[cfg(all(target_os = "linux", not(miri), not(loom)))]
mod page {
    use std::{
        ptr,
        sync::atomic::{AtomicPtr, AtomicU64, Ordering},
    };

    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

    /// The page's one word: the generation, or 0 in a copy in which it was not asked for yet. Null until it is first asked for.
    static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    /// The last number that was given; a copy goes on from there.
    static LAST: AtomicU64 = AtomicU64::new(0);
    static FORKS: AtomicU64 = AtomicU64::new(0);
    /// The word that is used where no page can be mapped.
    static FALLBACK: AtomicU64 = AtomicU64::new(0);

    const PAGE: usize = 4096;

    /// Which process this is: the same number until the end of the process, and another one in a copy of it.
    #[inline]
    pub(crate) fn generation() -> u64 {
        // ORDERING: Acquire pairs with the Release of `page`: a thread that sees the page sees what the kernel was told of it.
        let word = WORD.load(Ordering::Acquire);
        // SAFETY: null, or a word that stays mapped for ever.
        let word = unsafe { word.as_ref() };
        // ORDERING: the number stands for itself.
        match word.map(|word| word.load(Ordering::Relaxed)) {
            Some(number @ 1..) => number,
            _ => begin(),
        }
    }

    /// The first call in this process.
    #[cold]
    fn begin() -> u64 {
        let word = page();
        // ORDERING: only uniqueness matters.
        let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        match word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => next,
            // Another thread has been faster.
            Err(number) => number,
        }
    }

    fn page() -> &'static AtomicU64 {
        // ORDERING: Acquire pairs with the Release below: a thread that sees the page sees what the kernel was told of it.
        // SAFETY: null, or a word that stays mapped for ever.
        if let Some(word) = unsafe { WORD.load(Ordering::Acquire).as_ref() } {
            return word;
        }
        let made = make_page();
        let word = made.unwrap_or(ptr::from_ref(&FALLBACK).cast_mut());
        // ORDERING: Release pairs with the Acquire in `generation`.
        match WORD.compare_exchange(ptr::null_mut(), word, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // SAFETY: both only change an atomic, as code may that runs between a fork and whatever comes next.
                unsafe { libc::pthread_atfork(Some(in_parent), Some(in_parent), Some(in_copy)) };
                // SAFETY: it was just made, and stays.
                unsafe { &*word }
            }
            Err(other) => {
                if let Some(made) = made {
                    // SAFETY: the page was just made, and no other thread was told of it.
                    let _ = unsafe { munmap(made.cast(), PAGE) };
                }
                // SAFETY: another thread has put it there, and it stays.
                unsafe { &*other }
            }
        }
    }

    /// A page that is all zero in every copy; `None` where the system refuses one.
    fn make_page() -> Option<*mut AtomicU64> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at a place that the kernel chooses, touches nothing that exists.
        let page = unsafe { mmap_anonymous(ptr::null_mut(), PAGE, access, MapFlags::PRIVATE) }.ok()?;
        // An older kernel does not know it. Then the C library tells.
        // SAFETY: changes what copies see of a page of ours, in which there is nothing yet.
        let _ = unsafe { madvise(page, PAGE, Advice::LinuxWipeOnFork) };
        Some(page.cast())
    }

    /// Before and after, because other threads go on meanwhile.
    extern "C" fn in_parent() {
        // ORDERING: a count that stands for itself.
        FORKS.fetch_add(1, Ordering::SeqCst);
    }

    /// How often this process was copied by the C library's `fork`. What was there at one of them, the copy may still read.
    pub(crate) fn forks() -> u64 {
        // From now on they are counted.
        generation();
        FORKS.load(Ordering::SeqCst)
    }

    extern "C" fn in_copy() {
        // ORDERING: the only thread there is.
        // SAFETY: null, or a word that stays mapped for ever.
        if let Some(word) = unsafe { WORD.load(Ordering::Relaxed).as_ref() } {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// In a copy that this crate has made of a process with nothing but what a copy may go on with.
    pub(crate) fn continue_as(generation: u64) {
        // ORDERING: the only thread there is.
        page().store(generation, Ordering::Relaxed);
    }
}

/// A static that each process has for itself: a forked copy begins with a new one. The old one is left as it is, for a thread may
/// have been changing it when the copy was made.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<Kept<T>>,
    make: fn() -> T,
}

struct Kept<T> {
    generation: u64,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), make }
    }

    #[inline]
    pub(crate) fn get(&self) -> &'static T {
        // ORDERING: Acquire pairs with the Release of `begin`.
        // SAFETY: null, or what `begin` has leaked.
        let kept: Option<&'static Kept<T>> = unsafe { self.current.load(Ordering::Acquire).as_ref() };
        match kept {
            Some(kept) if kept.generation == generation() => &kept.value,
            _ => self.begin(),
        }
    }

    #[cold]
    fn begin(&self) -> &'static T {
        let generation = generation();
        // ORDERING: Acquire pairs with the Release below, by which another thread has put it there.
        let mut old = self.current.load(Ordering::Acquire);
        let fresh = Box::into_raw(Box::new(Kept { generation, value: (self.make)() }));
        loop {
            // SAFETY: null, or what an earlier call has leaked.
            match unsafe { old.as_ref() } {
                Some(kept) if kept.generation == generation => {
                    // Another thread has been faster.
                    // SAFETY: it came from a box, and no other thread was told of it.
                    drop(unsafe { Box::from_raw(fresh) });
                    return &kept.value;
                }
                _ => {}
            }
            // ORDERING: Release shows the value to threads that find it.
            match self.current.compare_exchange(old, fresh, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: it stays for ever.
                Ok(_) => return unsafe { &(*fresh).value },
                Err(other) => old = other,
            }
        }
    }
}

/// In a copy that was made by a task, or by other code of the user on one of this crate's threads, and that has come back from
/// there: ends it, without running anything else. Its thread has nothing to go on with.
#[cold]
pub(crate) fn end_copy() -> ! {
    #[cfg(target_os = "linux")]
    // SAFETY: ends the process, and has no requirements.
    unsafe {
        libc::_exit(0)
    }
    #[cfg(not(target_os = "linux"))]
    std::process::exit(0)
}

/// For tests: what `child` returns in a forked copy of this process, a number below 256; 0 where it hangs.
#[cfg(all(test, target_os = "linux", not(loom)))]
pub(crate) fn in_a_copy(child: impl FnOnce() -> u8) -> u8 {
    // SAFETY: the copy runs what is given, which takes no lock that a thread may hold, and ends.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: has no requirements.
            unsafe { libc::alarm(60) };
            let code = child();
            // SAFETY: ends the copy.
            unsafe { libc::_exit(code.into()) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: the status is written to a number of ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX)
        }
    }
}

#[cfg(all(test, target_os = "linux", not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_another_generation() {
        // Threads that ask first at the same time have each used up a number, so there may be more than one between the two.
        let is_new = |own: u64| {
            let new = generation();
            new > own && new == generation()
        };
        let own = generation();
        assert_eq!(in_a_copy(|| is_new(own).into()), 1);
        assert_eq!(
            in_a_copy(|| {
                let is_new_in_copy = is_new(own);
                let own = generation();
                u8::from(is_new_in_copy) * in_a_copy(|| is_new(own).into())
            }),
            1
        );
        assert_eq!(
            in_a_copy(|| {
                continue_as(own);
                u8::from(generation() == own)
            }),
            1
        );
        assert_eq!(generation(), own);
    }

    #[test]
    fn a_copy_made_behind_the_c_librarys_back_is_noticed() {
        let own = generation();
        let (flags, none) = (libc::c_long::from(libc::SIGCHLD), 0);
        // SAFETY: the copy does nothing but two loads before it ends, so it takes no lock that a thread may hold.
        match unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) } {
            // SAFETY: ends the copy.
            0 => unsafe { libc::_exit((generation() == own).into()) },
            pid => {
                let mut status = 0;
                // SAFETY: the status is written to a number of ours.
                unsafe { libc::waitpid(pid.try_into().unwrap(), &raw mut status, 0) };
                assert_eq!(status, 0);
            }
        }
    }

    #[test]
    fn a_copy_does_not_wait_for_a_lock_that_a_thread_held() {
        static LOCK: PerProcess<std::sync::Mutex<u8>> = PerProcess::new(|| std::sync::Mutex::new(7));
        let mut held = LOCK.get().lock().unwrap();
        *held = 8;
        assert_eq!(in_a_copy(|| *LOCK.get().lock().unwrap()), 7);
        drop(held);
        assert_eq!(*LOCK.get().lock().unwrap(), 8);
    }
}
