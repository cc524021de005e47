//! Tasks that rows of several files use.

use rustix::process::{Pid, Signal};

/// Which worker a task ran on: its process, and its thread there.
pub(crate) type Identity = (u32, String);

pub(crate) fn identity() -> Identity {
    (std::process::id(), format!("{:?}", std::thread::current().id()))
}

pub(crate) fn whoami() -> Identity {
    identity()
}

pub(crate) fn square(x: u64) -> u64 {
    x * x
}

pub(crate) fn power(base: u64, exponent: u32) -> u64 {
    base.pow(exponent)
}

/// Panics for three.
pub(crate) fn picky(x: u64) -> u64 {
    assert!(x != 3, "not three");
    x
}

/// Ends this process by a segmentation fault.
pub(crate) fn crash() -> ! {
    loop {
        // The first one only takes away the handler by which std looks for stack overflows.
        signal(std::process::id(), Signal::SEGV);
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    rustix::process::kill_process(pid_of(pid), signal).unwrap();
}

/// Whether there is such a process, even if only as a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    rustix::process::test_kill_process(pid_of(pid)).is_ok()
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).unwrap()
}
