//! test_wait.py.

use std::time::Duration;

use executor_core::{Executor, ReturnWhen, TaskId, Waitable, Waited, wait};

use crate::{
    gate::{Gate, pass},
    kinds::{Kind, LONG, Threads},
    states::States,
    tasks::{picky, square},
};

fn ids<C: Waitable>(waited: &Waited<C>) -> (Vec<TaskId>, Vec<TaskId>) {
    let ids = |futures: &[C]| futures.iter().map(Waitable::task_id).collect();
    (ids(&waited.done), ids(&waited.not_done))
}

/// Waits, and looks which futures are done and which are not; in the order of the input, because it is kept.
fn expect(
    futures: &[&dyn Waitable],
    timeout: Option<Duration>,
    when: ReturnWhen,
    done: &[&dyn Waitable],
    not_done: &[&dyn Waitable],
) {
    let expected = [done, not_done].map(|part| part.iter().map(Waitable::task_id).collect::<Vec<_>>());
    assert_eq!(ids(&wait(futures.iter().copied(), timeout, when)), expected.into());
}

pub(crate) fn test_20369(kind: impl Kind) {
    let pool = kind.pool(1);
    let future = pool.submit(square, 2).unwrap();
    expect(&[&future, &future], Some(LONG), ReturnWhen::AllCompleted, &[&future], &[]);
}

pub(crate) fn test_first_completed(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let States { cancelled, .. } = States::new();
    let held = pool.submit(pass, gate.key()).unwrap();
    let quick = pool.submit(square, 21).unwrap();
    expect(&[&held, &quick], Some(LONG), ReturnWhen::FirstCompleted, &[&quick], &[&held]);
    // CPython goes on waiting here.
    expect(&[&cancelled, &held], Some(LONG), ReturnWhen::FirstCompleted, &[&cancelled], &[&held]);
}

pub(crate) fn test_first_completed_some_already_completed(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let States { cancelled, finished, .. } = States::new();
    let held = pool.submit(pass, gate.key()).unwrap();
    let all: [&dyn Waitable; 3] = [&cancelled, &finished, &held];
    expect(&all, Some(LONG), ReturnWhen::FirstCompleted, &[&cancelled, &finished], &[&held]);
}

pub(crate) fn test_first_exception(kind: impl Kind) {
    let pool = kind.pool(3);
    let (early, late) = (Gate::new(), Gate::new());
    let good = pool.submit(square, 21).unwrap();
    assert!(good.wait_timeout(LONG));
    let bad = pool.submit(|gate: String| assert!(pass(gate).0 == 0, "this panic is part of the test"), early.key());
    let (bad, held) = (bad.unwrap(), pool.submit(pass, late.key()).unwrap());
    early.wait_for(1);
    // While a thread waits, a success is no reason to return; the error is.
    early.open();
    expect(&[&good, &bad, &held], Some(LONG), ReturnWhen::FirstError, &[&good, &bad], &[&held]);
}

pub(crate) fn test_first_exception_some_already_complete(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let States { cancelled, finished, .. } = States::new();
    let held = pool.submit(pass, gate.key()).unwrap();
    let all: [&dyn Waitable; 3] = [&cancelled, &finished, &held];
    // Neither a cancelled future nor a finished one ends the wait; both are done.
    expect(&all, Some(Duration::from_millis(100)), ReturnWhen::FirstError, &[&cancelled, &finished], &[&held]);
    let bad = pool.submit(picky, 3).unwrap();
    let all: [&dyn Waitable; 3] = [&cancelled, &bad, &held];
    expect(&all, Some(LONG), ReturnWhen::FirstError, &[&cancelled, &bad], &[&held]);
}

pub(crate) fn test_first_exception_one_already_failed(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let States { failed, .. } = States::new();
    let held = pool.submit(pass, gate.key()).unwrap();
    expect(&[&held, &failed], Some(LONG), ReturnWhen::FirstError, &[&failed], &[&held]);
}

pub(crate) fn test_all_completed(kind: impl Kind) {
    let pool = kind.pool(2);
    let States { cancelled, failed, finished, .. } = States::new();
    let (good, bad) = (pool.submit(square, 2).unwrap(), pool.submit(picky, 3).unwrap());
    let all: [&dyn Waitable; 5] = [&cancelled, &failed, &finished, &good, &bad];
    expect(&all, Some(LONG), ReturnWhen::AllCompleted, &all, &[]);
}

pub(crate) fn test_timeout(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let held = pool.submit(pass, gate.key()).unwrap();
    let good = pool.submit(square, 2).unwrap();
    assert!(good.wait_timeout(LONG));
    for timeout in [Duration::ZERO, Duration::from_millis(100)] {
        expect(&[&held, &good], Some(timeout), ReturnWhen::AllCompleted, &[&good], &[&held]);
    }
}

pub(crate) fn test_pending_calls_race(kind: Threads) {
    let pool = kind.pool(100);
    let gate = Gate::new();
    let futures: Vec<_> = (0..100).map(|_| pool.submit(pass, gate.key()).unwrap()).collect();
    gate.wait_for(100);
    gate.open();
    let waited = wait(futures, Some(LONG), ReturnWhen::AllCompleted);
    assert_eq!((waited.done.len(), waited.not_done.len()), (100, 0));
}
