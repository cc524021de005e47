//! Signals to children that may end meanwhile.

use std::{os::fd::OwnedFd, path::PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::runner::process_tree;

/// Sends a signal to a child that may have ended meanwhile. The process behind the handle is checked before the signal is sent,
/// so that no other process that has the same number by now is hit. Returns the handle if it was a child.
pub(super) fn signal_child(pid: u32, signal: Signal) -> Option<OwnedFd> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let handle = pidfd_open(raw, PidfdFlags::empty()).ok()?;
    let (_, parent) = process_tree::parent_of(&PathBuf::from(format!("/proc/{pid}")))?;
    if parent != std::process::id() {
        return None;
    }
    // The child may have ended by itself.
    let _ = pidfd_send_signal(&handle, signal);
    Some(handle)
}
