//! Fork servers that are killed at random while workers are started from them: no task is lost, and nothing is left.
//!
//! A file of its own, because it counts this process's children and descriptors.
#![cfg(target_os = "linux")]

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, StartMethod, TaskError};

executor_core::test_worker!();

/// Children of this process, zombies as well.
fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    processes
        .filter(|pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.split_whitespace().nth(1) == Some(&own))
        })
        .collect()
}

fn descriptors() -> Vec<String> {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    files.filter_map(|file| Some(fs::read_link(file.unwrap().path()).ok()?.to_string_lossy().into_owned())).collect()
}

fn kill(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok()
}

fn die_or_square(x: u64) -> u64 {
    if x.is_multiple_of(3) { std::process::exit(1) } else { x * x }
}

#[test]
fn no_task_and_no_process_is_lost() {
    // Whatever stays for the program's lifetime is there now.
    drop(ProcessPoolExecutor::new(1).unwrap());
    let (before, files) = (children(), descriptors());
    let pool = ProcessPoolExecutor::builder().start_method(StartMethod::ForkServer).max_workers(4).build().unwrap();
    let (over, kills) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = 12345_u64;
            while !over.load(Ordering::Relaxed) {
                // Random moments are the scenario: up to 10 ms, so that most of them are soon after the last start.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pause = Duration::from_micros((state >> 33) % 10_000);
                let start = Instant::now();
                while start.elapsed() < pause {
                    thread::yield_now();
                }
                let Some(pid) = pool.fork_server_pid() else { continue };
                kills.fetch_add(usize::from(kill(pid)), Ordering::Relaxed);
            }
        });
        // Every third task ends its worker, so workers are started all the time.
        let futures: Vec<_> = (0..600).map(|x| (x, pool.submit(die_or_square, x).unwrap())).collect();
        for (x, future) in futures {
            match future.result() {
                Ok(answer) => assert!(!x.is_multiple_of(3) && answer == x * x),
                Err(TaskError::WorkerDied { .. }) => assert!(x.is_multiple_of(3), "task {x} was lost"),
                Err(error) => panic!("task {x}: {error}"),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{kills:?} fork servers were killed");
    assert!(kills.load(Ordering::Relaxed) > 5);
    let stats = pool.stats();
    assert_eq!((stats.done, stats.failed, stats.died), (400, 200, 200));
    drop(pool);
    assert_eq!(children(), before);
    assert_eq!(descriptors(), files);
}
