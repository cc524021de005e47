//! Workers that are killed at random: every future resolves, only running tasks fail, nothing is left behind.

mod pool_kinds;

use std::{
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use executor_core::{Executor, TaskError};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(a_thousand_tasks_survive_a_kill_every_twenty_milliseconds);

fn ten_milliseconds(x: u64) -> u64 {
    thread::sleep(Duration::from_millis(10));
    x
}

fn a_thousand_tasks_survive_a_kill_every_twenty_milliseconds(kind: Kind) {
    let pool = kind.builder().max_workers(4).build().unwrap();
    pool.warm_up().unwrap();
    let (over, kills) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut pids = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = 12345_u64;
            while !over.load(Ordering::Relaxed) {
                // The period is the scenario.
                thread::sleep(Duration::from_millis(20));
                let pids = pool.worker_pids();
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let Some(pid) = pids.get((state >> 33) as usize % pids.len().max(1)) else { continue };
                if Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success() {
                    kills.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let futures: Vec<_> = (0..1000).map(|x| pool.submit(ten_milliseconds, x).unwrap()).collect();
        let mut died = 0;
        for (x, future) in futures.into_iter().enumerate() {
            match future.result() {
                Ok(answer) => assert_eq!(answer, x as u64),
                Err(TaskError::WorkerDied { .. }) => died += 1,
                Err(error) => panic!("task {x}: {error}"),
            }
        }
        over.store(true, Ordering::Relaxed);
        pids.extend(pool.worker_pids());
        println!("{died} of 1000 tasks were running when their worker was killed");
        assert!(died > 0, "something must have been killed while it ran");
        assert!(died <= kills.load(Ordering::Relaxed), "{died} lost by {kills:?} kills");
    });
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.running), (0, 0));
    assert_eq!(stats.done + stats.failed, 1000);
    assert!(stats.respawned > 0);
    pids.extend(pool.worker_pids());
    drop(pool);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "worker {pid} is still there");
    }
}
