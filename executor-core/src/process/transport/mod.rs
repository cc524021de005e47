//! How frames travel between the parent and one worker: the seam between the pool and a transport.
//!
//! A transport moves whole frames, in order, each at most once. What it took from a worker that has died since is still
//! delivered. It knows nothing of tasks.

use std::{io, os::fd::BorrowedFd};

use super::wire::Malformed;

mod socket;

pub(super) use socket::{SocketWorker, socket_pair};

/// The parent's end. Nothing in it blocks.
pub(super) trait ParentEnd: Send {
    /// Sends frames, or keeps what does not fit for [`flush`](Self::flush). A worker that is gone is not an error: its end is
    /// noticed where it is received.
    fn send(&mut self, frames: &[u8]);

    /// Sends what is kept.
    fn flush(&mut self);

    /// Whether something is kept.
    fn wants_to_send(&self) -> bool;

    /// Hands every frame that has arrived to `receiver`, and says whether the worker's end is still open.
    fn receive(&mut self, receiver: &mut dyn FnMut(u8, &[u8])) -> Result<bool, Malformed>;

    /// Readable when something has arrived.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// The worker's end. Everything in it blocks.
pub(super) trait WorkerEnd {
    /// Waits for the next frame; `None` when the parent is gone.
    fn receive(&mut self) -> io::Result<Option<(u8, &[u8])>>;

    /// Sends frames.
    fn send(&mut self, frames: &[u8]) -> io::Result<()>;
}
