//! Programs to which `/proc` shows something else than others see there: another namespace, or a main thread that has ended.

use std::{fs, io::Read, process::Stdio, sync::mpsc, thread, time::Duration};

use executor_core::Executor;

use crate::{ends_well, kinds, one_worker, program, square, succeeds};

fn pid(_: ()) -> u32 {
    std::process::id()
}

/// Its `/proc` shows other numbers than those that the process has: `/proc/<its own number>` is some other process, or none.
#[test]
#[ignore = "runs as the first process of a pid namespace"]
fn program_that_is_the_first_of_its_namespace() {
    for kind in kinds() {
        let pool = one_worker(kind).build().unwrap();
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9), "{kind:?}");
        // A worker is always larger than this, and is replaced when it has looked.
        let pool = one_worker(kind).recycle_above(1).build().unwrap();
        let mut pids = (0..10_000).map(|_| pool.submit(pid, ()).unwrap().result().unwrap());
        let first = pids.next();
        assert!(pids.any(|pid| Some(pid) != first), "{kind:?}");
    }
}

#[test]
#[ignore = "changes the namespace of its children"]
fn program_with_a_namespace_for_its_children() {
    // SAFETY: has no requirements.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        // Not everyone may do that.
        return;
    }
    ends_well(&mut program("namespaces::program_that_is_the_first_of_its_namespace"));
}

#[test]
fn pools_work_where_proc_shows_another_namespace() {
    succeeds("namespaces::program_with_a_namespace_for_its_children");
}

extern "C" fn end_this_thread(_: libc::c_int) {
    // SAFETY: the thread has nothing to clean up, and the rest of the process does without it.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Ends the thread that `main` runs on, and no other one. From then on `/proc/self` is that of a process without memory.
fn end_main_thread() {
    let main = std::process::id().cast_signed();
    // SAFETY: the handler does nothing but one system call.
    unsafe { libc::signal(libc::SIGUSR1, end_this_thread as *const () as libc::sighandler_t) };
    // SAFETY: has no requirements.
    assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, main, main, libc::SIGUSR1) }, 0);
    while !fs::read_to_string("/proc/self/stat").unwrap().contains(") Z ") {
        thread::yield_now();
    }
}

#[test]
#[ignore = "ends the main thread of its process"]
fn program_without_its_main_thread() {
    let early = one_worker(kinds().next().unwrap()).build().unwrap();
    end_main_thread();
    assert_eq!(early.submit(square, 3).unwrap().result(), Ok(9));
    for kind in kinds() {
        let pool = one_worker(kind).build().unwrap();
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9), "{kind:?}");
    }
    drop(early);
    // The harness was on that thread.
    println!("1 passed");
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

#[test]
fn the_main_thread_may_end_before_the_program() {
    let mut program = program("namespaces::program_without_its_main_thread");
    let mut child = program.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    // Without its harness no failure ends it.
    let (sender, ended) = mpsc::channel();
    let mut output = child.stdout.take().unwrap();
    thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        sender.send(text)
    });
    let text = ended.recv_timeout(Duration::from_secs(60));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.is_ok_and(|text| text.contains("1 passed")));
}
