//! What both ends of a socket have in common. Frames over a Unix socket pair are beside every transport, and a transport by
//! themselves, portable, and the oracle for the faster one.

#[cfg(target_os = "linux")]
use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
};
use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
};

#[cfg(target_os = "linux")]
use crate::sys;

/// The bit in a reply's kind that says that its content ends with references.
pub(super) const ATTACHED: u8 = 8;

pub(super) const READ_SIZE: usize = 64 * 1024;

/// A file that has come; `None` when this process had no descriptor left for it, or the system did not let the other one send it.
#[cfg(target_os = "linux")]
pub(super) type ArrivedFile = Option<OwnedFd>;

/// Whether an error says that the other end is closed.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A socket that is read together with the files that come beside the bytes.
pub(super) struct Source<'a> {
    pub(super) socket: &'a UnixStream,
    #[cfg(target_os = "linux")]
    pub(super) files: &'a mut VecDeque<ArrivedFile>,
}

impl Read for Source<'_> {
    #[cfg(target_os = "linux")]
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let received = sys::receive_with_fds(self.socket.as_fd(), bytes)?;
        self.files.extend(received.files.into_iter().map(Some));
        // A frame has one file at most, unless it is the parent's.
        self.files.extend(received.lost_files.then_some(None));
        Ok(received.bytes)
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut socket = self.socket;
        socket.read(bytes)
    }
}
