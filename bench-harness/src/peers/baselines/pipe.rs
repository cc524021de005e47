//! A ping-pong by two pipes, straight through `read` and `write`.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Stdio},
};

use super::{Baseline, peer_process};

/// The process at the other end, with both pipes. It is killed on drop.
pub(super) struct Pipes {
    child: Child,
    there: File,
    back: File,
}

impl Pipes {
    pub(super) fn start() -> Result<Self, String> {
        let start = || -> io::Result<Self> {
            let mut command = peer_process::command(Baseline::PipeProcesses)?;
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let (Some(there), Some(back)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(io::Error::other("a pipe that was asked for is not there"));
            };
            Ok(Self { child, there: OwnedFd::from(there).into(), back: OwnedFd::from(back).into() })
        };
        start().map_err(|error| format!("the second process did not start: {error}"))
    }

    /// One byte there and back; `false` when the other end is gone.
    pub(super) fn trip(&mut self) -> bool {
        let mut byte = [1];
        self.there.write_all(&byte).is_ok() && self.back.read_exact(&mut byte).is_ok()
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // The peer holds no data that could be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other end: every byte comes back, until the pipe is closed.
pub(super) fn answer() -> io::Result<()> {
    // Files of their own avoid the buffers and locks of std's handles.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut byte = [0];
    while input.read(&mut byte)? > 0 {
        output.write_all(&byte)?;
    }
    Ok(())
}
