//! The user's code in all places where a process pool calls it or drops its values: it panics, takes its time and uses the pool,
//! and that harms no other task. It is never run under a lock.
#![cfg(target_os = "linux")]

mod pool_kinds;
mod tasks;

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use executor_core::{
    CancelToken, Executor, Observer, ProcessPoolExecutor, SharedBytes, Shutdown, TaskEnd, TaskError, TaskId,
    TaskOptions, in_worker, is_user_code_forbidden, partial,
};
use pool_kinds::{Kind, on_every_kind_of_pool};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tasks::hold;

executor_core::test_worker!();

on_every_kind_of_pool!(
    an_observer_that_is_slow_holds_up_neither_limits_nor_submits,
    an_observer_may_end_its_pool,
    what_is_cancelled_leaves_nothing_in_the_queue,
    a_chunk_whose_configuration_cannot_be_decoded_is_lost_at_once,
    a_long_queue_ends_with_its_pool,
    serde_may_use_the_pool_that_it_is_called_for,
    destructors_that_panic_cost_no_submit,
    bytes_that_another_encoder_has_written_are_never_other_bytes,
);

const LONG: Duration = Duration::from_secs(60);

fn square(x: u64) -> u64 {
    x * x
}

/// Takes a while for each event.
struct Slow(Duration, Arc<AtomicUsize>);

impl Observer for Slow {
    fn task_ended(&self, _: TaskId, _: TaskEnd) {
        assert!(!is_user_code_forbidden());
        thread::sleep(self.0);
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

fn an_observer_that_is_slow_holds_up_neither_limits_nor_submits(kind: Kind) {
    let told = Arc::new(AtomicUsize::new(0));
    let observer = Slow(Duration::from_millis(5), Arc::clone(&told));
    let pool = kind.builder().max_workers(2).grace(Duration::ZERO).observer(observer).build().unwrap();
    let tasks = 200;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for x in 0..tasks / 2 {
                    assert_eq!(pool.submit(square, x).unwrap().result(), Ok(x * x));
                }
            });
        }
        // The thread that tells events has enough to do, and this one is stopped meanwhile.
        let limit = TaskOptions::new().timeout(Duration::from_millis(20));
        let late = pool.submit_with(hold, CancelToken::new(), limit).unwrap();
        let outcome = late.result();
        assert!(
            matches!(outcome, Err(TaskError::TimedOut { ran_for }) if ran_for < Duration::from_secs(30)),
            "{outcome:?}"
        );
    });
    // The end of the pool waits until all events are told.
    drop(pool);
    assert_eq!(told.load(Ordering::Relaxed), tasks as usize + 1);
}

/// Ends its pool at the first failure.
struct Strict(Arc<OnceLock<ProcessPoolExecutor>>, Mutex<mpsc::Sender<()>>);

impl Observer for Strict {
    fn task_ended(&self, _: TaskId, end: TaskEnd) {
        if end == TaskEnd::Failed {
            self.0.get().unwrap().kill_workers();
            let _ = self.1.lock().unwrap().send(());
        }
    }
}

fn an_observer_may_end_its_pool(kind: Kind) {
    let (sender, ended) = mpsc::channel();
    let place = Arc::new(OnceLock::new());
    let strict = Strict(Arc::clone(&place), Mutex::new(sender));
    let pool = place.get_or_init(|| kind.builder().max_workers(1).observer(strict).build().unwrap());
    let failed = pool.submit(|_: u64| -> u64 { panic!("this panic is part of the test") }, 1).unwrap();
    assert!(failed.wait_timeout(LONG));
    ended.recv_timeout(LONG).unwrap();
    assert!(pool.submit(square, 1).is_err());
}

fn what_is_cancelled_leaves_nothing_in_the_queue(kind: Kind) {
    fn memory() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
    let pool = kind.builder().max_workers(1).queue_capacity(10).build().unwrap();
    let token = CancelToken::new();
    let held = pool.submit(hold, token.clone()).unwrap();
    while !held.running() {
        thread::yield_now();
    }
    let cancel = |count| {
        for x in 0..count {
            let options = TaskOptions::new().queue_timeout(LONG).priority((x % 3) as i32);
            assert!(pool.submit_with(square, x, options).unwrap().cancel());
        }
    };
    cancel(10_000);
    let before = memory();
    cancel(150_000);
    // 37 MiB when each left something behind.
    assert!(memory() < before + (12 << 10), "{before} kB, and then {}", memory());
    token.cancel();
    held.result().unwrap();
    assert_eq!((pool.stats().queued, pool.submit(square, 3).unwrap().result()), (0, Ok(9)));
}

#[derive(Serialize)]
struct Undecodable;

impl<'de> Deserialize<'de> for Undecodable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("this error is part of the test"))
    }
}

fn a_chunk_whose_configuration_cannot_be_decoded_is_lost_at_once(kind: Kind) {
    fn add(x: u64, _: &Undecodable) -> u64 {
        x
    }
    let pool = kind.builder().max_workers(1).build().unwrap();
    let items = 300_000;
    // Minutes when each item was looked for among all.
    let errors = pool
        .map(partial(add, Undecodable), 0..items)
        .chunk_size(items as usize)
        .filter(|outcome| matches!(outcome, Err(TaskError::Decode { what, .. }) if what == "configuration"));
    assert_eq!(errors.count(), items as usize);
}

fn a_long_queue_ends_with_its_pool(kind: Kind) {
    for how in [Shutdown::CancelQueued, Shutdown::Kill] {
        let pool = kind.builder().max_workers(1).grace(Duration::ZERO).build().unwrap();
        let token = CancelToken::new();
        let held = pool.submit(hold, token.clone()).unwrap();
        while !held.running() {
            thread::yield_now();
        }
        let futures: Vec<_> = (0..20_000).map(|x| pool.submit(square, x).unwrap()).collect();
        if how == Shutdown::CancelQueued {
            token.cancel();
        }
        let report = pool.shutdown(how, Some(LONG));
        assert!(report.is_complete());
        let done = futures.into_iter().map(|future| future.result()).filter(Result::is_ok).count();
        assert_eq!(report.cancelled + done, 20_000);
    }
}

static POOL: Mutex<Option<Arc<ProcessPoolExecutor>>> = Mutex::new(None);

/// Runs a task in the pool wherever this process encodes, decodes or drops it.
#[derive(Debug)]
struct Uses(u64);

impl Uses {
    fn use_pool() {
        assert!(!is_user_code_forbidden());
        let pool = POOL.lock().unwrap().clone();
        if let Some(pool) = pool {
            assert_eq!(pool.submit(square, 5).unwrap().result(), Ok(25));
            pool.stats();
        }
    }
}

impl Serialize for Uses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::use_pool();
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Uses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::use_pool();
        u64::deserialize(deserializer).map(Self)
    }
}

impl Drop for Uses {
    fn drop(&mut self) {
        Self::use_pool();
    }
}

fn serde_may_use_the_pool_that_it_is_called_for(kind: Kind) {
    fn pass(uses: Uses, config: &Uses) -> Uses {
        Uses(uses.0 + config.0)
    }
    // One at a time: there is one place for a pool.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap();
    let pool = Arc::new(kind.builder().max_workers(2).build().unwrap());
    *POOL.lock().unwrap() = Some(Arc::clone(&pool));
    for x in 0..20 {
        let future = pool.submit(partial(pass, Uses(1)), Uses(x)).unwrap();
        if x % 3 == 0 {
            drop(future);
        } else if x % 3 == 1 {
            assert_eq!(future.result().unwrap().0, x + 1);
        } else {
            let _ = future.cancel();
        }
    }
    let sums: Vec<u64> = pool.map(partial(pass, Uses(1)), (0..20).map(Uses)).map(|uses| uses.unwrap().0).collect();
    assert_eq!(sums, (1..=20).collect::<Vec<_>>());
    *POOL.lock().unwrap() = None;
}

/// The destructors of arguments, items and configurations panic where these have been encoded.
fn destructors_that_panic_cost_no_submit(kind: Kind) {
    #[derive(Serialize, Deserialize)]
    struct Panics(u64);
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(in_worker(), "this panic is part of the test");
        }
    }
    fn add(x: Panics, y: &Panics) -> u64 {
        x.0 + y.0
    }
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.submit(partial(add, Panics(1)), Panics(2)).unwrap().result(), Ok(3));
    let same = |x: Panics| x.0;
    let numbers: Vec<_> = pool.map(same, (0..20).map(Panics)).chunk_size(4).collect();
    assert_eq!(numbers, (0..20).map(Ok).collect::<Vec<_>>());
}

/// What is behind a `Bytes` panics, takes its time, or uses the pool where it is dropped.
#[cfg(feature = "bytes")]
#[test]
fn owners_behind_bytes_cost_no_other_task() {
    struct Owner(Vec<u8>, u64, std::sync::Weak<ProcessPoolExecutor>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            assert!(!is_user_code_forbidden());
            match self.1 % 4 {
                0 => panic!("this panic is part of the test"),
                1 => thread::sleep(Duration::from_millis(30)),
                2 => {
                    if let Some(pool) = self.2.upgrade() {
                        pool.stats();
                        // It is not waited for: the one worker may be held.
                        drop(pool.submit(square, 5));
                    }
                }
                _ => {}
            }
        }
    }
    fn length(bytes: bytes::Bytes) -> usize {
        bytes.len()
    }
    for end in 0..4 {
        let pool = Arc::new(ProcessPoolExecutor::builder().max_workers(1).grace(Duration::ZERO).build().unwrap());
        let token = CancelToken::new();
        let held = pool.submit(hold, token.clone()).unwrap();
        let futures: Vec<_> = (0..60)
            .map(|number| {
                let bytes = bytes::Bytes::from_owner(Owner(vec![1; 1 << 20], number, Arc::downgrade(&pool)));
                let options = TaskOptions::new();
                let options = if number % 5 == 4 { options.queue_timeout(Duration::from_millis(5)) } else { options };
                pool.submit_with(length, bytes, options).unwrap()
            })
            .collect();
        for future in futures.iter().skip(3).step_by(7) {
            future.cancel();
        }
        match end {
            0 => token.cancel(),
            1 => _ = held.kill(),
            2 => _ = pool.shutdown(Shutdown::CancelQueued, Some(Duration::ZERO)),
            _ => _ = pool.kill_workers(),
        }
        token.cancel();
        for future in futures {
            let outcome = future.result();
            let is_expected = match &outcome {
                Ok(length) => *length == 1 << 20,
                Err(TaskError::Cancelled | TaskError::Expired { .. }) => true,
                Err(TaskError::ShutDown) => end > 1,
                Err(_) => false,
            };
            assert!(is_expected, "{outcome:?}");
        }
        if end < 2 {
            assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
        }
        assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    }
}

/// Bytes that find no shared memory are kept as they are, and dropped by the submit that is refused.
#[cfg(all(feature = "bytes", target_os = "linux"))]
#[test]
fn an_owner_behind_bytes_that_are_refused_costs_the_submit_nothing() {
    use executor_core::SubmitError;
    use std::panic::{self, AssertUnwindSafe};

    struct Owner(Vec<u8>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            assert!(!is_user_code_forbidden());
            panic!("this panic is part of the test");
        }
    }
    fn length(bytes: bytes::Bytes) -> usize {
        bytes.len()
    }
    fn fail(_: ()) -> Result<(), String> {
        Err("it is to fail".to_owned())
    }
    let owned = || bytes::Bytes::from_owner(Owner(vec![1; 1 << 20]));
    let full = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(40).grace(Duration::ZERO).build().unwrap();
    let token = CancelToken::new();
    let held = full.submit(hold, token.clone()).unwrap();
    while !held.running() {
        thread::yield_now();
    }
    // All the shared memory that there is for such arguments.
    let queued: Vec<_> = (0..40).map(|_| full.submit(length, bytes::Bytes::from(vec![1; 1 << 20])).unwrap()).collect();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        assert!(matches!(full.try_submit(length, owned()), Err(SubmitError::Full)));
        let broken = ProcessPoolExecutor::builder().max_workers(1).initializer(fail, ()).build().unwrap();
        assert!(broken.warm_up().is_err());
        let outcome = broken.submit(length, owned()).unwrap().result();
        assert!(matches!(outcome, Err(TaskError::InitializerFailed { .. })));
        full.shutdown(Shutdown::Drain, Some(Duration::ZERO));
        assert!(matches!(full.submit(length, owned()), Err(SubmitError::ShutDown)));
    }));
    token.cancel();
    assert!(outcome.is_ok(), "a submit has panicked");
    assert!(queued.into_iter().all(|future| future.result() == Ok(1 << 20)));
}

/// A value that is encoded once more, by whatever its author likes, and decoded when it is needed.
struct EncodedTwice(SharedBytes);

impl Serialize for EncodedTwice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&postcard::to_allocvec(&self.0).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for EncodedTwice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        KEPT.lock().unwrap().push(bytes.to_vec());
        postcard::from_bytes(bytes).map(Self).map_err(serde::de::Error::custom)
    }
}

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

const MIB: usize = 1 << 20;

fn filled(byte: u8) -> SharedBytes {
    SharedBytes::with_len(MIB, |bytes| bytes.fill(byte))
}

fn first_and_length(bytes: SharedBytes) -> (u8, usize) {
    (bytes[0], bytes.len())
}

/// The values that were read, where they can still be had.
fn decode_kept((): ()) -> Vec<Option<(u8, usize)>> {
    let kept = std::mem::take(&mut *KEPT.lock().unwrap());
    kept.into_iter().map(|bytes| postcard::from_bytes(&bytes).ok().map(first_and_length)).collect()
}

fn bytes_that_another_encoder_has_written_are_never_other_bytes(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    for round in 0..4 {
        let read = pool.submit(|EncodedTwice(bytes)| first_and_length(bytes), EncodedTwice(filled(1))).unwrap();
        assert_eq!(read.result(), Ok((1, MIB)));
        // The memory is used again.
        for byte in 2..5 {
            assert_eq!(pool.submit(first_and_length, filled(byte)).unwrap().result(), Ok((byte, MIB)));
        }
        for value in pool.submit(decode_kept, ()).unwrap().result().unwrap() {
            assert!(matches!(value, None | Some((1, MIB))), "{value:?} in round {round}");
        }
    }
}
