//! Needs `Debug` of a future to tell what it holds, and `TaskFuture::state`.

use std::sync::Barrier;

use executor_core::{Promise, TaskFuture, TaskState};

use crate::states::{States, VALUE};

pub(crate) fn test_repr() {
    let shown = States::new().all().map(|future| format!("{future:?}"));
    for (shown, state) in shown.iter().zip(["Pending", "Running", "Cancelled", "Failed", "Finished"]) {
        assert!(shown.contains(state), "{shown}");
    }
    assert!(shown[3].contains("MemoryLimit"), "the kind of error: {}", shown[3]);
    assert!(shown[4].contains("u64"), "the type of the result: {}", shown[4]);
}

pub(crate) fn test_get_snapshot() {
    let seen = States::new().all().map(TaskFuture::state);
    use TaskState::{Cancelled, Failed, Finished, Pending, Running};
    assert_eq!(seen, [Pending, Running, Cancelled, Failed, Finished]);

    let (promise, future) = Promise::new();
    let start = Barrier::new(5);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                let snapshots: Vec<_> = (0..1000).map(|_| future.state()).collect();
                assert!(snapshots.is_sorted_by_key(|state| *state == Finished), "a final state was left again");
                assert!(snapshots.iter().all(|state| [Pending, Finished].contains(state)));
            });
        }
        start.wait();
        promise.set_result(VALUE).unwrap();
    });
    assert_eq!((future.state(), future.result()), (Finished, Ok(VALUE)));
}
