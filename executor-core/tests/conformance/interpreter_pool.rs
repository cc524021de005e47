//! test_interpreter_pool.py: those of its rows that mean something without interpreters.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
};

use executor_core::{Executor, TaskError, ThreadPoolExecutor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tokio::runtime;

use crate::{
    gate::{Gate, pass},
    kinds::{Initialized, Kind, LONG, Processes, Threads},
    tasks::square,
    thread_pool,
};

pub(crate) fn test_run_in_executor(kind: impl Kind) {
    let pool = kind.pool(2);
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let spawned = runtime.spawn(pool.submit(square, 7).unwrap());
    let both = runtime.block_on(async { (pool.submit(square, 6).unwrap().await, spawned.await.unwrap()) });
    assert_eq!(both, (Ok(36), Ok(49)));
}

#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn test_run_in_executor_cancel(kind: impl Kind) {
    let pool = kind.pool(1);
    let gate = Gate::new();

    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let awaiting = runtime.spawn(pool.submit(pass, gate.key()).unwrap());
    runtime.block_on(tokio::task::yield_now());
    awaiting.abort();
    assert!(runtime.block_on(awaiting).unwrap_err().is_cancelled());
    drop(runtime);

    // The same without a runtime, to see whether the waker is dropped.
    let counted = Arc::<Counted>::default();
    let waker = Waker::from(Arc::clone(&counted));
    let mut awaited = pool.submit(pass, gate.key()).unwrap();
    assert!(Pin::new(&mut awaited).poll(&mut Context::from_waker(&waker)).is_pending());
    drop((awaited, waker));
    assert_eq!(Arc::strong_count(&counted), 1, "the task keeps the waker");

    gate.wait_for(1);
    gate.open();
    // With one worker, the others have been run when this one has.
    assert_eq!(pool.submit(square, 3).unwrap().result_timeout(LONG).unwrap(), Ok(9));
    assert_eq!(gate.visitors().len(), 2, "dropping the awaiting side detaches, and does not cancel");
    assert_eq!(counted.0.load(Ordering::Relaxed), 0, "a late wake-up");
}

static CONFIGURATION: Mutex<String> = Mutex::new(String::new());

fn configure(name: String) {
    *CONFIGURATION.lock().unwrap() = name;
}

fn configuration() -> String {
    CONFIGURATION.lock().unwrap().clone()
}

pub(crate) fn test_init_func(kind: impl Initialized) {
    let gate = Gate::opened();
    let pool = kind.pool_with(1, |gate: String| drop(pass(gate)), gate.key());
    assert_eq!(pool.submit(square, 2).unwrap().result(), Ok(4));
    assert_eq!(gate.visitors().len(), 1, "its effect is there when the first task is done");
}

#[expect(non_snake_case, reason = "CPython's name")]
pub(crate) fn test_init_with___main___global(kind: Processes) {
    let pool = kind.pool_with(1, configure, "the worker's".to_owned());
    assert_eq!(pool.submit(configuration, ()).unwrap().result().unwrap(), "the worker's");
    assert_eq!(configuration(), "", "a worker's statics are its own");
}

pub(crate) fn test_init_exception_in_func(kind: impl Initialized) {
    let pool = kind.pool_with(1, |name: String| assert!(name.is_empty(), "no {name}"), "disk".to_owned());
    match pool.submit(square, 2).unwrap().result_timeout(LONG).unwrap() {
        Err(TaskError::InitializerFailed { cause }) => assert!(cause.to_string().contains("no disk"), "{cause}"),
        other => panic!("{other:?}"),
    }
}

/// A task's own error: type and values.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Refused {
    Number { value: i64, why: String },
}

pub(crate) fn test_submit_exception_in_func(kind: Processes) {
    let pool = kind.pool(1);
    let refuse = |value: i64| -> Result<(), Refused> { Err(Refused::Number { value, why: "negative".to_owned() }) };
    let expected = Refused::Number { value: -1, why: "negative".to_owned() };
    assert_eq!(pool.submit(refuse, -1).unwrap().result(), Ok(Err(expected)));
    match pool.submit(|value: i64| assert!(value > 0, "{value} is negative"), -1).unwrap().result() {
        Err(TaskError::Panicked { message, location, .. }) => {
            assert_eq!(message, "-1 is negative");
            assert!(location.contains("interpreter_pool.rs:"), "{location}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn test_saturation(kind: Threads) {
    thread_pool::test_saturation(kind);
}

pub(crate) fn test_blocking(kind: impl Kind) {
    released_in_waves(kind, 10, 10);
}

pub(crate) fn test_blocking_with_limited_workers(kind: impl Kind) {
    released_in_waves(kind, 4, 10);
}

/// Tasks that wait at a gate and are let through one by one; as many wait as there are workers, and never more.
fn released_in_waves(kind: impl Kind, workers: usize, tasks: usize) {
    let pool = kind.pool(workers);
    let gate = Gate::new();
    let futures: Vec<_> = (0..tasks).map(|_| pool.submit(pass, gate.key()).unwrap()).collect();
    for released in 0..tasks {
        let waiting = (released + workers).min(tasks);
        assert_eq!(gate.wait_for(waiting).len(), waiting);
        gate.release(1);
    }
    let used: HashSet<_> = futures.into_iter().map(|future| future.result_timeout(LONG).unwrap().unwrap()).collect();
    assert!(used.len() <= workers);
}

pub(crate) fn test_idle_thread_reuse(kind: Threads) {
    thread_pool::test_idle_thread_reuse(kind);
}

/// Can be written, and not be read back.
#[derive(Debug, PartialEq)]
struct OneWay;

impl Serialize for OneWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("one way only"))
    }
}

pub(crate) fn test_pickle_errors_propagate(kind: Processes) {
    let pool = kind.pool(1);
    let there = pool.submit(|_: OneWay| (), OneWay).unwrap().result_timeout(LONG).unwrap();
    assert!(matches!(there, Err(TaskError::Decode { what, .. }) if what == "argument"));
    let back = pool.submit(|| OneWay, ()).unwrap().result_timeout(LONG).unwrap();
    assert!(matches!(back, Err(TaskError::Decode { what, .. }) if what == "result"));
}

fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

pub(crate) fn test_thread_name_prefix(kind: Threads) {
    let name = kind.pool(1).submit(thread_name, ()).unwrap().result().unwrap();
    assert!(name.starts_with("executor-"), "{name}");
}

/// The name that the operating system knows.
fn system_thread_name() -> String {
    let name = std::fs::read("/proc/thread-self/comm").unwrap();
    String::from_utf8(name).unwrap().trim_end().to_owned()
}

pub(crate) fn test_thread_name_prefix_with_thread_get_name(_: Threads) {
    let builder = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("much longer than the system allows");
    let pool = builder.build().unwrap();
    assert_eq!(pool.submit(system_thread_name, ()).unwrap().result().unwrap(), "much longer tha");
}
