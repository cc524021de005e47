//! Functions as offsets, which only hold between two processes of the same build.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use super::entry::{ENTRY_MAGIC, Entry, entry_at};
use crate::error::TaskError;

/// The anchor that functions are measured from. A static, because a function may have a copy in each unit of code.
static ANCHOR: AtomicU8 = AtomicU8::new(0);

pub(crate) fn anchor() -> usize {
    // ORDERING: the value means nothing; only the address does.
    ANCHOR.load(Ordering::Relaxed);
    (&raw const ANCHOR).addr()
}

/// A function as it travels: where its entry is, and a hash of its name.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct FunctionId {
    pub(crate) offset: u64,
    pub(crate) name_hash: u64,
}

impl FunctionId {
    /// An entry in another library than this crate's code has another distance in every process, so it is refused.
    pub(crate) fn of(entry: &'static Entry) -> Result<Self, TaskError> {
        let address = std::ptr::from_ref(entry).addr();
        if !crate::sys::is_in_program(address, size_of::<Entry>()) {
            return Err(TaskError::encode(
                "task",
                "its function is not part of the program (or library) that executor_core is part of, but of another library \
                 loaded at run time",
            ));
        }
        Ok(Self { offset: address.wrapping_sub(anchor()) as u64, name_hash: hash((entry.name)()) })
    }

    /// The entry, in a worker that has proved to be the same build. An address without an entry is an error.
    pub(crate) fn find(self) -> Result<&'static Entry, TaskError> {
        let unknown = || TaskError::decode("task", "the worker does not know its function");
        let address = anchor().wrapping_add(self.offset as usize);
        let entry = entry_at(address).ok_or_else(unknown)?;
        if entry.magic != ENTRY_MAGIC || hash((entry.name)()) != self.name_hash {
            return Err(unknown());
        }
        Ok(entry)
    }
}

/// FNV-1a, 64 bits.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
