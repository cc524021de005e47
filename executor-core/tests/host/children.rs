//! The processes that a task starts: they end with it or with its worker, and are no workers.

use std::{
    fs,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use executor_core::{Executor, Shutdown, TaskError, TaskOptions};

use crate::{
    ends_soon, is_alive, one_worker,
    pool_kinds::{Kind, on_every_kind_of_pool},
    program, square,
};

on_every_kind_of_pool!(
    what_a_task_has_started_ends_with_it,
    what_a_task_has_started_ends_with_its_worker,
    what_a_task_has_started_may_live_on,
    a_program_that_a_task_starts_is_no_worker,
);

/// Starts something that ignores SIGTERM and never ends, and tells of it in a file.
#[expect(clippy::zombie_processes, reason = "it is to outlive its worker")]
fn start_a_child(file: &Path) {
    let mut child = Command::new("/bin/sh");
    child.args(["-c", "trap '' TERM; echo ready; exec sleep 1000"]).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut ready = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    fs::write(file.with_extension("new"), child.id().to_string()).unwrap();
    fs::rename(file.with_extension("new"), file).unwrap();
}

fn start_a_child_and_hang(file: PathBuf) {
    start_a_child(&file);
    loop {
        std::thread::park();
    }
}

fn start_a_child_and_return(file: PathBuf) {
    start_a_child(&file);
}

fn start_a_child_and_abort(file: PathBuf) {
    start_a_child(&file);
    std::process::abort();
}

fn child_in(file: &Path) -> u32 {
    loop {
        if let Ok(text) = fs::read_to_string(file) {
            fs::remove_file(file).unwrap();
            return text.parse().unwrap();
        }
        std::thread::yield_now();
    }
}

fn what_a_task_has_started_ends_with_it(kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let pool = one_worker(kind).build().unwrap();
    // Killed by its future.
    let task = pool.submit(start_a_child_and_hang, file.clone()).unwrap();
    let child = child_in(&file);
    assert!(is_alive(child) && task.kill());
    assert_eq!(task.result(), Err(TaskError::Cancelled));
    assert!(ends_soon(child));
    // By its time limit.
    let limit = TaskOptions::new().timeout(Duration::from_millis(500));
    let task = pool.submit_with(start_a_child_and_hang, file.clone(), limit).unwrap();
    assert!(matches!(task.result(), Err(TaskError::TimedOut { .. })));
    // The limit may have come before the child.
    if file.exists() {
        assert!(ends_soon(child_in(&file)));
    }
    // By its own crash.
    let task = pool.submit(start_a_child_and_abort, file.clone()).unwrap();
    assert!(matches!(task.result(), Err(TaskError::WorkerDied { .. })));
    assert!(ends_soon(child_in(&file)));
    // By the end of the pool.
    let task = pool.submit(start_a_child_and_hang, file.clone()).unwrap();
    let child = child_in(&file);
    pool.shutdown(Shutdown::Kill, None);
    assert_eq!(task.result(), Err(TaskError::ShutDown));
    assert!(ends_soon(child));
}

fn what_a_task_has_started_ends_with_its_worker(kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let pool = one_worker(kind).build().unwrap();
    pool.submit(start_a_child_and_return, file.clone()).unwrap().result().unwrap();
    let child = child_in(&file);
    assert_eq!(pool.submit(square, 5).unwrap().result(), Ok(25));
    assert!(is_alive(child), "its worker is there");
    drop(pool);
    assert!(ends_soon(child));
}

fn what_a_task_has_started_may_live_on(kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let pool = one_worker(kind).kill_process_group(false).build().unwrap();
    let task = pool.submit(start_a_child_and_hang, file.clone()).unwrap();
    let child = child_in(&file);
    assert!(task.kill());
    assert_eq!(task.result(), Err(TaskError::Cancelled));
    drop(pool);
    assert!(is_alive(child));
    let pid = rustix::process::Pid::from_raw(child.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
#[ignore = "runs as the child of another test"]
fn program_that_begins_with_init() {
    executor_core::init();
    println!("this is no worker");
}

fn start_with_sockets(_: ()) -> Vec<String> {
    let (open, other) = UnixStream::pair().unwrap();
    let (hung_up, closed) = UnixStream::pair().unwrap();
    drop(closed);
    let (mut talks, told) = UnixStream::pair().unwrap();
    talks.write_all(&[b'a'; 100]).unwrap();
    let says = |socket: UnixStream| {
        let output = program("children::program_that_begins_with_init").stdin(OwnedFd::from(socket)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("this is no worker") { "fine".to_owned() } else { format!("{output:?}") }
    };
    let all = vec![says(open), says(hung_up), says(told)];
    drop((other, talks));
    all
}

fn a_program_that_a_task_starts_is_no_worker(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.submit(start_with_sockets, ()).unwrap().result().unwrap(), ["fine", "fine", "fine"]);
}
