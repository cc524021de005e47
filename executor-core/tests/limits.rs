//! Time limits are kept, whichever thread makes a task the first one of its worker, and whatever the others do meanwhile.

#[expect(dead_code, reason = "for other files of tests as well")]
mod gated;
mod pool_kinds;

use std::{
    fs,
    time::{Duration, Instant},
};

use executor_core::{Executor, TaskError, TaskOptions};
use gated::{Gate, assert_squares, quick_pool, result, squares, until};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    a_limit_behind_a_short_task_is_kept,
    a_limit_of_a_task_comes_before_that_of_its_pool,
    the_shortest_limits_are_kept,
    a_second_kill_does_not_put_the_end_off,
);

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {}
}

fn hang((): ()) {
    loop {
        std::thread::park();
    }
}

const SHORT: Duration = Duration::from_micros(100);
const LIMIT: Duration = Duration::from_millis(50);

/// Runs a task that hangs right behind a short one, whose answer a waiting thread takes, so that it is that thread which makes
/// the other one the first.
fn hang_behind_a_short_one(kind: Kind, limit_of_pool: Option<Duration>) {
    let mut builder = kind.builder().max_workers(1).grace(Duration::ZERO);
    if let Some(limit) = limit_of_pool {
        builder = builder.task_timeout(limit);
    }
    let pool = builder.build().unwrap();
    for _ in 0..12 {
        // Tasks are known to be short, so that several are in flight at the worker.
        for _ in 0..3 {
            result(pool.submit(spin, SHORT).unwrap()).unwrap();
        }
        let first = pool.submit(spin, SHORT).unwrap();
        let second = pool.submit_with(hang, (), TaskOptions::new().timeout(LIMIT)).unwrap();
        result(first).unwrap();
        assert!(matches!(result(second), Err(TaskError::TimedOut { .. })));
    }
}

fn a_limit_behind_a_short_task_is_kept(kind: Kind) {
    hang_behind_a_short_one(kind, None);
}

fn a_limit_of_a_task_comes_before_that_of_its_pool(kind: Kind) {
    hang_behind_a_short_one(kind, Some(Duration::from_secs(3600)));
}

fn the_shortest_limits_are_kept(kind: Kind) {
    let pool = kind.builder().max_workers(2).grace(Duration::ZERO).build().unwrap();
    pool.warm_up().unwrap();
    for limit in [0, 1, 5, 20, 100].map(Duration::from_micros).repeat(4) {
        let other = pool.submit(spin, SHORT).unwrap();
        let hanging = pool.submit_with(hang, (), TaskOptions::new().timeout(limit)).unwrap();
        assert!(matches!(result(hanging), Err(TaskError::TimedOut { .. })), "{limit:?}");
        result(other).unwrap();
    }
}

/// Says that it runs; nothing but SIGKILL ends it.
fn ignore_sigterm(started: String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let _handled = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    fs::write(started, "").unwrap();
    hang(());
}

fn a_second_kill_does_not_put_the_end_off(kind: Kind) {
    let pool = quick_pool(kind.builder(), 1);
    let gate = Gate::new();
    let future = pool.submit(ignore_sigterm, gate.name("started0")).unwrap();
    gate.wait_until_it_runs(0);
    let behind = squares(&pool, 5);
    until("each call puts SIGKILL off", || {
        future.kill();
        std::thread::sleep(Duration::from_millis(1));
        future.done()
    });
    assert_eq!(result(future), Err(TaskError::Cancelled));
    assert_squares(behind);
}
