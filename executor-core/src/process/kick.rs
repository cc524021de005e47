//! How a worker wakes its parent from any thread.

use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(target_os = "linux")]
use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    sync::OnceLock,
};

use super::wire;
#[cfg(target_os = "linux")]
use crate::sys;

/// One frame at a time: a thread of a task's own may have to wake the parent.
static SENDING: Mutex<()> = Mutex::new(());

/// Keeps others from sending meanwhile.
pub(super) fn sending() -> MutexGuard<'static, ()> {
    SENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker's way to its parent.
#[cfg(target_os = "linux")]
static TO_PARENT: OnceLock<UnixStream> = OnceLock::new();

/// From now on [`kick_parent`] does something.
#[cfg(target_os = "linux")]
pub(super) fn note_socket(socket: UnixStream) {
    let _ = TO_PARENT.set(socket);
}

/// Wakes the parent, from any thread of a worker.
#[cfg(target_os = "linux")]
pub(super) fn kick_parent() {
    if let Some(socket) = TO_PARENT.get() {
        let _one = sending();
        sys::send_if_room(socket.as_fd(), &FRAME);
    }
}

pub(super) const FRAME: [u8; 5] = [1, 0, 0, 0, wire::KICK];
