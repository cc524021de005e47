//! Starting, signalling and reaping worker processes, and the few calls around their control socket.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketType, recvmsg, sendmsg,
    },
    process::{Pid, Signal},
};

use crate::error::WorkerExit;

/// A worker process that has not been reaped: its pid is its own until then, so signals cannot reach anybody else.
pub(crate) struct WorkerProcess {
    child: Child,
}

impl WorkerProcess {
    /// Starts this program again with `socket` as its standard input, in a process group of its own: Ctrl-C in a terminal is
    /// for the program to handle, not for its workers.
    ///
    /// By `posix_spawn`, which std uses as long as nothing has to run between fork and exec: a fork would copy the page
    /// tables of a large parent, and locks that its other threads hold.
    pub(crate) fn start(
        socket: UnixStream,
        arguments: &[String],
        null_stdout: bool,
        environment: &[(OsString, OsString)],
        directory: Option<&PathBuf>,
    ) -> io::Result<Self> {
        let mut command = Command::new(this_program()?);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        if null_stdout {
            command.stdout(Stdio::null());
        }
        let child = command.stdin(Stdio::from(OwnedFd::from(socket))).process_group(0).spawn()?;
        Ok(Self { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Readable once the process has ended; `None` where the end of its socket has to do.
    pub(crate) fn watch(&self) -> Option<OwnedFd> {
        #[cfg(target_os = "linux")]
        return Pid::from_raw(self.child.id().cast_signed())
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
        #[cfg(not(target_os = "linux"))]
        None
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // Fails only when the process is a zombie already.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Ends the process if it has not ended, and tells how it did. SIGKILL does not change the status of a process that is
    /// on its way out.
    pub(crate) fn reap(&mut self) -> WorkerExit {
        self.kill();
        match self.child.wait() {
            Ok(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => WorkerExit::Signal(signal),
                (None, Some(code)) => WorkerExit::Code(code),
                (None, None) => WorkerExit::Unknown,
            },
            Err(_) => WorkerExit::Unknown,
        }
    }
}

/// The program that runs, even if its file was replaced meanwhile.
fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Waits until one of `fds` is ready or `deadline` has passed, and tells what each is ready for.
pub(crate) fn poll_until(fds: &[(BorrowedFd<'_>, bool)], deadline: Option<Instant>) -> io::Result<Vec<bool>> {
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
            Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether `fd` has something to read right now.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

fn is_hung_up(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    Ok(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
}

/// Ends this process without running anything else of it.
pub(crate) fn exit_now() -> ! {
    // Not `process::exit`: that runs destructors and `atexit` handlers while a task may still be running.
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    std::process::abort()
}

/// Blocks until the other side of `socket` is gone. Reads nothing.
pub(crate) fn wait_for_hangup(socket: BorrowedFd<'_>) {
    loop {
        // Without events, only a hang-up or an error ends the wait.
        let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

/// Takes standard input for itself if it is the socket of a worker whose parent is the process `parent`, and leaves
/// `/dev/null` in its place.
///
/// A process that a task has started inherits the variable that names the parent, but that is not its own parent. A worker
/// whose parent has died meanwhile sees another parent as well, but its socket has been hung up.
pub(crate) fn take_over_stdin(parent: &OsStr) -> io::Result<Option<UnixStream>> {
    let stdin = rustix::stdio::stdin();
    if !matches!(rustix::net::sockopt::socket_type(stdin), Ok(SocketType::STREAM)) {
        return Ok(None);
    }
    let own_parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent.to_str().and_then(|parent| parent.parse().ok()) != Some(own_parent) && !is_hung_up(stdin)? {
        return Ok(None);
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null)?;
    Ok(Some(socket.into()))
}

/// Sends bytes with a file descriptor beside them.
pub(crate) fn send_with_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::empty())?)
}

/// Receives bytes and the file descriptor beside them, if there is one.
pub(crate) fn receive_with_fd(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)?;
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    // A worker has no other thread yet that could start a program meanwhile.
    #[cfg(not(target_os = "linux"))]
    if let Some(fd) = &fd {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok((received.bytes, fd))
}
