//! Proof that parent and worker are the same build, and functions as offsets that only hold between such two.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicU8, Ordering},
};

use serde::{Deserialize, Serialize};

use super::frame;
use crate::{
    error::TaskError,
    process::task::entry::{ENTRY_MAGIC, Entry},
    role,
};

/// What functions are measured from. A static, because a function may have a copy in each unit of code.
static ANCHOR: AtomicU8 = AtomicU8::new(0);

fn anchor() -> usize {
    // ORDERING: the value means nothing; only the address does.
    ANCHOR.load(Ordering::Relaxed);
    (&raw const ANCHOR).addr()
}

/// Equal in two processes only when they run the same program file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Identity {
    version: String,
    protocol: u32,
    /// Device, inode and size.
    file: (u64, u64, u64),
    /// What the linker has written into the program to tell it from other builds; where it has not, and the file could be
    /// another one by now, when it was changed last.
    build: Build,
    /// From the anchor to a function: differs between builds whose code differs in size.
    distance: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Build {
    /// Its file is the one that this process runs, and nobody can write to such a file.
    Running,
    Id(Vec<u8>),
    Changed(i64, i64),
}

/// The file that this crate's code was loaded from, and what else there is to tell it by.
#[cfg(target_os = "linux")]
fn own_file() -> io::Result<(fs::Metadata, Build)> {
    use crate::sys::Image;
    let image = crate::sys::image();
    let build = |other: Build| image.and_then(|image| image.build_id.clone()).map_or(other, Build::Id);
    match image {
        Some(Image { path: Some(path), .. }) => {
            let file = fs::metadata(path)?;
            // Not of the program: a library may be replaced while it is loaded.
            let changed = Build::Changed(file.mtime(), file.mtime_nsec());
            Ok((file, build(changed)))
        }
        // Also right when the file was replaced or removed after the program started.
        _ => Ok((fs::metadata("/proc/self/exe").map_err(name_proc)?, build(Build::Running))),
    }
}

#[cfg(target_os = "linux")]
fn name_proc(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("/proc/self/exe cannot be looked at ({error}): is /proc mounted?"))
}

#[cfg(not(target_os = "linux"))]
fn own_file() -> io::Result<(fs::Metadata, Build)> {
    let file = fs::metadata(std::env::current_exe()?)?;
    let changed = Build::Changed(file.mtime(), file.mtime_nsec());
    Ok((file, changed))
}

impl Identity {
    pub(in crate::process) fn of_this_program() -> io::Result<Self> {
        let (file, build) = own_file()?;
        // Any function of this crate does that stands in another file than the anchor.
        let function = role::in_worker as fn() -> bool as usize;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: frame::PROTOCOL,
            file: (file.dev(), file.ino(), file.size()),
            build,
            distance: function.wrapping_sub(anchor()) as u64,
        })
    }
}

/// A function as it travels: where its entry is, and a hash of its name.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::process) struct FunctionId {
    pub(in crate::process) offset: u64,
    pub(in crate::process) name_hash: u64,
}

impl FunctionId {
    /// An entry in another library than this crate's code has another distance in every process, so it is refused.
    pub(in crate::process) fn of(entry: &'static Entry) -> Result<Self, TaskError> {
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

    /// The entry, in a worker that has proved to be the same build. Whatever does not look like it is an error.
    pub(in crate::process) fn find(self) -> Result<&'static Entry, TaskError> {
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
