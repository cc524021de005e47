//! Copies that are made on the program's own threads, in the middle of a call of the crate's or while another thread makes one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use executor_core::{
    Executor, Observer, Promise, Promises, Shutdown, ShutdownReport, SubmitError, TaskEnd, TaskError, TaskFuture,
    TaskId, TaskState, ThreadPoolExecutor,
};

use super::{
    end, end_of, fork, never_return,
    pool_kinds::{Kind, on_every_kind_of_pool},
    square,
};

on_every_kind_of_pool!(
    over every transport;
    a_copy_that_a_process_pools_observer_makes_goes_on_without_the_pool,
    a_copy_that_is_made_of_a_thread_that_shuts_a_process_pool_down_does_not_wait,
    a_copy_that_a_waker_makes_of_a_thread_that_waits_for_a_process_does_not_wait,
);

/// Forks once, and only on the thread that has made it: what the crate calls on a thread of its own ends there in a copy.
#[derive(Clone)]
struct ForksHere(ThreadId, Arc<AtomicI32>);

impl ForksHere {
    fn new() -> Self {
        Self(thread::current().id(), Arc::new(AtomicI32::new(NOT_YET)))
    }

    fn copy(&self) -> i32 {
        self.1.load(Ordering::SeqCst)
    }

    fn fork(&self) {
        if thread::current().id() == self.0 && self.copy() == NOT_YET {
            self.1.store(fork(), Ordering::SeqCst);
        }
    }
}

impl Observer for ForksHere {
    fn task_queued(&self, _: TaskId) {
        self.fork();
    }
}

impl Wake for ForksHere {
    fn wake(self: Arc<Self>) {
        self.fork();
    }
}

/// Which thread tells an observer is not known, so this is tried again until it is the one that submits.
fn a_copy_that_a_process_pools_observer_makes_goes_on_without_the_pool(kind: Kind) {
    let forks = ForksHere::new();
    let pool = kind.builder().max_workers(1).observer(forks.clone()).build().unwrap();
    loop {
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.submit(square, 3)));
        if forks.copy() == 0 {
            let is_refused = match outcome {
                Ok(Ok(future)) => future.result() == Err(TaskError::Forked),
                Ok(Err(error)) => matches!(error, SubmitError::ShutDown),
                Err(_) => false,
            };
            end(&[is_refused, pool.shutdown(Shutdown::Kill, None) == ShutdownReport::default()]);
        }
        assert_eq!(outcome.unwrap().unwrap().result(), Ok(9));
        if forks.copy() != NOT_YET {
            break;
        }
    }
    assert_eq!(end_of(forks.copy()), Ok(0));
    assert_eq!(pool.submit(square, 2).unwrap().result(), Ok(4));
}

/// Forks when it is told of the end of a task that was cancelled.
struct ForksWhenCancelled(ForksHere);

impl Observer for ForksWhenCancelled {
    fn task_ended(&self, _: TaskId, end: TaskEnd) {
        if end == TaskEnd::Cancelled {
            self.0.fork();
        }
    }
}

fn a_copy_that_is_made_of_a_thread_that_shuts_a_process_pool_down_does_not_wait(kind: Kind) {
    loop {
        let forks = ForksHere::new();
        let pool = kind.builder().max_workers(1).observer(ForksWhenCancelled(forks.clone())).build().unwrap();
        let running = pool.submit(never_return, ()).unwrap();
        while !running.running() {
            thread::yield_now();
        }
        let queued = pool.submit(square, 1).unwrap();
        let killer = thread::spawn(move || {
            // The shutdown has begun, and waits for this one.
            assert_eq!(queued.result(), Err(TaskError::Cancelled));
            running.kill()
        });
        let report = catch_unwind(AssertUnwindSafe(|| pool.shutdown(Shutdown::CancelQueued, None)));
        if forks.copy() == 0 {
            end(&[report.is_ok_and(|report| report == ShutdownReport::default())]);
        }
        assert_eq!((report.unwrap().cancelled, killer.join().unwrap()), (1, true));
        if forks.copy() != NOT_YET {
            assert_eq!(end_of(forks.copy()), Ok(0));
            return;
        }
    }
}

/// A thread that spins for an answer calls the wakers of other tasks that have ended meanwhile.
fn a_copy_that_a_waker_makes_of_a_thread_that_waits_for_a_process_does_not_wait(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let forks = ForksHere::new();
    let waker = Waker::from(Arc::new(forks.clone()));
    loop {
        let mut futures: Vec<_> = (0..8).map(|x| pool.submit(square, x).unwrap()).collect();
        let last = futures.pop().unwrap();
        for future in &mut futures {
            let _ = Future::poll(Pin::new(future), &mut Context::from_waker(&waker));
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| last.result()));
        if forks.copy() == 0 {
            end(&[outcome.is_ok_and(|outcome| matches!(outcome, Ok(49) | Err(TaskError::Forked)))]);
        }
        assert_eq!(outcome.unwrap(), Ok(49));
        if forks.copy() != NOT_YET {
            break;
        }
    }
    assert_eq!(end_of(forks.copy()), Ok(0));
    assert_eq!(pool.submit(square, 2).unwrap().result(), Ok(4));
}

/// Forks once, when it is told that a task is queued.
struct ForksWhenQueued(&'static AtomicI32);

const NOT_YET: i32 = -1;

impl Observer for ForksWhenQueued {
    fn task_queued(&self, _: TaskId) {
        if self.0.load(Ordering::SeqCst) == NOT_YET {
            self.0.store(fork(), Ordering::SeqCst);
        }
    }
}

#[test]
fn a_copy_that_an_observer_makes_of_a_thread_that_submits_goes_on_without_the_pool() {
    for many in [false, true] {
        let copy: &'static AtomicI32 = Box::leak(Box::new(AtomicI32::new(NOT_YET)));
        // No worker has been started yet: the copy must not start one either.
        let pool = ThreadPoolExecutor::builder().max_workers(2).observer(ForksWhenQueued(copy)).build().unwrap();
        let outcome = if many { pool.submit_many(square, 0..2) } else { pool.submit(square, 0).map(|one| vec![one]) };
        let pid = copy.load(Ordering::SeqCst);
        if pid == 0 {
            let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
            end(&[matches!(outcome, Err(SubmitError::ShutDown)), threads == 1]);
        }
        let outcome: Vec<_> = outcome.unwrap().into_iter().map(TaskFuture::result).collect();
        assert_eq!((outcome[0].clone(), end_of(pid)), (Ok(0), Ok(0)), "{many}");
    }
}

/// Forks when it is told that a second task is queued, and the first one is asking for input.
struct ForksAtTheSecond {
    queued: AtomicUsize,
    copy: &'static AtomicI32,
    is_asked: Mutex<mpsc::Receiver<()>>,
    release: mpsc::Sender<()>,
}

impl Observer for ForksAtTheSecond {
    fn task_queued(&self, _: TaskId) {
        if self.queued.fetch_add(1, Ordering::SeqCst) == 1 {
            self.is_asked.lock().unwrap().recv().unwrap();
            self.copy.store(fork(), Ordering::SeqCst);
            self.release.send(()).unwrap();
        }
    }
}

/// The worker that asks for input is not in the copy, and has the lock there for ever.
#[test]
fn a_copy_that_an_observer_makes_of_a_thread_that_maps_does_not_wait_for_the_input() {
    let copy: &'static AtomicI32 = Box::leak(Box::new(AtomicI32::new(NOT_YET)));
    let ((ask, asked), (release, released)) = (mpsc::channel(), mpsc::channel());
    let observer = ForksAtTheSecond { queued: AtomicUsize::new(0), copy, is_asked: Mutex::new(asked), release };
    let pool = ThreadPoolExecutor::builder().max_workers(2).observer(observer).build().unwrap();
    let first = std::iter::once_with(move || {
        ask.send(()).unwrap();
        released.recv().unwrap();
        0
    });
    let outcome = pool.map(square, first.chain(1..4)).into_vec();
    let pid = copy.load(Ordering::SeqCst);
    if pid == 0 {
        end(&[outcome == Err(TaskError::ShutDown)]);
    }
    assert_eq!((outcome, end_of(pid)), (Ok(vec![0, 1, 4, 9]), Ok(0)));
}

#[test]
fn a_copy_that_arguments_make_at_their_end_starts_no_worker() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let mut copy = NOT_YET;
    let forks = std::iter::from_fn(|| {
        copy = fork();
        None
    });
    let futures = pool.submit_many(never_return_if, [false; 4].into_iter().chain(forks)).unwrap();
    if copy == 0 {
        let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        let outcomes: Vec<_> = futures.into_iter().map(TaskFuture::result).collect();
        end(&[threads == 1, outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(TaskError::Forked)))]);
    }
    assert!(futures.into_iter().all(|future| future.result() == Ok(())));
    assert_eq!(end_of(copy), Ok(0));
}

fn never_return_if(never: bool) {
    if never {
        never_return(());
    }
}

/// A captured value that forks when it is dropped, and then ends a task of the program.
struct ForksWhenDropped(&'static AtomicI32, std::sync::mpsc::Sender<()>);

impl Drop for ForksWhenDropped {
    fn drop(&mut self) {
        let copy = fork();
        self.0.store(copy, Ordering::SeqCst);
        if copy > 0 {
            self.1.send(()).unwrap();
        }
    }
}

/// The copy has no workers for which it could wait.
macro_rules! ends_without_workers {
    ($name:ident, $pool:expr) => {
        #[test]
        fn $name() {
            let copy: &'static AtomicI32 = Box::leak(Box::new(AtomicI32::new(NOT_YET)));
            let pool = $pool;
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            let running = pool.spawn(move || receiver.recv().is_ok()).unwrap();
            while !running.running() {
                std::thread::yield_now();
            }
            let forks = ForksWhenDropped(copy, sender);
            let queued = pool.spawn(move || drop(forks)).unwrap();
            let report = pool.shutdown(Shutdown::CancelQueued, None);
            let pid = copy.load(Ordering::SeqCst);
            if pid == 0 {
                drop(pool);
                end(&[report == executor_core::ShutdownReport::default()]);
            }
            assert_eq!(end_of(pid), Ok(0));
            assert_eq!((report.cancelled, running.result(), queued.result()), (1, Ok(true), Err(TaskError::Cancelled)));
        }
    };
}

ends_without_workers!(a_copy_made_by_what_a_shutdown_drops_does_not_wait, ThreadPoolExecutor::new(1).unwrap());
#[cfg(feature = "rayon")]
ends_without_workers!(
    a_copy_made_by_what_rayons_shutdown_drops_does_not_wait,
    executor_core::RayonExecutor::builder().max_workers(1).build().unwrap()
);

#[test]
fn a_copy_made_by_what_a_scope_drops_does_not_wait() {
    let copy: &'static AtomicI32 = Box::leak(Box::new(AtomicI32::new(NOT_YET)));
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let outcome = pool.try_scope(|scope| {
        // One worker runs a task of the scope, and the other one has none of its tasks any more when the last one comes.
        let (begins, begun) = std::sync::mpsc::channel();
        let runs = move || {
            begins.send(()).unwrap();
            receiver.recv().unwrap();
            Ok(())
        };
        scope.try_spawn(runs).unwrap();
        begun.recv().unwrap();
        scope.try_spawn(|| Err(())).unwrap();
        while !scope.cancel_token().is_cancelled() {
            std::thread::yield_now();
        }
        let busy = pool.spawn(move || held.recv().is_err()).unwrap();
        while !busy.running() {
            std::thread::yield_now();
        }
        let forks = ForksWhenDropped(copy, sender);
        scope.spawn(move || drop(forks)).unwrap();
        busy
    });
    let pid = copy.load(Ordering::SeqCst);
    if pid == 0 {
        end(&[matches!(outcome, Err(executor_core::TryMapError::Task(TaskError::Forked)))]);
    }
    drop(release);
    assert!(matches!(outcome, Err(executor_core::TryMapError::Output(()))));
    assert_eq!(end_of(pid), Ok(0));
}

#[test]
fn no_promise_of_the_program_has_an_outcome_in_a_copy() {
    let promises = Promises::new(());
    let [(queued, of_queued), (dropped, of_dropped)] = [(); 2].map(|()| promises.promise::<u64>());
    let called: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    of_dropped.add_done_callback(|_| called.store(true, Ordering::SeqCst));
    let copy = fork();
    if copy == 0 {
        let claims = [
            !queued.set_running_or_cancelled(),
            queued.run(|| 1).is_none(),
            queued.set_result(1).is_err_and(|error| error.0 == 1),
            queued.set_error(TaskError::ShutDown).is_err(),
            of_queued.state() == TaskState::Failed && of_queued.result() == Err(TaskError::Forked),
        ];
        drop(dropped);
        // The copy runs its own callbacks in their order; the program's is not among them.
        let (sender, receiver) = std::sync::mpsc::channel();
        Promise::<u64>::new().1.on_result(move |outcome| sender.send(outcome).unwrap());
        let own = receiver.recv_timeout(Duration::from_secs(30)) == Ok(Err(TaskError::ShutDown));
        let is_forked = of_dropped.result() == Err(TaskError::Forked);
        end(&[&claims[..], &[own, !called.load(Ordering::SeqCst), is_forked]].concat());
    }
    assert_eq!(end_of(copy), Ok(0));
    assert!(queued.set_running_or_cancelled() && queued.set_result(1).is_ok());
    assert_eq!(of_queued.result(), Ok(1));
    drop(dropped);
    assert_eq!((of_dropped.result(), promises.wait_for_callbacks(None)), (Err(TaskError::ShutDown), 0));
    assert!(called.load(Ordering::SeqCst));
}

/// What the crate finds out once in a program may be under way when it is copied. In a program that has not used the crate yet,
/// again and again: a thread looks at a future for the first time, and another one forks a little later.
#[test]
fn a_copy_does_not_wait_for_what_the_program_was_finding_out() {
    const NAME: &str = "callers::a_copy_does_not_wait_for_what_the_program_was_finding_out";
    const FRESH: &str = "EXECUTOR_CORE_TEST_FRESH";
    if std::env::var_os(FRESH).is_none() {
        let mut fresh = std::process::Command::new(std::env::current_exe().unwrap());
        let status = fresh.args([NAME, "--exact"]).env(FRESH, "1").status().unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    fn look() {
        let (_promise, future) = Promise::<u64>::new();
        future.wait_timeout(Duration::from_micros(50));
    }
    for round in 0..200 {
        let program = fork();
        if program == 0 {
            static BEGINS: AtomicBool = AtomicBool::new(false);
            let other = std::thread::spawn(|| {
                BEGINS.store(true, Ordering::SeqCst);
                look();
            });
            while !BEGINS.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_nanos(500 * (round % 100)) {
                std::hint::spin_loop();
            }
            let copy = fork();
            if copy == 0 {
                // SAFETY: has no requirements.
                unsafe { libc::alarm(10) };
                look();
                end(&[]);
            }
            let outcome = end_of(copy);
            other.join().unwrap();
            end(&[outcome == Ok(0)]);
        }
        assert_eq!(end_of(program), Ok(0), "{round}");
    }
}
