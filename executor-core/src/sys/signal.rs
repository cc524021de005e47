//! How a worker resets the signals and the terminal that it inherits, and signals to process groups.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use rustix::fs::{Mode, OFlags};

/// Signals that a program may be told to ignore by the process that has started it, and hands on to what it starts: `nohup`, a
/// shell's `&`. And those that Rust's runtime has decided to ignore, or a parent that limits files.
const LEFT_ALONE: [libc::c_int; 5] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE, libc::SIGXFSZ];

/// The signals of a new process: no signal is blocked in this thread and those that it starts, and none is ignored that the program
/// ignores for its own purposes. `exec` resets handlers, but hands on what is blocked and ignored; a worker that ignores SIGTERM
/// could be ended only by SIGKILL, and so could whatever its tasks start.
pub(crate) fn reset_signals() {
    let mut none = mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: makes the set an empty one.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was just made.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !LEFT_ALONE.contains(signal)) {
        let mut action = mem::MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: a null action changes nothing, and the old one is written to memory of its type.
        if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
            continue;
        }
        // SAFETY: the call has filled it.
        let mut action = unsafe { action.assume_init() };
        if action.sa_sigaction == libc::SIG_IGN {
            action.sa_sigaction = libc::SIG_DFL;
            // SAFETY: the action is what the system said, but for its handler, which is now the default.
            unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        }
    }
}

/// From now on this process, and what it starts, has no terminal: `/dev/tty` cannot be opened. A process that is not in the
/// terminal's foreground would be stopped when it reads there, sets its modes or, with `stty tostop`, writes, and nothing would
/// continue it.
pub(crate) fn leave_terminal() {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // An error says that there is none.
    let Ok(terminal) = rustix::fs::open("/dev/tty", flags, Mode::empty()) else { return };
    // SAFETY: the call has no argument.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) };
}

/// Writes what C code has left in the buffers of its output streams, so that a copy of this process does not write it again.
pub(crate) fn flush_c_streams() {
    // SAFETY: null stands for all of them; no other thread has one locked for long.
    unsafe { libc::fflush(ptr::null_mut()) };
}

/// Sends a signal to a process; 0 only asks whether it has been reaped.
pub(super) fn send(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    send_with(pidfd, signal, 0)
}

/// Sends a signal to all processes of the group that this one is, or was, the leader of. Linux 6.9; older ones say EINVAL.
pub(super) fn send_to_group(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    send_with(pidfd, signal, PIDFD_SIGNAL_PROCESS_GROUP)
}

fn send_with(pidfd: BorrowedFd<'_>, signal: libc::c_int, flags: libc::c_uint) -> io::Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and a null pointer asks for what `kill` tells.
    let outcome = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, flags) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
