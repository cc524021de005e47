//! When the program dies, even by SIGKILL, its workers are gone.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, StartMethod};

executor_core::test_worker!();

fn never_return(_: ()) {
    loop {
        std::thread::park();
    }
}

/// Not a test of its own: the program that is killed by the test below.
#[test]
#[ignore = "runs as the child of another test"]
fn program_with_spawned_workers() {
    be_busy(StartMethod::Spawn);
}

/// The same.
#[test]
#[ignore = "runs as the child of another test"]
fn program_with_forked_workers() {
    be_busy(StartMethod::ForkServer);
}

/// The same, and a forked copy of the program lives on: it has the sockets of the workers, as whatever it starts may have.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "runs as the child of another test"]
fn program_with_spawned_workers_and_a_copy() {
    fork_and_be_busy(StartMethod::Spawn);
}

/// The same.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "runs as the child of another test"]
fn program_with_forked_workers_and_a_copy() {
    fork_and_be_busy(StartMethod::ForkServer);
}

/// The same, and its workers are in the middle of their answers.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "runs as the child of another test"]
fn program_with_spawned_workers_that_answer() {
    be_answered(StartMethod::Spawn);
}

/// The same.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "runs as the child of another test"]
fn program_with_forked_workers_that_answer() {
    be_answered(StartMethod::ForkServer);
}

/// The thread that answers is to be the first that sees the end of the program: all threads of the worker share one CPU, and
/// the others, of which one watches the program, have it when this one sleeps.
#[cfg(target_os = "linux")]
fn long_answer(_: ()) -> Vec<u8> {
    // SAFETY: has no requirements.
    let own = unsafe { libc::gettid() };
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let thread: i32 = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // The first of the CPUs that are allowed.
        // SAFETY: a set of CPUs is plain data.
        let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set has the length that is said.
        unsafe { libc::sched_getaffinity(own, size_of_val(&allowed), &raw mut allowed) };
        // SAFETY: the number is within the set.
        let first = (0..1024).find(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) }).unwrap();
        // SAFETY: the number is within the set.
        let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the number is within the set.
        unsafe { libc::CPU_SET(first, &mut one) };
        // SAFETY: the set has the length that is said.
        unsafe { libc::sched_setaffinity(thread, size_of_val(&one), &raw const one) };
        if thread != own {
            let parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: the parameters live as long as the call.
            unsafe { libc::sched_setscheduler(thread, libc::SCHED_IDLE, &raw const parameters) };
        }
    }
    vec![1; 4 << 20]
}

#[cfg(target_os = "linux")]
fn be_answered(method: StartMethod) {
    let transport = executor_core::Transport::Socket;
    let pool = ProcessPoolExecutor::builder().start_method(method).transport(transport).max_workers(2).build().unwrap();
    pool.warm_up().unwrap();
    let pids: Vec<_> = pool.worker_pids().into_iter().chain(pool.fork_server_pid()).collect();
    eprintln!("ready {pids:?}");
    loop {
        let futures: Vec<_> = (0..8).map(|_| pool.submit(long_answer, ()).unwrap()).collect();
        for future in futures {
            assert_eq!(future.result().unwrap().len(), 4 << 20);
        }
    }
}

#[cfg(target_os = "linux")]
fn fork_and_be_busy(method: StartMethod) {
    let pool = ProcessPoolExecutor::builder().start_method(method).max_workers(2).build().unwrap();
    pool.warm_up().unwrap();
    // SAFETY: the copy does nothing but sleep.
    if unsafe { libc::fork() } == 0 {
        // The test waits for the program's workers by waiting for the end of its output.
        for fd in [1, 2] {
            // SAFETY: no code of this process uses it any more.
            unsafe { libc::close(fd) };
        }
        // SAFETY: has no requirements; it ends the copy in time.
        unsafe { libc::alarm(30) };
        loop {
            std::thread::park();
        }
    }
    be_busy_with(pool);
}

fn be_busy(method: StartMethod) {
    let pool = ProcessPoolExecutor::builder().start_method(method).max_workers(2).build().unwrap();
    pool.warm_up().unwrap();
    be_busy_with(pool);
}

/// What a task has started ends as well.
fn start_a_child_and_never_return(_: ()) {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    child.wait().unwrap();
}

fn be_busy_with(pool: ProcessPoolExecutor) {
    let _other = pool.submit(start_a_child_and_never_return, ()).unwrap();
    let _busy = pool.submit(never_return, ()).unwrap();
    let pids: Vec<_> = pool.worker_pids().into_iter().chain(pool.fork_server_pid()).collect();
    eprintln!("ready {pids:?}");
    std::thread::park();
}

#[test]
fn spawned_workers_end_with_their_program() {
    kill_program("program_with_spawned_workers");
}

#[cfg(target_os = "linux")]
#[test]
fn forked_workers_and_their_fork_server_end_with_their_program() {
    kill_program("program_with_forked_workers");
}

#[cfg(target_os = "linux")]
#[test]
fn spawned_workers_end_with_their_program_while_a_copy_of_it_lives() {
    kill_program("program_with_spawned_workers_and_a_copy");
}

#[cfg(target_os = "linux")]
#[test]
fn forked_workers_end_with_their_program_while_a_copy_of_it_lives() {
    kill_program("program_with_forked_workers_and_a_copy");
}

#[cfg(target_os = "linux")]
#[test]
fn spawned_workers_that_cannot_answer_any_more_end_without_a_word() {
    (0..5).for_each(|_| kill_program("program_with_spawned_workers_that_answer"));
}

#[cfg(target_os = "linux")]
#[test]
fn forked_workers_that_cannot_answer_any_more_end_without_a_word() {
    (0..5).for_each(|_| kill_program("program_with_forked_workers_that_answer"));
}

fn kill_program(name: &str) {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
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
    let mut last_words = String::new();
    errors.read_to_string(&mut last_words).unwrap();
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(1), "the promise is one second, and it took {took:?}");
    assert_eq!(last_words, "", "a worker has written to a terminal that has its prompt already");
    for pid in line.trim_start_matches("ready [").trim_end().trim_end_matches(']').split(", ") {
        // The kernel closes a process's files shortly before it takes it off its list.
        let start = Instant::now();
        loop {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if status.is_empty() || status.contains("zombie") {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "process {pid} lives on:\n{status}");
            std::thread::yield_now();
        }
    }
}
