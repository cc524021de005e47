//! The party that runs the tasks of a worker. Today that is a child process; a [handle](super::handle::WorkerHandle) knows no more
//! of it than this, and speaks to it over its [channel](crate::process::transport::ParentEnd).

use std::os::fd::OwnedFd;

use crate::{
    error::WorkerExit,
    sys::{NotAllowed, WorkerProcess},
};

/// The other side of a worker's channel: how to see whether it lives, and how to end it. Dropping it ends it.
pub(in crate::process::parent) trait WorkerPeer: Send {
    /// The process id, by which errors and users know it.
    fn pid(&self) -> u32;

    /// Readable once it has ended; `None` where only the end of its channel tells of that.
    fn watch(&self) -> Option<OwnedFd>;

    /// Whether it is stopped, so that it reads and claims nothing until it goes on.
    fn is_stopped(&self) -> bool;

    /// Asks it to end, also if it is stopped.
    fn terminate(&self);

    /// Ends it. An error says that this program may not do that.
    fn kill(&self) -> Result<(), NotAllowed>;

    /// How it has ended, if it has.
    fn try_reap(&mut self) -> Option<WorkerExit>;
}

impl WorkerPeer for WorkerProcess {
    fn pid(&self) -> u32 {
        self.pid()
    }

    fn watch(&self) -> Option<OwnedFd> {
        self.watch()
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped()
    }

    fn terminate(&self) {
        self.terminate();
        // One that is stopped, by a terminal for example, would not notice.
        self.resume();
    }

    fn kill(&self) -> Result<(), NotAllowed> {
        self.kill()
    }

    fn try_reap(&mut self) -> Option<WorkerExit> {
        self.try_reap()
    }
}
