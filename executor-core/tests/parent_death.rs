//! When the program dies, even by SIGKILL, its workers are gone.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor};

executor_core::test_worker!();

fn never_return(_: ()) {
    loop {
        std::thread::park();
    }
}

/// Not a test of its own: the program that is killed by the test below.
#[test]
#[ignore = "runs as the child of another test"]
fn program_with_busy_workers() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    pool.warm_up().unwrap();
    let _busy = pool.submit(never_return, ()).unwrap();
    eprintln!("ready {:?}", pool.worker_pids());
    std::thread::park();
}

#[test]
fn workers_end_with_their_program() {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["program_with_busy_workers", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(program.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ready") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "the program ended early");
    }
    program.kill().unwrap();
    let killed = Instant::now();
    program.wait().unwrap();
    // Program and workers share this pipe: it ends when the last of them has. A worker that lived on would hang the test.
    errors.read_to_end(&mut Vec::new()).unwrap();
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(1), "the promise is one second, and it took {took:?}");
    for pid in line.trim_start_matches("ready [").trim_end().trim_end_matches(']').split(", ") {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        assert!(status.is_empty() || status.contains("zombie"), "worker {pid} lives on:\n{status}");
    }
}
