//! What the program's panic hook is told of, and what not. It is set before the crate is used, which nothing else in this test binary
//! may be.

use std::{
    panic,
    sync::mpsc::{Sender, channel},
};

use executor_core::{CancelHook, Executor, Promises, SerialExecutor, TaskError, TaskId, ThreadPoolExecutor};

struct Panics;

impl CancelHook for Panics {
    fn cancelled(&self, _: TaskId) {
        panic!("of the hook: cancelled");
    }

    fn kill(&self, _: TaskId) -> bool {
        panic!("of the hook: kill");
    }
}

fn tell(sender: Sender<String>) {
    panic::set_hook(Box::new(move |info| {
        sender.send(info.payload_as_str().unwrap_or("no text").to_owned()).ok();
    }));
}

#[test]
fn the_panic_hook_is_told_of_panics_that_no_result_has() {
    let (sender, told) = channel();
    tell(sender);
    let executor = SerialExecutor::new();
    let task = executor.spawn(|| -> u32 { panic!("of a task") }).unwrap();
    assert!(matches!(task.result(), Err(TaskError::Panicked { message, .. }) if message == "of a task"));

    let promises = Promises::new(Panics);
    let (promise, future) = promises.promise::<u32>();
    assert!(future.cancel());
    drop(promise);
    let (promise, future) = promises.promise::<u32>();
    assert!(promise.set_running_or_cancelled());
    assert!(!future.kill(), "nothing stops it");
    promise.set_result(1).unwrap();
    assert_eq!(future.result(), Ok(1));

    let (promise, future) = promises.promise::<u32>();
    future.add_done_callback(|_| panic!("of a callback"));
    promise.set_result(1).unwrap();
    assert_eq!(promises.wait_for_callbacks(None), 0);

    // A worker pulls it, and the thread that has asked for the vector continues the panic, of which the hook is not told again.
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let input = (0..10_u64).inspect(|x| assert!(*x < 5, "of an input"));
    assert!(panic::catch_unwind(panic::AssertUnwindSafe(|| pool.map(|x: u64| x, input).into_vec())).is_err());

    let _: Box<dyn Fn(&panic::PanicHookInfo<'_>) + Sync + Send> = panic::take_hook();
    let told: Vec<String> = told.try_iter().collect();
    assert_eq!(told, ["of the hook: cancelled", "of the hook: kill", "of a callback", "of an input"]);
}
