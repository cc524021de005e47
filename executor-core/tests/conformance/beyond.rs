//! Eight behaviors that CPython does not test, and in which it fails or surprises.

use std::{
    any::Any,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use executor_core::{
    BuildError, Executor, ProcessPoolExecutor, RayonExecutor, ReturnWhen, Shutdown, TaskError, ThreadPoolExecutor,
    as_completed, wait,
};

use crate::{
    gate::{Gate, pass},
    kinds::{Kind, LONG, Processes, Rayon, Serial, Spawning, Threads},
    process_pool::NO_STACK,
    programs::Program,
    states::States,
    tasks::{picky, square},
};

pub(crate) fn slow_callback(kind: impl Kind) {
    let pool = kind.pool(1);
    // Each of them ends when its sender is dropped, also when the test has failed.
    let slow: Vec<mpsc::Sender<()>> = (0..4)
        .map(|x| {
            let (entered, has_entered) = mpsc::channel();
            let (release, released) = mpsc::channel();
            pool.submit(square, x).unwrap().add_done_callback(move |_| {
                entered.send(()).unwrap();
                let _ = released.recv();
            });
            has_entered.recv_timeout(LONG).unwrap();
            release
        })
        .collect();
    for x in 0..20 {
        let (called, is_called) = mpsc::channel();
        let future = pool.submit(square, x).unwrap();
        future.add_done_callback(move |_| called.send(()).unwrap());
        assert_eq!(future.result_timeout(LONG).unwrap(), Ok(x * x));
        is_called.recv_timeout(LONG).unwrap();
    }
    drop(slow);
}

pub(crate) fn panicking_callback(kind: impl Kind) {
    let pool = kind.pool(2);
    // Not a string: the kind of panic for which CPython's counterpart (a `BaseException`) kills the worker.
    let payload = || -> Box<dyn Any + Send> { Box::new(7_u8) };
    for x in 0..10 {
        let (called, is_called) = mpsc::channel();
        let future = pool.submit(square, x).unwrap();
        future.add_done_callback(move |_| std::panic::resume_unwind(payload()));
        future.add_done_callback(move |_| called.send(()).unwrap());
        assert_eq!(future.result_timeout(LONG).unwrap(), Ok(x * x));
        is_called.recv_timeout(LONG).unwrap();
    }
    if !kind.runs_in_submit() {
        // Both workers are there.
        let gate = Gate::new();
        let futures = [(); 2].map(|()| pool.submit(pass, gate.key()).unwrap());
        gate.wait_for(2);
        gate.open();
        assert!(futures.into_iter().all(|future| future.result_timeout(LONG).unwrap().is_ok()));
    }
}

pub(crate) fn wait_after_cancel_on_shutdown(kind: impl Kind) {
    for how in [Shutdown::CancelQueued, Shutdown::Kill] {
        let pool = kind.pool(1);
        let gate = Gate::new();
        let _running = pool.submit(pass, gate.key()).unwrap();
        gate.wait_for(1);
        let futures: Vec<_> = (0..4).map(|x| pool.submit(square, x).unwrap()).collect();
        // Some wait already, others come later.
        let waiting = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(&futures, Some(LONG), ReturnWhen::AllCompleted).done.len());
            assert_eq!(pool.shutdown(how, Some(Duration::ZERO)).cancelled, 4);
            waiter.join().unwrap()
        });
        assert_eq!((waiting, wait(&futures, Some(LONG), ReturnWhen::AllCompleted).done.len()), (4, 4));
        assert!(as_completed(&futures, Some(LONG)).all(|done| done.unwrap().cancelled()));
    }
}

pub(crate) fn clock_start() {
    let States { pending, .. } = &States::new();
    let mut pulled = 0;
    let limit = Duration::from_secs(1);
    let mut set = as_completed(std::iter::once(pending).inspect(|_| pulled += 1), Some(limit));
    assert_eq!(pulled, 1, "the input is read at the call as well");
    // Lets the time pass.
    assert!(!pending.wait_timeout(limit));
    let asked = Instant::now();
    assert_eq!(set.next().unwrap().unwrap_err().unfinished, 1);
    assert!(asked.elapsed() < limit / 2, "the clock began with the first `next`");
}

pub(crate) fn dropped_executor_with_buffer(kind: impl Kind) {
    let pool = kind.pool(2);
    let mut map = pool.map(square, 0..10).buffer_size(3).start();
    assert_eq!(map.next(), Some(Ok(0)));
    drop(pool);
    let results: Vec<_> = map.collect();
    let (last, answers) = results.split_last().unwrap();
    assert!(answers.iter().zip(1..).all(|(answer, x)| *answer == Ok(x * x)), "{answers:?}");
    // CPython's map just ends, as if these had been all results.
    assert!(*last == Err(TaskError::ShutDown) || results.len() == 9, "{results:?}");
    assert!(results.len() >= 3, "what was submitted is answered: {results:?}");
}

pub(crate) fn chunk_error(kind: impl Kind) {
    let pool = kind.pool(2);
    let results: Vec<_> = pool.map(picky, 0..8).chunk_size(8).collect();
    assert_eq!(results.len(), 8);
    for (x, result) in results.into_iter().enumerate() {
        assert_eq!(result.ok(), (x != 3).then_some(x as u64), "the other items of a chunk keep their results");
    }
}

/// A task that uses its own pool, or its own kind of pool.
pub(crate) trait Nesting: Kind {
    fn nest(self);
}

fn nest_in_place<K: Spawning>(kind: K) {
    let pool = Arc::new(kind.pool(1));
    let inner = Arc::clone(&pool);
    let sum = K::spawn(&pool, move || {
        let futures: Vec<_> = (0..3).map(|x| inner.submit(square, x).unwrap()).collect();
        futures.into_iter().map(|future| future.result().unwrap()).sum::<u64>()
    });
    assert_eq!(sum.result_timeout(LONG).unwrap(), Ok(5));
}

impl Nesting for Threads {
    fn nest(self) {
        nest_in_place(self);
    }
}

impl Nesting for Rayon {
    fn nest(self) {
        nest_in_place(self);
    }
}

impl Nesting for Serial {
    fn nest(self) {
        nest_in_place(self);
    }
}

impl Nesting for Processes {
    fn nest(self) {
        let pool = self.pool(1);
        // It cannot deadlock, because it cannot be done, and says so.
        let refused = || matches!(ProcessPoolExecutor::new(1), Err(BuildError::InsideWorker));
        assert_eq!(pool.submit(refused, ()).unwrap().result(), Ok(true));
        let threads = |x: u64| ThreadPoolExecutor::new(1).unwrap().submit(square, x).unwrap().result();
        assert_eq!(pool.submit(threads, 5).unwrap().result(), Ok(Ok(25)));
    }
}

pub(crate) fn nested_submit(kind: impl Nesting) {
    kind.nest();
}

/// The system refuses a thread to the executor.
pub(crate) trait NeedsThreads: Kind {
    fn without_threads(self);
}

/// As a number of bytes: see [`NO_STACK`].
fn no_stack() -> usize {
    NO_STACK.parse().unwrap()
}

impl NeedsThreads for Threads {
    fn without_threads(self) {
        let pool = ThreadPoolExecutor::builder().max_workers(2).stack_size(no_stack()).build().unwrap();
        let (ran, has_run) = mpsc::channel::<()>();
        let future = pool.spawn(move || ran.send(()).unwrap()).unwrap();
        let error = future.result_timeout(LONG).unwrap().unwrap_err();
        assert!(matches!(error, TaskError::NoWorker { .. }), "{error:?}");
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains("failed to start a thread"), "{error}: {cause}");
        assert!(has_run.recv_timeout(LONG).is_err(), "it ran although its future says that it did not");
    }
}

impl NeedsThreads for Rayon {
    fn without_threads(self) {
        let built = RayonExecutor::builder().max_workers(2).stack_size(no_stack()).build();
        assert!(matches!(built, Err(BuildError::System { .. })));
    }
}

impl NeedsThreads for Processes {
    fn without_threads(self) {
        // In a program of its own, in which no thread at all can be started.
        let program = Program::start("no_threads", self, None, &[("RUST_MIN_STACK", NO_STACK)]);
        assert_eq!(program.finish(), (true, "refused\n".to_owned()));
    }
}

pub(crate) fn failing_thread_start(kind: impl NeedsThreads) {
    kind.without_threads();
}
