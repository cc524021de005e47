//! How a worker wakes its parent from any thread.

use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(target_os = "linux")]
use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    sync::OnceLock,
};

use crate::process::wire::frame;
#[cfg(target_os = "linux")]
use crate::sys;

/// One frame at a time: a thread of a task's own may have to wake the parent.
static SENDING: Mutex<()> = Mutex::new(());

/// Keeps others from sending meanwhile.
pub(in crate::process) fn sending() -> MutexGuard<'static, ()> {
    SENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker's socket, over which it can wake its parent.
#[cfg(target_os = "linux")]
static TO_PARENT: OnceLock<UnixStream> = OnceLock::new();

/// From now on [`kick_parent`] does something.
#[cfg(target_os = "linux")]
pub(in crate::process) fn note_socket(socket: UnixStream) {
    let _ = TO_PARENT.set(socket);
}

/// Wakes the parent, from any thread of a worker.
#[cfg(target_os = "linux")]
pub(in crate::process) fn kick_parent() {
    if let Some(socket) = TO_PARENT.get() {
        let _one = sending();
        sys::send_if_room(socket.as_fd(), &FRAME);
    }
}

pub(in crate::process) const FRAME: [u8; 5] = [1, 0, 0, 0, frame::KICK];
