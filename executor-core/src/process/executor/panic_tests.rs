//! A panic under the pool's lock, or of its supervisor: which tasks fail, and that no thread hangs.

use super::*;
use crate::{submit::Submit, task::TaskOptions};

crate::test_worker!();

/// For what must happen: a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

fn hang((): ()) {
    loop {
        thread::park();
    }
}

/// A panic of a thread that has the pool's lock and owns something.
fn panic_with<T>(shared: &PoolShared, take: impl FnOnce(&mut crate::process::parent::state::State) -> T) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut state = shared.lock();
        let _in_hands = take(&mut state);
        panic!("a test asks for it");
    }));
    assert!(outcome.is_err());
}

#[test]
fn a_panic_with_the_lock_leaves_no_thread_waiting() {
    for takes_what_is_to_wake in [false, true] {
        let pool = ProcessPoolExecutor::builder().max_workers(1).grace(LONG).build().unwrap();
        let running = pool.submit(hang, ()).unwrap();
        while !running.running() {}
        let futures: Vec<_> = (0..3).map(|_| pool.submit(hang, ()).unwrap()).collect();
        let pids = pool.worker_pids();
        let waits: Vec<_> =
            futures.into_iter().map(|future| thread::spawn(move || future.result_timeout(LONG).unwrap())).collect();
        if takes_what_is_to_wake {
            // Asleep, most of the time.
            let shared = &pool.handle.shared;
            while !shared.lock().is_awaited(3) {
                thread::yield_now();
            }
            panic_with(shared, |state| {
                assert_eq!(state.cancel_some(), 3);
                state.take_to_wake()
            });
        } else {
            panic_with(&pool.handle.shared, |state| state.take_one());
        }
        for wait in waits {
            let error = wait.join().unwrap().unwrap_err();
            assert_eq!(error == TaskError::Cancelled, takes_what_is_to_wake, "{error:?}");
        }
        let error = running.result_timeout(LONG).unwrap().unwrap_err();
        assert!(matches!(error, TaskError::NoWorker { .. }), "{error:?}");
        assert!(matches!(pool.state(), PoolState::Broken(_)), "{:?}", pool.state());
        assert!(pool.submit(hang, ()).unwrap().result().is_err());
        assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
        let is_there = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        assert!(!pids.iter().any(is_there), "no worker is left");
    }
}

/// The thread that wakes the waiters may be finished with a task before this thread drops it.
#[test]
fn what_a_panic_with_the_lock_loses_is_not_dropped_with_the_lock() {
    // One time in two or three is early enough.
    for _ in 0..10 {
        let pool = ProcessPoolExecutor::builder().max_workers(1).grace(LONG).build().unwrap();
        let running = pool.submit(hang, ()).unwrap();
        while !running.running() {}
        for _ in 0..1000 {
            drop(pool.submit(hang, ()).unwrap());
        }
        // Dropping one with the lock is an assertion that fails, and a second panic: the end of this program.
        panic_with(&pool.handle.shared, |state| std::iter::from_fn(|| state.take_one()).collect::<Vec<_>>());
        assert!(running.result_timeout(LONG).unwrap().is_err());
        assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    }
}

#[test]
fn a_panic_of_the_supervisor_leaves_no_thread_waiting() {
    for (is_shut_down, panics) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
        let builder = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(3).grace(LONG);
        let pool = builder.build().unwrap();
        let mut futures = vec![pool.submit(hang, ()).unwrap()];
        while !futures[0].running() {}
        let queue_time = TaskOptions::new().queue_timeout(LONG).timeout(LONG);
        futures.extend((0..3).map(|_| pool.submit_with(hang, (), queue_time).unwrap()));
        let pids = pool.worker_pids();
        let core = pool.handle().clone();
        let waits_for_space = thread::spawn(move || core.submit_task(hang, (), TaskOptions::new()));
        if is_shut_down {
            pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
        }
        let mut state = pool.handle.shared.lock();
        state.panics = panics;
        state.sleep.call();
        pool.handle.shared.conclude(state);
        for future in futures {
            let error = future.result_timeout(LONG).unwrap().unwrap_err();
            assert!(matches!(error, TaskError::NoWorker { .. }), "{error:?}");
        }
        if let Ok(future) = waits_for_space.join().unwrap() {
            assert!(matches!(future.result(), Err(TaskError::NoWorker { .. })));
        }
        assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
        assert_eq!(pool.state(), PoolState::Ended);
        let is_there = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        assert!(!pids.iter().any(is_there), "no worker is left");
    }
}
