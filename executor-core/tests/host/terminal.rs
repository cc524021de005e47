//! Signals that the program blocks or ignores, and its terminal.

use std::{fs, process::Command, time::Duration};

use executor_core::{Executor, TaskError};

use crate::{
    kinds, never_return,
    pool_kinds::{Kind, on_every_kind_of_pool},
    succeeds,
};

on_every_kind_of_pool!(a_task_has_no_terminal,);

/// The lines of `/proc/<pid>/status` about blocked and ignored signals: of the worker, and of a process that its task starts.
fn signals(_: ()) -> [u64; 4] {
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let child = Command::new("/bin/cat").arg("/proc/self/status").output().unwrap();
    let child = String::from_utf8(child.stdout).unwrap();
    let number = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        // Without the two that the C library keeps for itself.
        u64::from_str_radix(line.trim(), 16).unwrap() & !(0b11 << 31)
    };
    [number(&own, "SigBlk:"), number(&own, "SigIgn:"), number(&child, "SigBlk:"), number(&child, "SigIgn:")]
}

#[test]
#[ignore = "runs as the child of another test"]
fn program_that_blocks_and_ignores_signals() {
    let bit = |signal: i32| 1_u64 << (signal - 1);
    // The dispositions of the process that has started the tests are handed on: `nohup`, or a shell's `&`.
    let told = signals(())[1] & (bit(libc::SIGINT) | bit(libc::SIGQUIT) | bit(libc::SIGXFSZ));
    // SAFETY: an empty set is made, filled, and blocked in this thread and those that it starts.
    let mut set = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: the set is valid.
    unsafe { libc::sigfillset(&raw mut set) };
    // SAFETY: the set is valid, and no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    for signal in [libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1, libc::SIGALRM, libc::SIGHUP] {
        // SAFETY: ignoring a signal has no requirements.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    for kind in kinds() {
        let pool = kind.builder().max_workers(1).grace(Duration::from_secs(600)).build().unwrap();
        let [blocked, ignored, childs_blocked, childs_ignored] = pool.submit(signals, ()).unwrap().result().unwrap();
        assert_eq!((blocked, childs_blocked), (0, 0), "{kind:?}");
        // SIGPIPE is ignored by Rust's runtime, and SIGHUP was perhaps ignored by the process that has started the program.
        assert_eq!(ignored, told | bit(libc::SIGHUP) | bit(libc::SIGPIPE), "{kind:?}");
        // Rust's runtime gives children the usual SIGPIPE.
        assert_eq!(childs_ignored, told | bit(libc::SIGHUP), "{kind:?}");
        let task = pool.submit(never_return, ()).unwrap();
        while !task.running() {
            std::thread::yield_now();
        }
        // SIGTERM ends it: no thread waits for the grace time.
        assert!(task.kill());
        let outcome = task.result_timeout(Duration::from_secs(60));
        if outcome.is_err() {
            pool.kill_workers();
        }
        assert_eq!(outcome.ok(), Some(Err(TaskError::Cancelled)), "{kind:?}");
    }
}

#[test]
fn a_worker_is_not_deaf_because_its_program_is() {
    succeeds("terminal::program_that_blocks_and_ignores_signals");
}

/// A task does what stops a process in the background of a terminal.
fn use_the_terminal(_: ()) -> bool {
    let tty = fs::File::options().read(true).write(true).open("/dev/tty");
    eprintln!("a task has written this");
    tty.is_err()
}

fn a_task_has_no_terminal(kind: Kind) {
    // The terminal in which the tests are run, if there is one.
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.submit(use_the_terminal, ()).unwrap().result(), Ok(true));
}

#[test]
#[ignore = "runs as the child of another test"]
fn program_with_a_terminal() {
    rustix::process::setsid().unwrap();
    // SAFETY: the call opens a new terminal.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    assert!(master >= 0);
    // SAFETY: it is open.
    assert_eq!(unsafe { libc::grantpt(master) }, 0);
    // SAFETY: it is open.
    assert_eq!(unsafe { libc::unlockpt(master) }, 0);
    let mut name = [0_u8; 64];
    // SAFETY: the buffer is as long as it says.
    assert_eq!(unsafe { libc::ptsname_r(master, name.as_mut_ptr().cast(), name.len()) }, 0);
    let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap();
    // The first terminal that the leader of a session opens is its own; what it starts writes there.
    let terminal = fs::File::options().read(true).write(true).open(name).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&terminal);
    // SAFETY: for this plain C structure zero is a valid value.
    let mut modes = unsafe { std::mem::zeroed::<libc::termios>() };
    // SAFETY: the modes are written to memory of their type.
    assert_eq!(unsafe { libc::tcgetattr(fd, &raw mut modes) }, 0);
    modes.c_lflag |= libc::TOSTOP;
    // SAFETY: the modes are those of this terminal, but for one bit.
    assert_eq!(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const modes) }, 0);
    // SAFETY: both are open.
    assert!(unsafe { libc::dup2(fd, 2) } == 2 && fs::File::open("/dev/tty").is_ok());
    for kind in kinds() {
        let pool = kind.builder().max_workers(1).build().unwrap();
        let outcome = pool.submit(use_the_terminal, ()).unwrap().result_timeout(Duration::from_secs(60));
        if outcome.is_err() {
            pool.kill_workers();
        }
        // It would be written to the terminal, which no process reads.
        if outcome.ok() != Some(Ok(true)) {
            std::process::exit(7);
        }
    }
}

#[test]
fn a_task_is_not_stopped_by_the_programs_terminal() {
    succeeds("terminal::program_with_a_terminal");
}
