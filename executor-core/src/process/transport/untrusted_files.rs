//! Files that a worker has sent. To close one may take as long as its owner likes: a connection that lingers, or a file system that
//! asks a process. So no thread that has other work closes one, least of all under the pool's lock.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use super::socket::ArrivedFile;
use crate::{
    sys::{self, PerProcess},
    untrusted::Malformed,
};

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

#[derive(Debug, Default)]
struct Closer {
    files: Vec<OwnedFd>,
    threads: usize,
}

/// A forked copy of the program has its own: it has none of the threads, and one of them may have had the lock.
static CLOSER: PerProcess<Mutex<Closer>> = PerProcess::new(Mutex::default);

fn lock() -> MutexGuard<'static, Closer> {
    CLOSER.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has files closed by a thread that no other one waits for.
pub(super) fn close_elsewhere(files: impl IntoIterator<Item = OwnedFd>) {
    let mut files = files.into_iter().peekable();
    if files.peek().is_none() {
        return;
    }
    let mut closer = lock();
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
        let mut closer = lock();
        let Some(file) = closer.files.pop() else {
            closer.threads -= 1;
            return;
        };
        drop(closer);
        drop(file);
    }
}

#[cfg(all(test, not(miri), not(loom)))]
mod tests {
    use std::{fs, os::fd::AsRawFd};

    use super::*;

    /// Only the thread that forks is in a copy: none that closes files, and none that has the lock.
    #[test]
    fn a_copy_closes_files_whatever_the_program_was_doing() {
        let (file, _) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut closer = lock();
        closer.threads = MOST_THREADS;
        let is_closed = sys::in_a_copy(|| {
            close_elsewhere([file.into()]);
            while fs::symlink_metadata(&path).is_ok() {
                thread::yield_now();
            }
            1
        });
        closer.threads = 0;
        assert_eq!(is_closed, 1);
    }
}
