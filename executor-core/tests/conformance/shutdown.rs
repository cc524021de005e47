//! test_shutdown.py: its tests of every executor.

use std::time::Duration;

use executor_core::{Executor, Shutdown, SubmitError, TaskError};

use crate::{
    gate::{Gate, pass},
    kinds::{Kind, LONG},
    programs::Program,
    tasks::square,
};

pub(crate) fn test_run_after_shutdown(kind: impl Kind) {
    let pool = kind.pool(2);
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(pool.submit(square, 2).err(), Some(SubmitError::ShutDown));
    assert_eq!(pool.try_submit(square, 2).err(), Some(SubmitError::ShutDown));
}

/// A program whose task ends after its `main`, and is waited for all the same.
fn task_outlives_main(name: &str, kind: impl Kind) {
    let gate = Gate::new();
    let mut program = Program::start(name, kind, Some(&gate), &[]);
    gate.wait_for(1);
    program.wait_for_the_end_of_main();
    gate.open();
    assert_eq!(program.finish(), (true, "apple\n".to_owned()));
}

pub(crate) fn test_interpreter_shutdown(kind: impl Kind) {
    task_outlives_main("drops", kind);
}

pub(crate) fn test_hang_issue12364(kind: impl Kind) {
    let pool = kind.pool(5);
    let futures: Vec<_> = (0..50).map(|x| pool.submit(square, x).unwrap()).collect();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    for (x, future) in (0..).zip(futures) {
        assert!(future.done());
        assert_eq!(future.result(), Ok(x * x));
    }
}

pub(crate) fn test_cancel_futures(kind: impl Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let futures: Vec<_> = (0..50).map(|_| pool.submit(pass, gate.key()).unwrap()).collect();
    gate.wait_for(2);
    let report = pool.shutdown(Shutdown::CancelQueued, Some(Duration::ZERO));
    assert_eq!((report.cancelled, report.running), (48, 2));
    assert_eq!(futures.iter().filter(|future| future.cancelled()).count(), 48);
    gate.open();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    let (ran, cancelled): (Vec<_>, Vec<_>) = futures.into_iter().map(|future| future.result()).partition(Result::is_ok);
    assert!(cancelled.into_iter().all(|result| result == Err(TaskError::Cancelled)));
    assert_eq!((ran.len(), gate.visitors().len()), (2, 2));
}

pub(crate) fn test_hang_gh83386(kind: impl Kind) {
    task_outlives_main("does_not_wait", kind);
}

pub(crate) fn test_hang_gh94440(kind: impl Kind) {
    let pool = kind.pool(1);
    assert_eq!(pool.submit(square, 2).unwrap().result(), Ok(4));
    let future = pool.submit(square, 3).unwrap();
    let cancelled = future.cancel();
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    assert_eq!(future.result(), if cancelled { Err(TaskError::Cancelled) } else { Ok(9) });
}
