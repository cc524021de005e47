//! Proof that parent and worker are the same build.

use std::{fs, io, os::unix::fs::MetadataExt};

use serde::{Deserialize, Serialize};

use super::frame;
use crate::{portable::function_id::anchor, role};

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
    /// Its file is the one that this process runs, and no process can write to such a file.
    Running,
    Id(Vec<u8>),
    Changed(i64, i64),
}

/// The file that this crate's code was loaded from, and what else identifies it.
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
        _ => Ok((program_file().map_err(name_proc)?, build(Build::Running))),
    }
}

#[cfg(target_os = "linux")]
fn program_file() -> io::Result<fs::Metadata> {
    // Of a process whose main thread has ended, only the other threads tell.
    fs::metadata("/proc/self/exe").or_else(|_| fs::metadata("/proc/thread-self/exe"))
}

#[cfg(target_os = "linux")]
fn name_proc(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("/proc/self/exe cannot be inspected ({error}): is /proc mounted?"))
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
        // Any function of this crate serves that is in another file than the anchor.
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
