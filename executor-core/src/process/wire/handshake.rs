//! The program's first message to a worker or a fork server, and the files that come with it.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU32, Ordering},
};

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::{portable::call::Call, process::config::Transport, shm::flags};

/// The parent's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct Hello {
    pub(in crate::process) identity: Identity,
    /// Runs before the initializer, in a worker that was not forked from a process that has run it.
    pub(in crate::process) preload: Option<Call>,
    /// Bytes that the worker may have beyond what it has before the initializer.
    pub(in crate::process) memory_limit: Option<u64>,
    /// Bytes beyond which the worker says that it should be replaced.
    pub(in crate::process) recycle_above: Option<u64>,
    pub(in crate::process) initializer: Option<Call>,
    pub(in crate::process) transport: Transport,
    /// Another one for each worker of the program, and for each fork server.
    pub(in crate::process) number: u32,
    pub(in crate::process) files: HelloFiles,
}

/// A number that no other worker of this program has, of whatever pool, and no fork server.
pub(in crate::process) fn number_of_process() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    // ORDERING: only uniqueness matters, among those of one answer: 0 is not given when they begin again.
    match LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1) {
        0 => number_of_process(),
        number => number,
    }
}

/// The files that come beside the first message, in this order, before the files of the transport. Where the system refuses shared
/// memory, a worker that is reached over a socket does without.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(in crate::process) struct HelloFiles {
    /// The table of cancel tokens.
    pub(in crate::process) table: bool,
    /// The counts of what it will hold of the parent's shared memory.
    pub(in crate::process) counts: bool,
}

impl HelloFiles {
    /// Takes those out that come first, in a worker.
    pub(in crate::process) fn open(self, files: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut next = || {
            let none = || io::Error::other("the parent's files did not arrive: are there descriptors left?");
            if files.is_empty() { Err(none()) } else { Ok(files.remove(0)) }
        };
        if self.table {
            flags::open_table(next()?)?;
        }
        if self.counts {
            let file = next()?;
            #[cfg(target_os = "linux")]
            crate::shm::open_counts(&file)?;
            #[cfg(not(target_os = "linux"))]
            drop(file);
        }
        Ok(())
    }
}
