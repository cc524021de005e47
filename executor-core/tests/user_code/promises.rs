//! Executors of the user's own: promises, the hook of their cancellation, and their callbacks.

use std::{sync::mpsc, time::Duration};

use executor_core::{CancelHook, Promise, Promises, TaskError, TaskId};

/// The calls of the hook of a user's executor.
struct Told(mpsc::Sender<(&'static str, TaskId)>);

impl CancelHook for Told {
    fn cancelled(&self, task: TaskId) {
        self.0.send(("cancelled", task)).unwrap();
        panic!("the hook panics, as it should");
    }

    fn kill(&self, task: TaskId) -> bool {
        self.0.send(("kill", task)).unwrap();
        true
    }
}

#[test]
fn an_executor_of_the_users_is_told_once_of_what_is_cancelled_and_asked_to_stop_what_runs() {
    let (sender, told) = mpsc::channel();
    let promises = Promises::new(Told(sender));
    let (queued, future) = promises.promise::<u64>();
    let (seen, called) = mpsc::channel();
    future.add_done_callback(move |done| seen.send(done.cancelled()).unwrap());
    assert!(future.cancel() && future.cancel() && future.kill());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [("cancelled", queued.id())]);
    assert_eq!((promises.wait_for_callbacks(None), called.try_recv()), (0, Ok(true)));
    assert!(queued.run(|| 1).is_none(), "it was cancelled");

    let (runs, future) = promises.promise::<u64>();
    assert!(runs.set_running_or_cancelled() && !future.cancel() && future.kill() && !future.done());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [("kill", runs.id())]);
    runs.set_error(TaskError::Cancelled).unwrap();
    assert!(future.cancelled());

    // A promise that belongs to no executor has no hook.
    let (promise, future) = Promise::<u64>::new();
    assert!(promise.set_running_or_cancelled() && !future.kill());
}

#[test]
fn the_end_of_an_executor_of_the_users_waits_for_callbacks_as_long_as_it_may() {
    let promises = Promises::new(());
    let (promise, future) = promises.promise::<u64>();
    let (go, begin) = mpsc::channel::<()>();
    future.add_done_callback(move |_| begin.recv().unwrap());
    assert_eq!(promises.wait_for_callbacks(Some(Duration::ZERO)), 1, "it may still come");
    promise.set_outcome(Ok(1)).unwrap();
    assert_eq!(promise.set_outcome(Ok(2)).unwrap_err().0, Ok(2));
    assert_eq!(promises.wait_for_callbacks(Some(Duration::from_millis(1))), 1);
    assert_eq!(Promises::new(()).wait_for_callbacks(None), 0, "those of others are nothing to it");
    go.send(()).unwrap();
    assert_eq!(promises.wait_for_callbacks(None), 0);
}
