//! Memory that the system has promised and not yet given.

use rustix::{mm::Advice, param::page_size};

/// Has the system give the whole pages among `length` bytes now, all at once: cheaper than a fault for each when it is first
/// touched.
///
/// # Safety
///
/// The bytes are part of one allocation of the caller's.
pub(crate) unsafe fn populate(start: *mut u8, length: usize) {
    let before = start.align_offset(page_size());
    let Some(whole) = length.checked_sub(before).map(|rest| rest / page_size() * page_size()) else { return };
    if whole == 0 {
        return;
    }
    let first = start.wrapping_add(before).cast();
    // An older kernel refuses, and gives them one by one as they are touched.
    // SAFETY: these pages are the caller's, and being there changes nothing that a program can see.
    let _ = unsafe { rustix::mm::madvise(first, whole, Advice::LinuxPopulateWrite) };
}
