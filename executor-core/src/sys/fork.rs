//! Forking a process that has the same parent, which only a process may do in which nothing else runs.

use std::{
    fs, io,
    marker::PhantomData,
    time::{Duration, Instant},
};

use rustix::process::Signal;

/// Proof that no other thread runs in this process, for the thread that has it.
///
/// A fork copies the thread that calls it and no other one. A lock that one of the others held stays locked in the copy for
/// ever, also the allocator's.
#[derive(Debug)]
pub(crate) struct Alone(PhantomData<*const ()>);

impl Alone {
    /// Waits until no more than `sleepers` other threads exist, and these sleep. `None` when that does not happen in time.
    ///
    /// A thread that has been joined is still there for a moment, and no event tells when it is gone.
    pub(crate) fn wait(sleepers: usize, limit: Duration) -> io::Result<Option<Self>> {
        let start = Instant::now();
        loop {
            let (others, awake) = other_threads()?;
            if others <= sleepers && awake == 0 {
                return Ok(Some(Self(PhantomData)));
            }
            if start.elapsed() > limit {
                return Ok(None);
            }
            std::thread::yield_now();
        }
    }
}

/// How many threads there are beside this one, and how many of them do not sleep.
fn other_threads() -> io::Result<(usize, usize)> {
    // As it is called there: in a `/proc` of another pid namespace the number is not that of `gettid`.
    let own = fs::read_link("/proc/thread-self")?;
    let (mut others, mut awake) = (0, 0);
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        if own.file_name() == Some(&task.file_name()) {
            continue;
        }
        // It may be gone by now.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        others += 1;
        // The state follows the name, which is in parentheses and may contain some.
        let sleeps = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'));
        awake += usize::from(!sleeps);
    }
    Ok((others, awake))
}

/// The two sides of a fork.
#[derive(Debug)]
pub(crate) enum Forked {
    /// This is the new process.
    Child,
    /// This is the old one; the new one has this pid.
    Parent(u32),
}

/// Forks this process. The new process is not its child but its parent's, which learns of its end by SIGCHLD as of any other.
///
/// `clone3` would do the same, but sandboxes refuse it, because they cannot look at its arguments; `clone` they know.
///
/// The C library is not told: handlers of `pthread_atfork` do not run, and it takes the thread that the child begins with for
/// the one that called this function. That thread should start another one for whatever else is to be done, and sleep.
pub(crate) fn fork_sibling(_alone: &Alone) -> io::Result<Forked> {
    #[cfg(not(target_arch = "s390x"))]
    {
        // The kernel takes the exit signal from this process, which has been spawned with SIGCHLD; it is given for readers of
        // system call traces.
        let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
        let none: libc::c_long = 0;
        let generation = super::generation();
        // SAFETY: without CLONE_VM and a stack of its own the child is a copy that goes on here, as after `fork`. No other
        // thread has been running that may have held a lock, of which `_alone` is the proof.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
        match u32::try_from(pid) {
            Ok(0) => {
                // A worker goes on with what the fork server has prepared: to the rest of the crate it is the same process.
                super::copies::continue_as(generation);
                Ok(Forked::Child)
            }
            Ok(pid) => Ok(Forked::Parent(pid)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
    // There the first two arguments of the system call are the other way round, which is untested here.
    #[cfg(target_arch = "s390x")]
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// From now on SIGKILL ends this process as soon as the thread that started it has ended.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// How large the stack of a program's main thread may become, within reason.
pub(crate) fn main_stack_size() -> usize {
    const USUAL: u64 = 8 << 20;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
    let size = limit.unwrap_or(USUAL).clamp(USUAL / 4, 8 * USUAL);
    usize::try_from(size).unwrap_or(USUAL as usize)
}
