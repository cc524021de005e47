//! Starting, signalling and reaping worker processes.

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd};
use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, waitid},
};

use crate::error::WorkerExit;

/// A process may not be signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAllowed;

/// A child process that has not been reaped: its pid is its own until then, so signals cannot reach any other process. Dropping it
/// ends and reaps it.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    pid: Pid,
    /// Readable once the process has ended.
    #[cfg(target_os = "linux")]
    pidfd: OwnedFd,
    /// Whether what the process has started ends with it, as far as it is in its process group.
    ends_group: bool,
    /// Of the process whose child it is. In a forked copy of that one it is not this process's child.
    generation: u64,
    exit: Option<WorkerExit>,
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
        ends_group: bool,
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
        let child = command.stdin(Stdio::from(OwnedFd::from(socket))).process_group(0).spawn();
        let child = child.map_err(|error| name_cause(error, directory))?;
        // std's handle neither ends nor reaps the process when it is dropped.
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
        Self::of_child(pid, ends_group)
    }

    /// Takes responsibility for a child process. If that cannot be done, the child is ended.
    fn of_child(pid: Pid, ends_group: bool) -> io::Result<Self> {
        let generation = super::generation();
        #[cfg(target_os = "linux")]
        {
            match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
                Ok(pidfd) => Ok(Self { pid, pidfd, ends_group, generation, exit: None }),
                // It has ended, and was reaped by other code in this program, or by the system: the number may be another
                // process's.
                Err(Errno::SRCH) => Err(Errno::SRCH.into()),
                Err(error) => {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                    reap_without_handle(pid);
                    Err(name_pidfd(error.into()))
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        Ok(Self { pid, ends_group, generation, exit: None })
    }

    /// Takes responsibility for the child process `pid` that the fork server `server` says it has made, and moves it out of
    /// that one's process group into its own. `None` when there is no such child.
    #[cfg(target_os = "linux")]
    pub(crate) fn adopt(pid: u32, server: &Self) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let is_ours = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
        if pid == server.pid || is_ours.is_err() || rustix::process::getpgid(Some(pid)) != Ok(server.pid) {
            return Ok(None);
        }
        let worker = Self::of_child(pid, server.ends_group)?;
        rustix::process::setpgid(Some(pid), Some(pid))?;
        Ok(Some(worker))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Readable once the process has ended; `None` where only the end of its socket tells of that.
    pub(crate) fn watch(&self) -> Option<OwnedFd> {
        #[cfg(target_os = "linux")]
        return self.pidfd.try_clone().ok();
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// The same, borrowed.
    #[cfg(target_os = "linux")]
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether it is stopped (SIGSTOP). Leaves the news of that to other code that may wait for it.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(Some(status)) if status.stopped())
    }

    /// Not asked elsewhere.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn is_stopped(&self) -> bool {
        false
    }

    pub(crate) fn terminate(&self) {
        let _ = self.signal(Signal::TERM);
    }

    /// Continues it if it is stopped.
    pub(crate) fn resume(&self) {
        let _ = self.signal(Signal::CONT);
    }

    /// An error says that this process may not do that any more: it has changed its user, or the child has.
    pub(crate) fn kill(&self) -> Result<(), NotAllowed> {
        self.signal(Signal::KILL)
    }

    /// To the process, and to what it has started where that ends with it.
    fn signal(&self, signal: Signal) -> Result<(), NotAllowed> {
        if self.exit.is_some() || self.is_elsewhere() {
            return Ok(());
        }
        // A process that has left its group is signalled by itself. SIGKILL may come twice.
        let all = self.ends_group && self.signal_group(signal);
        if all && signal != Signal::KILL && rustix::process::getpgid(Some(self.pid)) == Ok(self.pid) {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        let sent = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        #[cfg(not(target_os = "linux"))]
        let sent = rustix::process::kill_process(self.pid, signal);
        // Other errors say that it has ended.
        if sent == Err(Errno::PERM) { Err(NotAllowed) } else { Ok(()) }
    }

    /// Whether this process is a forked copy of the one whose child it is: then it is not to be signalled, nor waited for.
    fn is_elsewhere(&self) -> bool {
        self.generation != super::generation()
    }

    /// To all processes of its group; `false` when there are none.
    ///
    /// The group has the number of its leader, which is the leader's own until it is reaped, and the group's as long as it has
    /// members. Other code in this program may have reaped it (`waitpid(-1)`), and then the number may be another group's: so the
    /// group is named by the leader's descriptor, and by its number only where the kernel does not know that and the leader is
    /// still there.
    fn signal_group(&self, signal: Signal) -> bool {
        #[cfg(target_os = "linux")]
        match super::signal::send_to_group(self.pidfd.as_fd(), signal.as_raw()) {
            Ok(()) => return true,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return false,
            Err(_) if super::signal::send(self.pidfd.as_fd(), 0).is_err() => return false,
            Err(_) => {}
        }
        rustix::process::kill_process_group(self.pid, signal).is_ok()
    }

    /// How the process ended, if it has. It is reaped by that, so what is in its group was to be [killed](Self::kill) before: as
    /// long as it is a zombie the number of its group is its own.
    pub(crate) fn try_reap(&mut self) -> Option<WorkerExit> {
        if self.exit.is_none() {
            self.exit = if self.is_elsewhere() { Some(WorkerExit::Unknown) } else { wait_for(self.id(), true) };
        }
        self.exit
    }

    #[cfg(target_os = "linux")]
    fn id(&self) -> WaitId<'_> {
        WaitId::PidFd(self.pidfd.as_fd())
    }

    #[cfg(not(target_os = "linux"))]
    fn id(&self) -> WaitId<'_> {
        WaitId::Pid(self.pid)
    }

    /// Ends and reaps this process and all children of this program in its process group, and tells how this one ended.
    ///
    /// A process cannot be added to the group meanwhile: the kernel refuses a fork to a process that has a signal pending. As long
    /// as one of the group is left, the group's number belongs to no other one; and when the last one is gone, numbers are given
    /// out in a circle, so this one does not come back before the next call has said that the group is empty.
    ///
    /// The caller has other things to do: what has not ended within [`LONGEST_REAP`] is reaped by a thread that no other one waits
    /// for.
    #[cfg(target_os = "linux")]
    pub(crate) fn reap_group(&mut self) -> WorkerExit {
        if let Some(exit) = self.exit {
            return exit;
        }
        if self.is_elsewhere() {
            return WorkerExit::Unknown;
        }
        let is_there = self.signal_group(Signal::KILL);
        // It may have left the group.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let until = Instant::now() + LONGEST_REAP;
        let mut own = None;
        // Without a member left the number may be that of any other group, such as another worker's.
        let is_there = is_there && !reap_members(self.pid, &mut own, Some(until));
        let own = own.or_else(|| self.try_reap_until(until));
        if is_there || own.is_none() {
            let (pid, pidfd) = (self.pid, self.pidfd.try_clone());
            leave_to_reaper(move || {
                let mut own = own;
                if is_there {
                    reap_members(pid, &mut own, None);
                }
                if let (None, Ok(pidfd)) = (own, pidfd) {
                    wait_for(WaitId::PidFd(pidfd.as_fd()), false);
                }
            });
        }
        *self.exit.insert(own.unwrap_or(WorkerExit::Unknown))
    }

    /// Waits for the end of the process, but no longer than that.
    fn try_reap_until(&mut self, until: Instant) -> Option<WorkerExit> {
        look_until(until, || self.try_reap())
    }
}

/// Looks for the end of a process again and again, but no longer than that.
fn look_until(until: Instant, mut look: impl FnMut() -> Option<WorkerExit>) -> Option<WorkerExit> {
    let mut pause = Duration::from_micros(100);
    loop {
        let exit = look();
        if exit.is_some() || Instant::now() >= until {
            return exit;
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// Reaps a child that was killed and has no descriptor. The caller holds the pool's lock, and a process may take its time to end, so
/// what has not ended within [`LONGEST_REAP`] is reaped by a thread that no other one waits for.
#[cfg(target_os = "linux")]
fn reap_without_handle(pid: Pid) {
    if look_until(Instant::now() + LONGEST_REAP, || wait_for(WaitId::Pid(pid), true)).is_none() {
        leave_to_reaper(move || _ = wait_for(WaitId::Pid(pid), false));
    }
}

/// So long a thread that has other things to do waits for the end of a process that was killed. Most have ended long before.
const LONGEST_REAP: Duration = Duration::from_millis(100);

/// Reaps all children of this program in this process group, and notes how its leader ended. `false` when some are left at that
/// time; without one it waits for all of them.
#[cfg(target_os = "linux")]
fn reap_members(leader: Pid, own: &mut Option<WorkerExit>, until: Option<Instant>) -> bool {
    use rustix::process::{WaitOptions, waitpgid};
    let options = if until.is_some() { WaitOptions::NOHANG } else { WaitOptions::empty() };
    let mut pause = Duration::from_micros(100);
    loop {
        match waitpgid(leader, options) {
            Ok(Some((pid, status))) if pid == leader => {
                *own = Some(exit_of(status.terminating_signal(), status.exit_status()));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) if until.is_some_and(|until| Instant::now() < until) => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// Has processes that were killed reaped by a thread that no other one waits for. Where no thread can be started they stay zombies
/// until this program ends.
fn leave_to_reaper(reap: impl FnOnce() + Send + 'static) {
    let _ = std::thread::Builder::new().name("executor-reaper".to_owned()).spawn(reap);
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if self.exit.is_some() || self.is_elsewhere() {
            return;
        }
        let _ = self.kill();
        if self.try_reap_until(Instant::now() + LONGEST_REAP).is_some() {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Ok(pidfd) = self.pidfd.try_clone() {
            leave_to_reaper(move || _ = wait_for(WaitId::PidFd(pidfd.as_fd()), false));
        }
        #[cfg(not(target_os = "linux"))]
        {
            let pid = self.pid;
            leave_to_reaper(move || _ = wait_for(WaitId::Pid(pid), false));
        }
    }
}

/// Explains an error of starting a program, where the system does not say what is missing.
fn name_cause(error: io::Error, directory: Option<&PathBuf>) -> io::Error {
    // Looking up its own entry takes the permission that entering it takes.
    if let Some((directory, Err(cause))) = directory.map(|directory| (directory, fs::metadata(directory.join(".")))) {
        return io::Error::new(
            cause.kind(),
            format!("current_dir({}) cannot be entered: {cause}", directory.display()),
        );
    }
    if cfg!(target_os = "linux") && error.kind() == io::ErrorKind::NotFound && fs::metadata("/proc/self/exe").is_err() {
        let text = "/proc/self/exe, by which this program is started again, is not there: mount /proc where the program lives \
                    since its chroot, or use StartMethod::ForkServer and call warm_up() before the chroot";
        return io::Error::new(error.kind(), format!("{text} ({error})"));
    }
    error
}

/// A sandbox that was made before this system call was.
#[cfg(target_os = "linux")]
fn name_pidfd(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS) => {
            let text =
                "the system call pidfd_open was refused: Linux 5.3 has it, and a sandbox (seccomp) has to allow it";
            io::Error::new(error.kind(), format!("{text} ({error})"))
        }
        _ => error,
    }
}

/// How a child process ended, which is reaped by that. `None` when it has not ended, and `at_once` is asked for.
fn wait_for(id: WaitId<'_>, at_once: bool) -> Option<WorkerExit> {
    let options = if at_once { WaitIdOptions::EXITED | WaitIdOptions::NOHANG } else { WaitIdOptions::EXITED };
    loop {
        match waitid(id.clone(), options) {
            Ok(Some(status)) => return Some(exit_of(status.terminating_signal(), status.exit_status())),
            Ok(None) if at_once => return None,
            Err(Errno::INTR) => {}
            // Other code in this program has reaped it.
            Ok(None) | Err(_) => return Some(WorkerExit::Unknown),
        }
    }
}

fn exit_of(signal: Option<i32>, code: Option<i32>) -> WorkerExit {
    match (signal, code) {
        (Some(signal), _) => WorkerExit::Signal(signal),
        (None, Some(code)) => WorkerExit::Code(code),
        (None, None) => WorkerExit::Unknown,
    }
}

/// The program that runs, even if its file was replaced meanwhile.
fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Ends this process without running anything else of it.
pub(crate) fn exit_now() -> ! {
    // Not `process::exit`: that runs destructors and `atexit` handlers while a task may still be running.
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    std::process::abort()
}

/// Ends this process like [`exit_now`], and before that all processes in its group, if the group is its own.
pub(crate) fn exit_with_group() -> ! {
    let own = rustix::process::getpid();
    if rustix::process::getpgrp() == own {
        let _ = rustix::process::kill_process_group(own, Signal::KILL);
    }
    exit_now()
}

#[cfg(all(test, not(loom), target_os = "linux"))]
mod tests {
    use super::{super::is_for_a_moment, *};

    #[test]
    fn a_process_that_was_gone_at_once_is_started_again() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        // The child is gone without a status, as where SIGCHLD is ignored.
        child.wait().unwrap();
        let error = WorkerProcess::of_child(pid, true).unwrap_err();
        assert!(is_for_a_moment(&error), "{error:?}");
    }

    /// One that was killed, and is in the middle of something that cannot be interrupted, ends as late as this one does.
    #[test]
    fn a_child_that_takes_its_time_to_end_is_not_waited_for() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        let (returned, has_returned) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            reap_without_handle(pid);
            returned.send(()).unwrap();
        });
        let outcome = has_returned.recv_timeout(Duration::from_secs(60));
        drop(child.stdin.take());
        assert_eq!(outcome, Ok(()), "it is waited for");
        // And it is reaped all the same.
        let start = Instant::now();
        while fs::metadata(format!("/proc/{}", child.id())).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(60), "it stays a zombie");
            std::thread::yield_now();
        }
        assert!(child.wait().is_err(), "it was reaped");
    }
}
