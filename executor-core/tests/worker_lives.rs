//! How the lives of workers begin and end: by their number of tasks, when they are idle, when they die.

mod gated;
mod pool_kinds;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use executor_core::{Executor, OnWorkerDeath, Shutdown, TaskError, TaskOptions};
use gated::{Gate, LONG, assert_squares, quick_pool, result, run_until, square, squares, until};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    a_worker_ends_after_its_tasks,
    idle_workers_leave_and_come_back,
    a_retry_runs_a_task_again_and_no_more_often,
    a_retry_of_a_chunk_runs_what_has_no_answer,
    a_death_breaks_a_strict_pool,
    a_broken_pool_keeps_nothing_back,
);

fn kill(pid: u32) {
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

fn pid_of_worker(_: u64) -> u32 {
    std::process::id()
}

fn a_worker_ends_after_its_tasks(kind: Kind) {
    for workers in [1, 2] {
        let pool = kind.builder().max_workers(workers).max_tasks_per_child(3).build().unwrap();
        let mut tasks = BTreeMap::new();
        for _ in 0..10 {
            *tasks.entry(result(pool.submit(pid_of_worker, 0).unwrap()).unwrap()).or_insert(0) += 1;
        }
        let futures: Vec<_> = (0..20).map(|x| pool.submit(pid_of_worker, x).unwrap()).collect();
        for future in futures {
            *tasks.entry(result(future).unwrap()).or_insert(0) += 1;
        }
        assert!(tasks.values().all(|count| *count <= 3), "{tasks:?}");
        assert_eq!((pool.stats().failed, pool.stats().died), (0, 0));
    }
}

fn idle_workers_leave_and_come_back(kind: Kind) {
    let pool = kind.builder().max_workers(2).idle_timeout(Duration::from_millis(20)).build().unwrap();
    for _ in 0..20 {
        assert_squares(squares(&pool, 3));
        until("idle workers stay", || pool.worker_pids().is_empty());
    }
    assert_eq!((pool.stats().failed, pool.stats().died), (0, 0));
}

/// Notes that it runs, and ends its process where this is not more than the `deaths`th time.
fn die(log: String, deaths: usize) -> usize {
    let runs = fs::read(&log).unwrap_or_default().len() + 1;
    fs::write(log, vec![b'x'; runs]).unwrap();
    if runs <= deaths { std::process::abort() } else { runs }
}

fn a_retry_runs_a_task_again_and_no_more_often(kind: Kind) {
    let pool = quick_pool(kind.builder().retry(1), 1);
    let gate = Gate::new();
    let once = pool.submit(die, (gate.name("once"), 1)).unwrap();
    let twice = pool.submit(die, (gate.name("twice"), 2)).unwrap();
    let behind = squares(&pool, 10);
    assert_eq!(result(once), Ok(2));
    assert!(matches!(result(twice), Err(TaskError::WorkerDied { .. })));
    assert_squares(behind);
    assert_eq!(fs::read(gate.path("twice")).unwrap().len(), 2);
    let stopped = pool.submit_with(
        run_until,
        (gate.name("started0"), gate.name("open")),
        TaskOptions::new().timeout(Duration::from_millis(100)),
    );
    assert!(matches!(result(stopped.unwrap()), Err(TaskError::TimedOut { .. })), "what was stopped is not run again");
}

fn a_retry_of_a_chunk_runs_what_has_no_answer(kind: Kind) {
    fn item(folder: String, x: u64) -> (u64, u64) {
        let log = format!("{folder}item{x}");
        let runs = fs::read(&log).unwrap_or_default().len() as u64 + 1;
        fs::write(log, vec![b'x'; runs as usize]).unwrap();
        if x % 10 == 3 && runs == 1 || x == 25 {
            std::process::abort();
        }
        (x, runs)
    }
    let gate = Gate::new();
    let folder = gate.name("");
    let pool = kind.builder().max_workers(1).retry(1).build().unwrap();
    let items = (0..30).map(|x| (folder.clone(), x));
    let results: Vec<_> = pool.map(|(folder, x): (String, u64)| item(folder, x), items).chunk_size(10).collect();
    for (x, result) in (0..).zip(results) {
        match x {
            25 => assert!(matches!(result, Err(TaskError::WorkerDied { .. }))),
            // The retry of this chunk was used up.
            _ => assert_eq!(result, Ok((x, if x % 10 == 3 { 2 } else { 1 }))),
        }
    }
}

fn a_death_breaks_a_strict_pool(kind: Kind) {
    let pool = quick_pool(kind.builder().on_worker_death(OnWorkerDeath::BreakPool), 2);
    let gate = Gate::new();
    let long = gate.close(&pool);
    let dead = pool.submit(|(): ()| -> u64 { std::process::abort() }, ()).unwrap();
    assert!(matches!(result(dead), Err(TaskError::WorkerDied { .. } | TaskError::PoolBroken { .. })));
    assert!(matches!(result(long), Err(TaskError::PoolBroken { .. })));
    assert!(matches!(result(pool.submit(square, 1).unwrap()), Err(TaskError::PoolBroken { .. })));
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

fn a_broken_pool_keeps_nothing_back(kind: Kind) {
    let gate = Gate::new();
    let initializer = |broken: String| if Path::new(&broken).exists() { Err("broken") } else { Ok(()) };
    let pool = quick_pool(kind.builder().initializer(initializer, gate.name("broken")), 2);
    let long = [gate.submit(&pool, 0), gate.submit(&pool, 1)];
    (0..2).for_each(|number| gate.wait_until_it_runs(number));
    let behind = squares(&pool, 20);
    fs::write(gate.path("broken"), "").unwrap();
    // The successor of the first one breaks the pool, and the second one leaves what stands with it.
    let pids = pool.worker_pids();
    kill(pids[0]);
    until("the pool is not broken", || pool.try_submit(square, 1).unwrap().done());
    kill(pids[1]);
    for future in long {
        assert!(matches!(result(future), Err(TaskError::WorkerDied { .. })));
    }
    for future in behind {
        assert!(matches!(result(future), Err(TaskError::InitializerFailed { .. })));
    }
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}
