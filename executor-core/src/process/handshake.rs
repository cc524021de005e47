//! The program's first message to a worker or a fork server, and the files that come with it.

use std::{io, os::fd::OwnedFd};

use serde::{Deserialize, Serialize};

use super::{call::Call, config::Transport, flags, identity::Identity};

/// The parent's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) identity: Identity,
    /// Runs before the initializer, in a worker that was not forked from a process that has run it.
    pub(super) preload: Option<Call>,
    /// Bytes that the worker may have beyond what it has before the initializer.
    pub(super) memory_limit: Option<u64>,
    /// Bytes beyond which the worker says that it should be replaced.
    pub(super) recycle_above: Option<u64>,
    pub(super) initializer: Option<Call>,
    pub(super) transport: Transport,
    /// Another one for each worker of the program; 0 for a fork server.
    pub(super) number: u32,
    pub(super) files: HelloFiles,
}

/// What comes beside the first message, in this order, before the files of the transport. Where the system refuses shared
/// memory, a worker that is reached over a socket does without.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct HelloFiles {
    /// The table of cancel tokens.
    pub(super) table: bool,
    /// The counts of what it will hold of the parent's shared memory.
    pub(super) counts: bool,
}

impl HelloFiles {
    /// Takes those out that come first, in a worker.
    pub(super) fn open(self, files: &mut Vec<OwnedFd>) -> io::Result<()> {
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
            super::shm::open_counts(&file)?;
            #[cfg(not(target_os = "linux"))]
            drop(file);
        }
        Ok(())
    }
}
