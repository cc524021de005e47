//! Where this program's own code and constants are in memory.

use crate::process::Entry;

/// Whether `size` bytes at `address` belong to the program itself.
pub(crate) fn is_in_program(address: usize, size: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        // Put there by the linker: where the image begins and ends.
        unsafe extern "C" {
            static __executable_start: u8;
            static _end: u8;
        }
        let (start, end) = ((&raw const __executable_start).addr(), (&raw const _end).addr());
        address >= start && address.checked_add(size).is_some_and(|last| last <= end)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = size;
        address != 0
    }
}

/// The entry at an address that a parent of the same build sent; `None` where none can be.
pub(crate) fn entry_at(address: usize) -> Option<&'static Entry> {
    if !address.is_multiple_of(align_of::<Entry>()) || !is_in_program(address, size_of::<Entry>()) {
        return None;
    }
    // SAFETY: the address is aligned and lies in this program's image. The handshake has proved that the parent, which sent
    // it as a distance between two statics, runs the same image, and there it is the address of an `Entry`.
    Some(unsafe { &*std::ptr::with_exposed_provenance::<Entry>(address) })
}
