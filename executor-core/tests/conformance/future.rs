//! test_future.py: futures and promises by themselves, without an executor.

use std::{
    sync::{Arc, Barrier, Mutex, mpsc},
    time::Duration,
};

use executor_core::{AlreadyDone, Promise, TaskError, TaskFuture, TaskState};

use crate::{
    kinds::LONG,
    reported,
    states::{FAILURE, States, VALUE},
};

/// The result that `on_result` hands to a callback.
fn received(future: TaskFuture<u64>, then: impl FnOnce()) -> Result<u64, TaskError> {
    let (sender, receiver) = mpsc::channel();
    future.on_result(move |result| sender.send(result).unwrap());
    then();
    receiver.recv_timeout(LONG).unwrap()
}

/// What `add_done_callback` tells a callback: whether the task was cancelled, and whether it failed.
fn told(future: &TaskFuture<u64>, then: impl FnOnce()) -> (bool, bool) {
    let (sender, receiver) = mpsc::channel();
    let id = future.id();
    future.add_done_callback(move |done| sender.send((done.id(), done.cancelled(), done.failed())).unwrap());
    then();
    let (told_id, cancelled, failed) = receiver.recv_timeout(LONG).unwrap();
    assert_eq!(told_id, id);
    (cancelled, failed)
}

pub(crate) fn test_done_callback_with_result() {
    let (promise, future) = Promise::new();
    assert_eq!(told(&future, || promise.set_result(5).unwrap()), (false, false));
    let (promise, future) = Promise::new();
    assert_eq!(received(future, || promise.set_result(5).unwrap()), Ok(5));
}

pub(crate) fn test_done_callback_with_exception() {
    let (promise, future) = Promise::new();
    assert_eq!(told(&future, || promise.set_error(FAILURE).unwrap()), (false, true));
    let (promise, future) = Promise::new();
    assert_eq!(received(future, || promise.set_error(FAILURE).unwrap()), Err(FAILURE));
}

pub(crate) fn test_done_callback_with_cancel() {
    let (_promise, future) = Promise::new();
    assert_eq!(told(&future, || assert!(future.cancel())), (true, false));
}

pub(crate) fn test_done_callback_raises() {
    let (promise, future) = Promise::<u64>::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (sender, receiver) = mpsc::channel();
    for name in ["first", "panics", "last"] {
        let (calls, sender) = (Arc::clone(&calls), sender.clone());
        future.add_done_callback(move |_| {
            calls.lock().unwrap().push(name);
            assert!(name != "panics", "the second of three callbacks panics, as it should");
            sender.send(name).unwrap();
        });
    }
    promise.set_result(5).unwrap();
    for expected in ["first", "last"] {
        assert_eq!(receiver.recv_timeout(LONG), Ok(expected));
    }
    assert_eq!(*calls.lock().unwrap(), ["first", "panics", "last"]);
    assert_eq!(reported::times("the second of three callbacks panics, as it should"), 1);
    assert_eq!(future.result(), Ok(5), "the future is not harmed");
}

pub(crate) fn test_done_callback_already_successful() {
    let States { finished, .. } = States::new();
    assert_eq!(told(&finished, || ()), (false, false));
    assert_eq!(received(finished, || ()), Ok(VALUE));
}

pub(crate) fn test_done_callback_already_failed() {
    let States { failed, .. } = States::new();
    assert_eq!(told(&failed, || ()), (false, true));
    assert_eq!(received(failed, || ()), Err(FAILURE));
}

pub(crate) fn test_done_callback_already_cancelled() {
    let States { cancelled, .. } = States::new();
    assert_eq!(told(&cancelled, || ()), (true, false));
    assert_eq!(received(cancelled, || ()), Err(TaskError::Cancelled));
}

pub(crate) fn test_done_callback_raises_already_succeeded() {
    let States { finished, .. } = States::new();
    // It must not reach the code that adds it, nor the callbacks that come after it.
    finished.add_done_callback(|_| panic!("a late callback panics, as it should"));
    assert_eq!(told(&finished, || ()), (false, false));
    assert_eq!(reported::times("a late callback panics, as it should"), 1);
}

pub(crate) fn test_repr() {
    let states = States::new();
    let shown = states.all().map(|future| format!("{future:?}"));
    for (shown, state) in shown.iter().zip(["Pending", "Running", "Cancelled", "Failed", "Finished"]) {
        assert!(shown.contains(&format!("state: {state}")) && shown.contains("u64"), "{shown}");
    }
    let with_error = shown.map(|shown| shown.contains("MemoryLimit"));
    assert_eq!(with_error, [false, false, false, true, false], "the kind of error");
    assert_eq!(states.failed.result(), Err(FAILURE), "it was only looked at");
}

pub(crate) fn test_cancel() {
    let states = States::new();
    assert_eq!(states.all().map(TaskFuture::cancel), [true, false, true, false, false]);
    assert_eq!(states.all().map(TaskFuture::cancelled), [true, false, true, false, false]);
    assert_eq!(states.all().map(TaskFuture::running), [false, true, false, false, false]);
    assert_eq!(states.finished.result(), Ok(VALUE));
    assert_eq!(states.failed.result(), Err(FAILURE));
}

pub(crate) fn test_cancelled() {
    assert_eq!(States::new().all().map(TaskFuture::cancelled), [false, false, true, false, false]);
}

pub(crate) fn test_done() {
    assert_eq!(States::new().all().map(TaskFuture::done), [false, false, true, true, true]);
}

pub(crate) fn test_running() {
    assert_eq!(States::new().all().map(TaskFuture::running), [false, true, false, false, false]);
}

pub(crate) fn test_result_with_timeout() {
    let States { pending, running, cancelled, failed, finished, promises: _promises } = States::new();
    let at_once = |future: TaskFuture<u64>| future.result_timeout(Duration::ZERO);
    // A wait that runs out is not an error of the task, and gives the future back.
    let pending = at_once(pending).unwrap_err();
    assert!(!at_once(running).unwrap_err().done() && pending.cancel());
    assert_eq!(at_once(cancelled).unwrap(), Err(TaskError::Cancelled));
    assert_eq!(at_once(failed).unwrap(), Err(FAILURE));
    assert_eq!(at_once(finished).unwrap(), Ok(VALUE));
}

/// Waits for a future that another thread resolves meanwhile; often, so that either of the two comes first.
fn resolved_elsewhere(resolve: fn(&Promise<u64>, &TaskFuture<u64>)) -> Vec<Result<u64, TaskError>> {
    let outcome = |_| {
        let (promise, future) = Promise::new();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                resolve(&promise, &future);
            });
            start.wait();
            assert!(future.wait_timeout(LONG), "the waiter was not woken");
        });
        future.result()
    };
    (0..200).map(outcome).collect()
}

pub(crate) fn test_result_with_success() {
    let results = resolved_elsewhere(|promise, _| promise.set_result(VALUE).unwrap());
    assert!(results.iter().all(|result| *result == Ok(VALUE)));
}

pub(crate) fn test_result_with_cancel() {
    let results = resolved_elsewhere(|_, future| assert!(future.cancel()));
    assert!(results.iter().all(|result| *result == Err(TaskError::Cancelled)));
}

pub(crate) fn test_exception_with_timeout() {
    let errors = |states: States| {
        let States { cancelled, failed, finished, .. } = states;
        [cancelled, failed, finished].map(|future| future.result_timeout(Duration::ZERO).unwrap().err())
    };
    assert_eq!(errors(States::new()), [Some(TaskError::Cancelled), Some(FAILURE), None]);
    let waits = |states: &States| [&states.pending, &states.running].map(|future| future.wait_timeout(Duration::ZERO));
    assert_eq!(waits(&States::new()), [false, false], "no error either before it is done");
}

pub(crate) fn test_exception_with_success() {
    let results = resolved_elsewhere(|promise, _| promise.set_error(FAILURE).unwrap());
    assert!(results.iter().all(|result| *result == Err(FAILURE)));
}

pub(crate) fn test_multiple_set_result() {
    let (promise, future) = Promise::new();
    assert_eq!(promise.set_result(1), Ok(()));
    assert_eq!(promise.set_result(2), Err(AlreadyDone(2)));
    assert_eq!(promise.set_error(FAILURE), Err(AlreadyDone(FAILURE)));
    assert_eq!(future.result(), Ok(1));
}

pub(crate) fn test_multiple_set_exception() {
    let (promise, future) = Promise::<u64>::new();
    assert_eq!(promise.set_error(FAILURE), Ok(()));
    assert_eq!(promise.set_error(TaskError::ShutDown), Err(AlreadyDone(TaskError::ShutDown)));
    assert_eq!(promise.set_result(2), Err(AlreadyDone(2)));
    assert_eq!(future.result(), Err(FAILURE));
}

/// What four threads see while another one resolves the future: the state, and what the other questions say after it.
fn seen_while(resolve: fn(&Promise<u64>, &TaskFuture<u64>), last: TaskState) {
    const SNAPSHOTS: usize = 1000;
    let (promise, future) = &Promise::new();
    let start = &Barrier::new(5);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                assert_eq!(future.state(), TaskState::Pending);
                start.wait();
                let mut states = Vec::new();
                while states.len() < SNAPSHOTS || !states.ends_with(&[last]) {
                    states.push(future.state());
                    if states.ends_with(&[last]) {
                        let cancelled = last == TaskState::Cancelled;
                        assert_eq!((future.done(), future.running(), future.cancelled()), (true, false, cancelled));
                    }
                }
                // While its outcome is written a future is still running.
                let order = [TaskState::Pending, TaskState::Running, last];
                let is_known = |state| order.contains(state);
                assert!(states.iter().all(is_known), "{states:?}");
                assert!(states.is_sorted_by_key(|state| order.iter().position(|known| known == state)), "{states:?}");
            });
        }
        start.wait();
        resolve(promise, future);
    });
    assert_eq!(future.state(), last);
}

pub(crate) fn test_get_snapshot() {
    assert_eq!(States::new().all().map(TaskFuture::state), {
        use TaskState::{Cancelled, Failed, Finished, Pending, Running};
        [Pending, Running, Cancelled, Failed, Finished]
    });
    seen_while(|promise, _| promise.set_result(VALUE).unwrap(), TaskState::Finished);
    seen_while(|promise, _| promise.set_error(FAILURE).unwrap(), TaskState::Failed);
    seen_while(|_, future| assert!(future.cancel()), TaskState::Cancelled);
}
