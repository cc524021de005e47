//! Noticing the end of the process that has started this one.

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, OwnedFd};
use std::{io, os::fd::BorrowedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, recv},
    process::{Pid, getppid},
};

/// A thread that cannot wait for events looks so often.
const UNSEEN: Duration = Duration::from_millis(100);

/// Whether the other side of `socket` is gone and has left nothing to read.
fn has_closed(socket: BorrowedFd<'_>) -> bool {
    match recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((count, _)) => count == 0,
        Err(error) => error == Errno::CONNRESET,
    }
}

/// The process that has started this one.
///
/// That the socket to it hangs up is a sign of its end that comes late, or never, when others have the other end of the socket:
/// copies that it has forked, and whatever they have started. A descriptor of the process itself belongs to no other one.
#[derive(Debug)]
pub(crate) struct Parent {
    /// `None` where it is in another pid namespace, and has no number here.
    pid: Option<Pid>,
    #[cfg(target_os = "linux")]
    pidfd: Option<OwnedFd>,
}

impl Parent {
    /// `None` when it has ended already. `pid` is its number, as it has said.
    pub(crate) fn open(pid: u32) -> Option<Self> {
        let Some(own) = getppid() else {
            return Some(Self {
                pid: None,
                #[cfg(target_os = "linux")]
                pidfd: None,
            });
        };
        // A process whose parent has ended is given another one.
        let is_there = |own: Option<Pid>| own.is_some_and(|own| own.as_raw_nonzero().get().cast_unsigned() == pid);
        if !is_there(Some(own)) {
            return None;
        }
        #[cfg(target_os = "linux")]
        let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).ok();
        // It is still the parent, so the descriptor is that of the parent, and not of a later process of the same number.
        is_there(getppid()).then_some(Self {
            pid: Some(own),
            #[cfg(target_os = "linux")]
            pidfd,
        })
    }

    /// Readable once the parent has ended, where the system has such a thing.
    #[cfg(target_os = "linux")]
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.pid.is_some() && getppid() != self.pid
    }

    /// Blocks until it has ended, or the other side of `socket` is gone. Reads nothing.
    pub(crate) fn wait_for_end(&self, socket: BorrowedFd<'_>) {
        // Without a descriptor this thread has to look now and then.
        let look = (self.pidfd().is_none() && self.pid.is_some()).then_some(Timespec { tv_sec: 1, tv_nsec: 0 });
        loop {
            // Without events, only a hang-up or an error ends the wait.
            let mut fds = vec![PollFd::from_borrowed_fd(socket, PollFlags::empty())];
            fds.extend(self.pidfd().map(|pidfd| PollFd::from_borrowed_fd(pidfd, PollFlags::IN)));
            match poll(&mut fds, look.as_ref()) {
                Ok(0) if !self.has_ended() => {}
                Err(Errno::INTR) => {}
                // Refused, which is no news of the parent: a task may have limited this process to fewer descriptors than these,
                // or there is no memory.
                Err(_) if !self.has_ended() && !has_closed(socket) => std::thread::sleep(UNSEEN),
                _ => return,
            }
        }
    }

    /// Blocks until `socket` has something to read, or has been hung up; `false` when the parent has ended before.
    pub(crate) fn wait_for_word(&self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        loop {
            let mut fds = vec![PollFd::from_borrowed_fd(socket, PollFlags::IN)];
            fds.extend(self.pidfd().map(|pidfd| PollFd::from_borrowed_fd(pidfd, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
                Ok(_) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
