//! Proof that parent and worker are the same build, and functions as offsets that only hold between such two.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicU8, Ordering},
};

use serde::{Deserialize, Serialize};

use super::{
    entry::{ENTRY_MAGIC, Entry},
    wire, worker,
};
use crate::error::TaskError;

/// What functions are measured from. A static, because a function may have a copy in each unit of code.
static ANCHOR: AtomicU8 = AtomicU8::new(0);

fn anchor() -> usize {
    // ORDERING: the value means nothing; only the address does.
    ANCHOR.load(Ordering::Relaxed);
    (&raw const ANCHOR).addr()
}

/// Equal in two processes only when they run the same program file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    version: String,
    protocol: u32,
    /// Device, inode, size, and time of the last change.
    file: (u64, u64, u64, i64, i64),
    /// From the anchor to a function: differs between builds whose code differs in size.
    distance: u64,
}

impl Identity {
    pub(super) fn of_this_program() -> io::Result<Self> {
        let file = if cfg!(target_os = "linux") {
            // Also right when the file was replaced or removed after the program started.
            fs::metadata("/proc/self/exe")?
        } else {
            fs::metadata(std::env::current_exe()?)?
        };
        let function = worker::init as fn() as usize;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: wire::PROTOCOL,
            file: (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()),
            distance: function.wrapping_sub(anchor()) as u64,
        })
    }
}

/// A function as it travels: where its entry is, and a hash of its name.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct FunctionId {
    pub(super) offset: u64,
    pub(super) name_hash: u64,
}

impl FunctionId {
    /// An entry in a library that was loaded at run time has another distance in every process, so it is refused.
    pub(super) fn of(entry: &'static Entry) -> Result<Self, TaskError> {
        let address = std::ptr::from_ref(entry).addr();
        if !crate::sys::is_in_program(address, size_of::<Entry>()) {
            return Err(TaskError::encode(
                "task",
                "its function is not part of the program but of a library loaded at run time",
            ));
        }
        Ok(Self { offset: address.wrapping_sub(anchor()) as u64, name_hash: hash((entry.name)()) })
    }

    /// The entry, in a worker that has proved to be the same build. Whatever does not look like it is an error.
    pub(super) fn find(self) -> Result<&'static Entry, TaskError> {
        let unknown = || TaskError::decode("task", "the worker does not know its function");
        let address = anchor().wrapping_add(self.offset as usize);
        let entry = crate::sys::entry_at(address).ok_or_else(unknown)?;
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
