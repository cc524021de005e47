//! What the observer of a process pool is told, and when.
#![cfg(unix)]

mod pool_kinds;
mod tasks;

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use executor_core::{
    CancelToken, Executor, Observer, ProcessPoolExecutor, Shutdown, TaskEnd, TaskError, TaskFuture, TaskId, TaskOptions,
};
use pool_kinds::{Kind, on_every_kind_of_pool};
use tasks::{Unencodable, hold};

executor_core::test_worker!();

on_every_kind_of_pool!(
    an_observer_hears_how_every_task_ends,
    the_start_of_a_task_is_told_while_it_runs,
    an_observer_may_ask_the_pool_and_its_panics_harm_nothing,
    what_ends_with_its_worker_had_started,
    a_pool_that_has_ended_lets_everything_go,
);

const LONG: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Queued(TaskId),
    Started(TaskId),
    Ended(TaskId, TaskEnd),
    WorkerStarted,
    WorkerEnded,
}

struct Teller(Mutex<Sender<Told>>);

impl Teller {
    fn tell(&self, told: Told) {
        // The receiver is gone when the test is over.
        let _ = self.0.lock().unwrap().send(told);
    }
}

impl Observer for Teller {
    fn task_queued(&self, task: TaskId) {
        self.tell(Told::Queued(task));
    }

    fn task_started(&self, task: TaskId) {
        self.tell(Told::Started(task));
    }

    fn task_ended(&self, task: TaskId, end: TaskEnd) {
        self.tell(Told::Ended(task, end));
    }

    fn worker_started(&self) {
        self.tell(Told::WorkerStarted);
    }

    fn worker_ended(&self) {
        self.tell(Told::WorkerEnded);
    }
}

fn observed(kind: Kind) -> (ProcessPoolExecutor, Receiver<Told>) {
    let (sender, receiver) = mpsc::channel();
    let builder = kind.builder().max_workers(1).grace(Duration::from_millis(200));
    (builder.observer(Teller(Mutex::new(sender))).build().unwrap(), receiver)
}

/// What is told until `last`, which is included.
fn until(receiver: &Receiver<Told>, last: &Told) -> Vec<Told> {
    let mut told = Vec::new();
    while told.last() != Some(last) {
        told.push(receiver.recv_timeout(LONG).unwrap_or_else(|_| panic!("{last:?} comes: {told:?}")));
    }
    told
}

/// What was told of this task.
fn of(task: TaskId, told: &[Told]) -> Vec<&Told> {
    told.iter()
        .filter(|told| match told {
            Told::Queued(id) | Told::Started(id) | Told::Ended(id, _) => *id == task,
            Told::WorkerStarted | Told::WorkerEnded => false,
        })
        .collect()
}

fn square(x: u64) -> u64 {
    x * x
}

fn an_observer_hears_how_every_task_ends(kind: Kind) {
    let (pool, receiver) = observed(kind);
    let token = CancelToken::new();
    let held = pool.submit(hold, token.clone()).unwrap();
    let mut told = until(&receiver, &Told::Started(held.id()));
    let cancelled = pool.submit(square, 1).unwrap();
    assert!(cancelled.cancel());
    let expired = pool.submit_with(square, 1, TaskOptions::new().queue_timeout(Duration::from_millis(1))).unwrap();
    let unencodable = pool.submit(|_: Unencodable| (), Unencodable).unwrap();
    assert!(expired.wait_timeout(LONG));
    token.cancel();
    let failed = pool.submit(|_: u64| -> u64 { panic!("this panic is part of the test") }, 1).unwrap();
    let chunk = pool.map(square, 0..4).chunk_size(4).start();
    assert_eq!(chunk.filter(Result::is_ok).count(), 4);
    let last = pool.submit(square, 3).unwrap();
    assert!(last.wait_timeout(LONG));
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    told.extend(until(&receiver, &Told::WorkerEnded));
    assert_eq!(told.iter().filter(|told| matches!(told, Told::WorkerStarted)).count(), 1);
    let ids: [TaskId; 6] = [held.id(), cancelled.id(), expired.id(), unencodable.id(), failed.id(), last.id()];
    let ends = [
        (true, TaskEnd::Done),
        (false, TaskEnd::Cancelled),
        (false, TaskEnd::Expired),
        (false, TaskEnd::Failed),
        (true, TaskEnd::Failed),
        (true, TaskEnd::Done),
    ];
    for (id, (started, end)) in ids.into_iter().zip(ends) {
        let all = [Told::Queued(id), Told::Started(id), Told::Ended(id, end)];
        let expected: Vec<_> = all.iter().filter(|told| started || !matches!(told, Told::Started(_))).collect();
        assert_eq!(of(id, &told), expected);
    }
    let stats = pool.stats();
    let count = |is: fn(&&Told) -> bool| told.iter().filter(is).count() as u64;
    assert_eq!(count(|told| matches!(told, Told::Queued(_))), stats.submitted());
    assert_eq!(count(|told| matches!(told, Told::Ended(..))), stats.submitted());
    assert_eq!(count(|told| matches!(told, Told::Ended(_, TaskEnd::Done))), stats.done);
}

fn the_start_of_a_task_is_told_while_it_runs(kind: Kind) {
    let (pool, receiver) = observed(kind);
    for _ in 0..3 {
        // The next one is behind it, or in the queue.
        let tokens = [CancelToken::new(), CancelToken::new()];
        let held: Vec<TaskFuture<()>> = tokens.iter().map(|token| pool.submit(hold, token.clone()).unwrap()).collect();
        for (token, future) in tokens.iter().zip(&held) {
            until(&receiver, &Told::Started(future.id()));
            assert!(!future.done());
            token.cancel();
        }
        let last = &held[1];
        until(&receiver, &Told::Ended(last.id(), TaskEnd::Done));
    }
}

/// Asks its pool, and then panics.
struct Curious(Arc<OnceLock<ProcessPoolExecutor>>, Mutex<Sender<u64>>);

impl Observer for Curious {
    fn task_ended(&self, _: TaskId, _: TaskEnd) {
        let stats = self.0.get().unwrap().stats();
        let _ = self.1.lock().unwrap().send(stats.submitted());
        panic!("this panic is part of the test");
    }
}

fn an_observer_may_ask_the_pool_and_its_panics_harm_nothing(kind: Kind) {
    let (sender, receiver) = mpsc::channel();
    let place = Arc::new(OnceLock::new());
    let curious = Curious(Arc::clone(&place), Mutex::new(sender));
    let pool = place.get_or_init(|| kind.builder().max_workers(2).observer(curious).build().unwrap());
    let futures = pool.submit_many(square, 0..20).unwrap();
    for (x, future) in (0..).zip(futures) {
        assert_eq!(future.result(), Ok(x * x));
    }
    let heard: Vec<u64> = (0..20).map(|_| receiver.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(heard.last(), Some(&20));
    // The observer keeps the pool alive.
    pool.shutdown(Shutdown::Drain, Some(LONG));
}

fn what_ends_with_its_worker_had_started(kind: Kind) {
    let (pool, receiver) = observed(kind);
    let dead = pool.submit(|_: u64| -> u64 { std::process::abort() }, 1).unwrap();
    let dead_id = dead.id();
    assert!(matches!(dead.result(), Err(TaskError::WorkerDied { .. })));
    let killed = pool.submit(hold, CancelToken::new()).unwrap();
    let mut told = until(&receiver, &Told::Started(killed.id()));
    assert!(killed.kill() && killed.wait_timeout(LONG));
    told.extend(until(&receiver, &Told::Ended(killed.id(), TaskEnd::Cancelled)));
    assert_eq!(
        of(dead_id, &told),
        [&Told::Queued(dead_id), &Told::Started(dead_id), &Told::Ended(dead_id, TaskEnd::Failed)]
    );
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    // All that there were have ended.
    drop(pool);
    told.extend(receiver.try_iter());
    let count = |wanted| told.iter().filter(|told| **told == wanted).count();
    // A third one may have taken the place of the second.
    assert_eq!(count(Told::WorkerStarted), count(Told::WorkerEnded));
    assert!(count(Told::WorkerStarted) >= 2);
}

/// Says when it is dropped, with the pool that owns it.
struct Last(Mutex<Sender<()>>);

impl Observer for Last {}

impl Drop for Last {
    fn drop(&mut self) {
        let _ = self.0.lock().unwrap().send(());
    }
}

fn a_pool_that_has_ended_lets_everything_go(kind: Kind) {
    for with_worker in [true, false] {
        let (sender, dropped) = mpsc::channel();
        let pool = kind.builder().max_workers(1).observer(Last(Mutex::new(sender))).build().unwrap();
        if with_worker {
            // Long done when its time to wait is over.
            let patient = pool.submit_with(square, 3, TaskOptions::new().queue_timeout(LONG)).unwrap();
            assert_eq!(patient.result(), Ok(9));
        } else {
            // There is no worker yet that would find its entry.
            let cancelled = pool.submit(square, 3).unwrap();
            assert!(cancelled.cancel());
        }
        drop(pool);
        assert!(dropped.recv_timeout(LONG).is_ok(), "a task that is done keeps the pool alive");
    }
}
