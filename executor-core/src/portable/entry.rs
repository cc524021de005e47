//! [`Entry`]: a task's code as the program names it and a worker finds it.

use std::{any::Any, fmt};

use super::arguments::Items;
use crate::{codec::Output, error::TaskError, sys};

/// Found by its address, called with bytes.
pub(crate) struct Entry {
    /// Tells an entry from whatever else may be at an address.
    pub(crate) magic: u64,
    pub(crate) name: fn() -> &'static str,
    pub(crate) restore: Restore,
    /// Decodes the argument, runs the task, writes the encoded result.
    pub(crate) run: Run,
    /// Does the same with each item of a chunk, and calls the last function after each.
    pub(crate) run_items: RunItems,
}

type Restore = fn(&[u8]) -> Result<Box<dyn Any + Send>, TaskError>;
type Run = fn(&dyn Any, &[u8], &mut Output<'_>) -> Result<(), TaskError>;
type RunItems = for<'o> fn(&dyn Any, Items<'_>, &mut Output<'o>, ItemDone<'_, 'o>);
type ItemDone<'a, 'o> = &'a mut dyn FnMut(&mut Output<'o>);

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str((self.name)())
    }
}

pub(crate) const ENTRY_MAGIC: u64 = 0x6578_6563_7461_736b;

/// The entry at an address that a parent of the same build sent; `None` where none can be.
pub(super) fn entry_at(address: usize) -> Option<&'static Entry> {
    if !address.is_multiple_of(align_of::<Entry>()) || !sys::is_in_program(address, size_of::<Entry>()) {
        return None;
    }
    // SAFETY: the address is aligned and lies in this program's image. The handshake has proved that the parent, which sent
    // it as a distance between two statics, runs the same image, and there it is the address of an `Entry`.
    Some(unsafe { &*std::ptr::with_exposed_provenance::<Entry>(address) })
}
