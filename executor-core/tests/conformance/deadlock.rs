//! test_deadlock.py: a failure on the way to a worker, in it, or on the way back fails one task, and nothing hangs. (In CPython
//! most of these break the whole pool.)

use std::{
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use executor_core::{Executor, Payload, Shutdown, Task, TaskError, WorkerExit};
use rustix::process::Signal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use crate::{
    gate::{Gate, Key, pass},
    kinds::{Kind, LONG, Processes},
    tasks::{crash, signal, square},
};

const SEGMENTATION_FAULT: WorkerExit = WorkerExit::Signal(11);
const EXIT: WorkerExit = WorkerExit::Code(99);

/// How a value fails.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Act {
    Nothing,
    Fail,
    Exit,
    Crash,
}

impl Act {
    fn act<E>(self, error: impl FnOnce() -> E) -> Result<(), E> {
        match self {
            Self::Nothing => Ok(()),
            Self::Fail => Err(error()),
            Self::Exit => std::process::exit(99),
            Self::Crash => crash(),
        }
    }
}

/// A value that fails when it is written, or when it is read.
#[derive(Debug, PartialEq)]
struct Trap {
    when_written: Act,
    when_read: Act,
}

impl Serialize for Trap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.when_written.act(|| S::Error::custom("cannot be written"))?;
        (self.when_written, self.when_read).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (when_written, when_read) = <(Act, Act)>::deserialize(deserializer)?;
        when_read.act(|| D::Error::custom("cannot be read"))?;
        Ok(Self { when_written, when_read })
    }
}

fn take(_: Trap) {}

/// Makes the trap in the worker, so that it is a result's.
fn make(when_written: Act, when_read: Act) -> Trap {
    Trap { when_written, when_read }
}

/// Runs a task that fails; the tasks before and after it on the same worker must not notice.
fn failure<F, A, M>(kind: Processes, task: F, args: A) -> TaskError
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload + std::fmt::Debug,
    M: 'static,
{
    let pool = kind.pool(1);
    let before = pool.submit(square, 3).unwrap();
    let failing = pool.submit(task, args).unwrap();
    let after = pool.submit(square, 4).unwrap();
    let error = failing.result_timeout(LONG).unwrap().unwrap_err();
    assert_eq!((before.result_timeout(LONG).unwrap(), after.result_timeout(LONG).unwrap()), (Ok(9), Ok(16)));
    error
}

fn death<F, A, M>(kind: Processes, task: F, args: A) -> WorkerExit
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload + std::fmt::Debug,
    M: 'static,
{
    match failure(kind, task, args) {
        TaskError::WorkerDied { exit, .. } => exit,
        other => panic!("{other}"),
    }
}

pub(crate) fn test_error_at_task_pickle(kind: Processes) {
    let error = failure(kind, take, make(Act::Fail, Act::Nothing));
    assert!(matches!(&error, TaskError::Encode { what, .. } if what == "argument"), "{error}");
    assert!(std::error::Error::source(&error).is_some(), "what the codec says is kept");
}

pub(crate) fn test_exit_at_task_unpickle(kind: Processes) {
    assert_eq!(death(kind, take, make(Act::Nothing, Act::Exit)), EXIT);
}

pub(crate) fn test_error_at_task_unpickle(kind: Processes) {
    let error = failure(kind, take, make(Act::Nothing, Act::Fail));
    assert!(matches!(&error, TaskError::Decode { what, .. } if what == "argument"), "{error}");
}

pub(crate) fn test_crash_at_task_unpickle(kind: Processes) {
    assert_eq!(death(kind, take, make(Act::Nothing, Act::Crash)), SEGMENTATION_FAULT);
}

pub(crate) fn test_crash_during_func_exec_on_worker(kind: Processes) {
    assert_eq!(death(kind, || -> () { crash() }, ()), SEGMENTATION_FAULT);
}

pub(crate) fn test_exit_during_func_exec_on_worker(kind: Processes) {
    assert_eq!(death(kind, || -> () { std::process::exit(99) }, ()), EXIT);
}

pub(crate) fn test_error_during_func_exec_on_worker(kind: Processes) {
    let error = failure(kind, || -> () { panic!("at the disco") }, ());
    assert!(matches!(&error, TaskError::Panicked { message, .. } if message == "at the disco"), "{error}");
    let pool = kind.pool(1);
    let output = pool.submit(|text: String| text.parse::<u64>().map_err(|error| error.to_string()), "x".to_owned());
    assert_eq!(output.unwrap().result(), Ok(Err("invalid digit found in string".to_owned())));
}

pub(crate) fn test_crash_during_result_pickle_on_worker(kind: Processes) {
    assert_eq!(death(kind, make, (Act::Crash, Act::Nothing)), SEGMENTATION_FAULT);
}

pub(crate) fn test_exit_during_result_pickle_on_worker(kind: Processes) {
    assert_eq!(death(kind, make, (Act::Exit, Act::Nothing)), EXIT);
}

pub(crate) fn test_error_during_result_pickle_on_worker(kind: Processes) {
    let error = failure(kind, make, (Act::Fail, Act::Nothing));
    assert!(matches!(&error, TaskError::Encode { what, .. } if what == "result"), "{error}");
}

pub(crate) fn test_error_during_result_unpickle_in_result_handler(kind: Processes) {
    let error = failure(kind, make, (Act::Nothing, Act::Fail));
    assert!(matches!(&error, TaskError::Decode { what, .. } if what == "result"), "{error}");
}

fn pass_and_crash(gate: Key) {
    pass(gate);
    crash()
}

pub(crate) fn test_shutdown_deadlock(kind: Processes) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let future = pool.submit(pass_and_crash, gate.key()).unwrap();
    gate.wait_for(1);
    assert_eq!(pool.shutdown(Shutdown::Drain, Some(Duration::ZERO)).running, 1);
    gate.open();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert!(matches!(future.result(), Err(TaskError::WorkerDied { exit: SEGMENTATION_FAULT, .. })));
}

pub(crate) fn test_shutdown_deadlock_pickle(kind: Processes) {
    let pool = kind.pool(2);
    assert_eq!(pool.submit(square, 2).unwrap().result(), Ok(4));
    let future = pool.submit(take, make(Act::Fail, Act::Nothing)).unwrap();
    pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    assert!(matches!(future.result_timeout(LONG).unwrap(), Err(TaskError::Encode { .. })));
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete(), "the supervisor must end as well");
}

pub(crate) fn test_crash_big_data(kind: Processes) {
    let pool = kind.pool(1);
    pool.warm_up().unwrap();
    let worker = pool.worker_pids()[0];
    // It reads nothing from now on, so most of the argument is still to be written when it dies.
    signal(worker, Signal::STOP);
    let future = pool.submit(|bytes: Vec<u8>| bytes.len(), vec![0; 16 << 20]).unwrap();
    signal(worker, Signal::KILL);
    match future.result_timeout(LONG).unwrap() {
        // The task has not begun, so it may also be run by the next worker.
        Ok(length) => assert_eq!(length, 16 << 20),
        Err(TaskError::WorkerDied { pid, exit }) => assert_eq!((pid, exit), (worker, WorkerExit::Signal(9))),
        Err(other) => panic!("{other}"),
    }
    let next = pool.submit(|bytes: Vec<u8>| bytes.len(), vec![0; 16 << 20]).unwrap();
    assert_eq!(next.result_timeout(LONG).unwrap(), Ok(16 << 20));
}

/// Blocks the thread that wakes it until the test releases it.
struct SlowWaker {
    called: mpsc::Sender<()>,
    release: Mutex<mpsc::Receiver<()>>,
}

impl Wake for SlowWaker {
    fn wake(self: Arc<Self>) {
        self.called.send(()).unwrap();
        // Also when the test has failed and dropped the sender.
        let _ = self.release.lock().unwrap().recv();
    }
}

pub(crate) fn test_gh105829_should_not_deadlock_if_wakeup_pipe_full(kind: Processes) {
    let pool = Arc::new(kind.pool(1));
    let gate = Gate::new();
    let (called, is_called) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let waker = Waker::from(Arc::new(SlowWaker { called, release: Mutex::new(released) }));
    let mut awaited = pool.submit(pass, gate.key()).unwrap();
    gate.wait_for(1);
    assert!(matches!(Pin::new(&mut awaited).poll(&mut Context::from_waker(&waker)), Poll::Pending));
    gate.open();
    // From here on, the thread that serves the pool is busy with the waker.
    is_called.recv_timeout(LONG).unwrap();
    let (submitted, all_submitted) = mpsc::channel();
    let submitter = Arc::clone(&pool);
    std::thread::spawn(move || {
        // A cancelled task writes to the doorbell as well as a new one, so there are thousands of bytes that no thread reads.
        let futures: Vec<_> = (0..5000).map(|x| submitter.submit(square, x).unwrap()).collect();
        let cancelled = futures.iter().filter(|future| future.cancel()).count();
        submitted.send((futures, cancelled)).unwrap();
    });
    let (futures, cancelled) = all_submitted.recv_timeout(LONG).expect("a submit or cancel waits for the supervisor");
    release.send(()).unwrap();
    let done = futures.into_iter().filter(|future| future.wait_timeout(LONG) && !future.cancelled()).count();
    assert_eq!(done + cancelled, 5000);
    assert_eq!(pool.submit(square, 5).unwrap().result_timeout(LONG).unwrap(), Ok(25));
}
