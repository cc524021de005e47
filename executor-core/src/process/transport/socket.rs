//! Frames over a Unix socket pair: portable, and the oracle for faster transports.

use std::{
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use super::{ParentEnd, WorkerEnd};
use crate::{
    process::wire::{FrameBuffer, Malformed},
    sys,
};

const READ_SIZE: usize = 64 * 1024;

/// Both ends; the second one is for the worker, as its standard input.
pub(in crate::process) fn socket_pair() -> io::Result<(SocketParent, UnixStream)> {
    let (parent, worker) = UnixStream::pair()?;
    parent.set_nonblocking(true)?;
    Ok((SocketParent { socket: parent, incoming: FrameBuffer::default(), outgoing: Vec::new(), sent: 0 }, worker))
}

/// The parent's end.
pub(in crate::process) struct SocketParent {
    socket: UnixStream,
    incoming: FrameBuffer,
    /// What did not fit into the socket; `sent` bytes of it have gone since.
    outgoing: Vec<u8>,
    sent: usize,
}

impl SocketParent {
    /// Sends the first frames, with a file beside them. What does not fit at once is kept, as in
    /// [`send`](ParentEnd::send).
    pub(in crate::process) fn send_first(&mut self, frames: &[u8], file: BorrowedFd<'_>) -> io::Result<()> {
        let sent = sys::send_with_fd(self.socket.as_fd(), frames, file)?;
        self.send(&frames[sent..]);
        Ok(())
    }
}

impl ParentEnd for SocketParent {
    fn send(&mut self, frames: &[u8]) {
        let mut sent = 0;
        if self.outgoing.is_empty() {
            while sent < frames.len() {
                match self.socket.write(&frames[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // The worker is gone.
                    Err(_) => return,
                }
            }
        }
        self.outgoing.extend_from_slice(&frames[sent..]);
    }

    fn flush(&mut self) {
        while self.sent < self.outgoing.len() {
            match self.socket.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        // A large argument's memory is not kept for the next, small one.
        self.outgoing = Vec::new();
        self.sent = 0;
    }

    fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    fn receive(&mut self, receiver: &mut dyn FnMut(u8, &[u8])) -> Result<bool, Malformed> {
        loop {
            let outcome = self.incoming.read_from(&mut self.socket, READ_SIZE);
            while let Some((kind, body)) = self.incoming.next()? {
                receiver(kind, body);
            }
            match outcome {
                Ok(0) => return Ok(false),
                Ok(count) if count < READ_SIZE => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The worker's end.
pub(in crate::process) struct SocketWorker {
    socket: UnixStream,
    incoming: FrameBuffer,
}

impl SocketWorker {
    /// `received` is what was read from the socket already.
    pub(in crate::process) fn new(socket: UnixStream, received: &[u8]) -> Self {
        let mut incoming = FrameBuffer::default();
        incoming.extend(received);
        Self { socket, incoming }
    }
}

impl WorkerEnd for SocketWorker {
    fn receive(&mut self) -> io::Result<Option<(u8, &[u8])>> {
        // Two looks at the buffer, because a borrow that is returned from inside the loop would live through all of it.
        while !self.incoming.has_frame() {
            match self.incoming.read_from(&mut self.socket, READ_SIZE) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.incoming.next().map_err(|Malformed| ErrorKind::InvalidData.into())
    }

    fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        self.socket.write_all(frames)
    }
}
