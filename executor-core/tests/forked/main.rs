//! `fork` without `exec`, by the program and by its tasks: a copy gets errors, and harms neither the program nor its workers.
#![cfg(target_os = "linux")]

mod callers;
#[path = "../pool_kinds/mod.rs"]
mod pool_kinds;
mod pools;
mod shared;
mod tasks;
mod values;

executor_core::test_worker!();

fn square(x: u64) -> u64 {
    x * x
}

fn never_return(_: ()) {
    loop {
        std::thread::park();
    }
}

/// Forks: 0 in the copy, which a signal ends if it hangs.
fn fork() -> i32 {
    // SAFETY: the copy takes no lock of the harness, and ends by `end`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: has no requirements.
        unsafe { libc::alarm(60) };
    }
    pid
}

/// The end of a copy, which cannot print: its exit code says which of its assertions is the first that has failed.
fn end(claims: &[bool]) -> ! {
    let wrong = claims.iter().position(|claim| !claim).map_or(0, |place| place + 1);
    // SAFETY: ends the copy.
    unsafe { libc::_exit(wrong.try_into().unwrap()) }
}

/// What a copy has said at its end, or by which signal it ended.
fn end_of(copy: i32) -> Result<i32, i32> {
    let mut status = 0;
    // SAFETY: the status is written to a number of ours.
    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
    if libc::WIFEXITED(status) { Ok(libc::WEXITSTATUS(status)) } else { Err(libc::WTERMSIG(status)) }
}

/// Says which process answers. The copy returns from the task as well, or panics there.
fn fork_and_return(panics: bool) -> u32 {
    // SAFETY: the copy does nothing but return.
    let pid = unsafe { libc::fork() };
    assert!(pid > 0 || !panics, "the copy panics");
    if pid > 0 {
        // SAFETY: the status of a child is of no interest.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }
    std::process::id()
}
