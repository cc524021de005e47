//! Waiting for descriptors, and what an error means for the thread that waits.

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// Where the system refuses to wait for descriptors, the caller looks after so long.
const UNSEEN: Duration = Duration::from_millis(1);

/// Waits until one of `fds` is ready or `deadline` has passed, and tells which of them are.
///
/// The system refuses to wait for more descriptors than this process may open, and where it has no memory. Then any of them
/// may be ready after a moment.
pub(crate) fn poll_until(fds: &[(BorrowedFd<'_>, bool)], deadline: Option<Instant>) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|(fd, write)| {
            let flags = if *write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    loop {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Longer waits are cut into days; the caller looks at the clock anyway.
            let left = left.min(Duration::from_secs(86_400));
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => return polled.iter().map(|fd| !fd.revents().is_empty()).collect(),
            Err(Errno::INTR) => {}
            Err(_) => {
                std::thread::sleep(UNSEEN);
                return vec![true; fds.len()];
            }
        }
    }
}

/// Whether the system has only refused something because there is not enough of it at this moment: descriptors, memory, processes,
/// files that may be under way in sockets.
/// Or a process that was just started is gone, as one is that was killed at once where no process has to reap it.
pub(crate) fn is_for_a_moment(error: &io::Error) -> bool {
    let moments =
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS, Errno::TOOMANYREFS, Errno::SRCH];
    Errno::from_io_error(error).is_some_and(|error| moments.contains(&error))
}

/// The events of `fd` right now.
fn poll_now(fd: BorrowedFd<'_>, events: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    // A signal may come in between also where nothing is waited for.
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
    Ok(ready > 0)
}

/// Waits until `fd` has something to read, or its other side is gone. Where the system refuses to wait it returns at once.
pub(crate) fn wait_until_readable(fd: BorrowedFd<'_>) {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let _ = rustix::io::retry_on_intr(|| poll(&mut fds, None));
}

/// Whether `fd` has something to read right now.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    poll_now(fd, PollFlags::IN).unwrap_or(false)
}

/// Whether the other side of `socket` is gone.
pub(crate) fn is_hung_up(socket: BorrowedFd<'_>) -> io::Result<bool> {
    poll_now(socket, PollFlags::empty())
}
