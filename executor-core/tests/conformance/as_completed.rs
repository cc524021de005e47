//! test_as_completed.py.

use std::{collections::HashSet, time::Duration};

use executor_core::{Executor, Promise, WaitTimeout, Waitable, as_completed};

use crate::{
    gate::{Gate, pass},
    kinds::{Kind, LONG},
    states::States,
    tasks::square,
    tracked::{self, Tracked},
};

pub(crate) fn test_no_timeout(kind: impl Kind) {
    let pool = kind.pool(2);
    let States { cancelled, failed, finished, .. } = &States::new();
    let (first, second) = (pool.submit(square, 2).unwrap(), pool.submit(square, 7).unwrap());
    let all = [cancelled, failed, finished, &first, &second];
    let expected: HashSet<_> = all.iter().map(|future| future.id()).collect();
    let seen: Vec<_> = as_completed(all, Some(LONG)).map(|done| done.unwrap().id()).collect();
    assert_eq!((seen.len(), HashSet::from_iter(seen)), (5, expected));
}

pub(crate) fn test_future_times_out(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let done = pool.submit(square, 3).unwrap();
    assert!(done.wait_timeout(LONG));
    let held = pool.submit(pass, gate.key()).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(100)] {
        let all: [&dyn Waitable; 2] = [&held, &done];
        let mut set = as_completed(all, Some(timeout));
        assert_eq!(set.next().unwrap().unwrap().task_id(), done.id());
        assert_eq!(set.next().unwrap().err(), Some(WaitTimeout { unfinished: 1, total: 2 }));
        assert!(set.next().is_none());
        assert_eq!(set.into_pending()[0].task_id(), held.id());
    }
}

pub(crate) fn test_duplicate_futures(kind: impl Kind) {
    let pool = kind.pool(1);
    let future = pool.submit(square, 2).unwrap();
    assert_eq!(as_completed([&future; 3], Some(LONG)).count(), 1);
    let lazy = std::iter::repeat_with(|| &future).take(3);
    let seen: Vec<_> = as_completed(lazy, Some(LONG)).map(|done| done.unwrap().id()).collect();
    assert_eq!(seen, [future.id()]);
}

pub(crate) fn test_free_reference_yielded_future() {
    let (keys, futures): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| {
            let (key, (promise, future)) = (tracked::new_key(), Promise::new());
            promise.set_result(Tracked::new(key)).unwrap();
            (key, future)
        })
        .unzip();
    let mut set = as_completed(futures, Some(LONG));
    for key in keys {
        let future = set.next().unwrap().unwrap();
        assert_eq!(tracked::alive(key), 1);
        drop(future);
        assert_eq!(tracked::alive(key), 0, "the iterator kept what it had yielded");
    }
}

pub(crate) fn test_correct_timeout_exception_msg() {
    let states = States::new();
    let all = [&states.pending, &states.running, &states.cancelled, &states.finished];
    let error = as_completed(all, Some(Duration::ZERO)).find_map(Result::err).unwrap();
    assert_eq!(error.to_string(), "2 of 4 futures were not done in time");
}
