//! The process pool's everyday promises.

mod pool_kinds;

use std::time::{Duration, Instant};

use executor_core::{CancelToken, Executor, ProcessPoolExecutor, TaskError, TaskFuture, TaskState, as_completed};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    results_come_back,
    a_panic_comes_back_with_message_place_and_the_backtrace_that_is_asked_for,
    a_task_runs_when_its_worker_runs_it,
    a_state_is_never_left_for_an_earlier_one,
    tokens_form_a_tree_in_a_worker_as_well,
);

fn square(x: u64) -> u64 {
    x * x
}

fn results_come_back(kind: Kind) {
    let pool = kind.builder().max_workers(2).build().unwrap();
    assert_eq!(pool.submit(square, 12).unwrap().result(), Ok(144));
    let futures: Vec<_> = (0..100).map(|x| pool.submit(square, x).unwrap()).collect();
    let mut sum = 0;
    for done in as_completed(futures, None) {
        sum += done.unwrap().result().unwrap();
    }
    assert_eq!(sum, (0..100).map(|x| x * x).sum());
    let mapped = pool.map(square, 0..10_000).into_vec().unwrap();
    assert_eq!(mapped, (0..10_000).map(square).collect::<Vec<_>>());
}

fn a_panic_comes_back_with_message_place_and_the_backtrace_that_is_asked_for(kind: Kind) {
    let asks = [("RUST_BACKTRACE", "0", false), ("RUST_BACKTRACE", "1", true), ("RUST_LIB_BACKTRACE", "0", false)];
    for (variable, value, is_asked_for) in asks {
        let pool = kind.builder().max_workers(1).env(variable, value).build().unwrap();
        let error = pool.submit(|x: u64| -> u64 { panic!("no {x}") }, 7).unwrap().result().unwrap_err();
        let TaskError::Panicked { message, location, backtrace } = error else { panic!("{error:?}") };
        assert_eq!(message, "no 7");
        assert!(location.contains("process_basics.rs"), "{location}");
        assert_eq!(!backtrace.is_empty(), is_asked_for, "{variable}={value}: {backtrace}");
    }
}

fn until_cancelled(token: CancelToken) {
    while !token.is_cancelled() {
        std::thread::yield_now();
    }
}

/// Releases tasks that wait for a token, also when the test has failed.
struct Release(CancelToken);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The answers of all methods that tell a future's state.
fn answers<T>(future: &TaskFuture<T>) -> (TaskState, bool, bool, bool) {
    (future.state(), future.running(), future.done(), future.cancelled())
}

fn a_task_runs_when_its_worker_runs_it(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let release = Release(CancelToken::new());
    let [held, queued] = [(); 2].map(|()| pool.submit(until_cancelled, release.0.clone()).unwrap());
    // No event tells when a worker begins, so this has to ask again and again.
    let start = Instant::now();
    while held.state() != TaskState::Running {
        assert!(start.elapsed() < Duration::from_secs(60), "it is not seen to run");
        std::thread::yield_now();
    }
    assert_eq!(answers(&held), (TaskState::Running, true, false, false));
    assert!(format!("{held:?}").contains("Running"), "{held:?}");
    assert_eq!(answers(&queued), (TaskState::Pending, false, false, false), "the worker is busy");
    assert!(queued.cancel());
    assert_eq!(answers(&queued), (TaskState::Cancelled, false, true, true));
    drop(release);
    assert!(held.wait_timeout(Duration::from_secs(60)));
    assert_eq!(answers(&held), (TaskState::Finished, false, true, false));
    let failed = pool.submit(|x: u64| -> u64 { panic!("no {x}") }, 7).unwrap();
    assert!(failed.wait_timeout(Duration::from_secs(60)));
    assert_eq!(answers(&failed), (TaskState::Failed, false, true, false));
}

fn a_state_is_never_left_for_an_earlier_one(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    for x in 0..2000 {
        let future = pool.submit(square, x).unwrap();
        let mut seen = vec![future.state()];
        while !seen.ends_with(&[TaskState::Finished]) {
            seen.push(future.state());
        }
        let order = [TaskState::Pending, TaskState::Running, TaskState::Finished];
        assert!(seen.is_sorted_by_key(|state| order.iter().position(|known| known == state)), "{seen:?}");
    }
}

/// A token, and one below it.
static KEPT: std::sync::OnceLock<[CancelToken; 2]> = std::sync::OnceLock::new();

fn keep_until_cancelled(token: CancelToken) {
    let child = token.child();
    until_cancelled(token.clone());
    KEPT.set([token, child]).unwrap();
}

/// Of a token, the one below it, the one below that, a clone, and one that is made later: whether they are cancelled when one has
/// been.
fn cancel_one_of_a_tree((token, which): (CancelToken, usize)) -> Vec<bool> {
    let child = token.child();
    let mut tree = vec![token.clone(), child.clone(), child.child(), token.clone()];
    tree[which].cancel();
    tree.push(token.child());
    tree.iter().map(CancelToken::is_cancelled).collect()
}

/// What a function makes of a token is the same in a thread and in a worker.
fn tokens_form_a_tree_in_a_worker_as_well(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    for which in 0..4 {
        let expected = cancel_one_of_a_tree((CancelToken::new(), which));
        let token = CancelToken::new();
        assert_eq!(pool.submit(cancel_one_of_a_tree, (token.clone(), which)).unwrap().result(), Ok(expected));
        assert!(!token.is_cancelled(), "in the program it was not cancelled");
    }
}

fn is_kept_one_cancelled(_: ()) -> [bool; 3] {
    let [kept, child] = KEPT.get().unwrap();
    [kept.is_cancelled(), child.is_cancelled(), kept.child().is_cancelled()]
}

/// The shared flag is gone with the program's token.
#[test]
fn a_token_that_a_worker_keeps_and_has_seen_cancelled_stays_so() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let token = CancelToken::new();
    let keeps = pool.submit(keep_until_cancelled, token.clone()).unwrap();
    token.cancel();
    keeps.result().unwrap();
    drop(token);
    assert_eq!(pool.submit(is_kept_one_cancelled, ()).unwrap().result(), Ok([true, true, true]));
}
