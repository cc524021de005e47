//! test_shutdown.py: its tests of threads.

use std::{collections::BTreeSet, sync::mpsc, time::Duration};

use executor_core::{Executor, Shutdown, ThreadPoolBuilder, ThreadPoolExecutor};

use crate::{
    gate::{Gate, Key, pass},
    kinds::{LONG, Threads},
    programs::Program,
    tasks::square,
};

/// A pool whose threads say when they end.
fn pool_that_tells(workers: usize) -> (ThreadPoolExecutor, mpsc::Receiver<()>) {
    let (sender, ends) = mpsc::channel();
    let hook = move || {
        // The receiver of a test that has failed is gone.
        let _ = sender.send(());
    };
    (ThreadPoolExecutor::builder().max_workers(workers).exit_hook(hook).build().unwrap(), ends)
}

/// Starts three threads in the pool, and lets them finish their tasks.
fn use_three(pool: &ThreadPoolExecutor) {
    let gate = Gate::new();
    let futures = [(); 3].map(|()| pool.submit(pass, gate.key()).unwrap());
    gate.wait_for(3);
    assert_eq!(pool.stats().workers, 3);
    gate.open();
    for future in futures {
        future.result().unwrap();
    }
}

pub(crate) fn test_threads_terminate(_: Threads) {
    let (pool, ends) = pool_that_tells(5);
    use_three(&pool);
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!((pool.stats().workers, ends.try_iter().count()), (0, 3));
}

pub(crate) fn test_context_manager_shutdown(_: Threads) {
    let (pool, ends) = pool_that_tells(5);
    use_three(&pool);
    drop(pool);
    assert_eq!(ends.try_iter().count(), 3);
}

pub(crate) fn test_del_shutdown(_: Threads) {
    let (pool, ends) = pool_that_tells(2);
    let map = pool.map(square, 0..20).start();
    drop(pool);
    assert!((1..=2).contains(&ends.try_iter().count()));
    assert_eq!(map.into_vec().unwrap(), (0..20).map(square).collect::<Vec<_>>());
}

pub(crate) fn test_shutdown_no_wait(_: Threads) {
    let (pool, ends) = pool_that_tells(2);
    let gate = Gate::new();
    let futures: Vec<_> = (0..10).map(|_| pool.submit(pass, gate.key()).unwrap()).collect();
    gate.wait_for(2);
    let report = pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    assert_eq!((report.running, report.queued), (2, 8));
    gate.open();
    for _ in 0..2 {
        ends.recv_timeout(LONG).unwrap();
    }
    assert!(futures.into_iter().all(|future| future.done() && future.result().is_ok()));
}

fn thread_name(gate: Key) -> String {
    pass(gate);
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// The names of three threads of a pool.
fn three_names(builder: ThreadPoolBuilder) -> BTreeSet<String> {
    let pool = builder.max_workers(5).build().unwrap();
    let gate = Gate::new();
    let futures = [(); 3].map(|()| pool.submit(thread_name, gate.key()).unwrap());
    gate.wait_for(3);
    gate.open();
    futures.into_iter().map(|future| future.result().unwrap()).collect()
}

pub(crate) fn test_thread_names_assigned(_: Threads) {
    let names = three_names(ThreadPoolExecutor::builder().thread_name_prefix("SpecialPool"));
    assert_eq!(names, BTreeSet::from(["SpecialPool-0", "SpecialPool-1", "SpecialPool-2"].map(ToOwned::to_owned)));
}

pub(crate) fn test_thread_names_default(_: Threads) {
    let names = three_names(ThreadPoolExecutor::builder());
    assert_eq!(names, BTreeSet::from(["executor-0", "executor-1", "executor-2"].map(ToOwned::to_owned)));
}

pub(crate) fn test_cancel_futures_wait_false(kind: Threads) {
    let gate = Gate::opened();
    let (success, output) = Program::start("cancels_and_does_not_wait", kind, Some(&gate), &[]).finish();
    let ran = gate.visitors().len();
    // Whether the task ran depends on which thread was first.
    let mut lines: Vec<_> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!((success, lines), (true, [&["apple"][..ran], &["main ends"]].concat()));
}
