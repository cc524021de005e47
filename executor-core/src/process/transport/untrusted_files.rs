//! Files that a worker has sent. To close one may take as long as its owner likes: a connection that lingers, or a file system that
//! asks a process. So no thread that has other work closes one, least of all under the pool's lock.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, PoisonError},
    thread,
};

use super::socket::ArrivedFile;
use crate::{sys, untrusted::Malformed};

/// Files that have come and were not asked for. They leave as memory, which is never slow to close, or are closed elsewhere.
#[derive(Debug, Default)]
pub(super) struct UntrustedFiles(pub(super) VecDeque<ArrivedFile>);

impl UntrustedFiles {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The system refused to send one. So many have come that were sent after it.
    pub(super) fn miss(&mut self, after: usize) {
        let at = self.0.len().saturating_sub(after);
        self.0.insert(at, None);
    }

    /// The oldest one, which is nothing but memory.
    pub(super) fn pop(&mut self) -> Result<Option<ArrivedFile>, Malformed> {
        match self.0.pop_front() {
            Some(Some(file)) if !sys::is_shared_memory(file.as_fd()) => {
                close_elsewhere([file]);
                Err(Malformed)
            }
            other => Ok(other),
        }
    }
}

impl Drop for UntrustedFiles {
    fn drop(&mut self) {
        close_elsewhere(self.0.drain(..).flatten());
    }
}

/// So many threads close files at the same time. Beyond that, files wait for one that is slow.
const MOST_THREADS: usize = 4;

#[derive(Debug)]
struct Closer {
    files: Vec<OwnedFd>,
    threads: usize,
}

static CLOSER: Mutex<Closer> = Mutex::new(Closer { files: Vec::new(), threads: 0 });

/// Has files closed by a thread that no other one waits for.
pub(super) fn close_elsewhere(files: impl IntoIterator<Item = OwnedFd>) {
    let mut files = files.into_iter().peekable();
    if files.peek().is_none() {
        return;
    }
    let mut closer = CLOSER.lock().unwrap_or_else(PoisonError::into_inner);
    closer.files.extend(files);
    if closer.threads < MOST_THREADS {
        closer.threads += 1;
        let started = thread::Builder::new().name("executor-closer".to_owned()).spawn(close_all);
        // Where no thread can be started, they stay until there is one for the next files.
        closer.threads -= usize::from(started.is_err());
    }
}

fn close_all() {
    loop {
        let mut closer = CLOSER.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = closer.files.pop() else {
            closer.threads -= 1;
            return;
        };
        drop(closer);
        drop(file);
    }
}
