//! test_init.py: initializers, which run in a worker before its first task.

use std::{cell::RefCell, collections::HashSet};

use executor_core::{Executor, TaskError};

use crate::{
    gate::{Gate, Key, pass},
    kinds::{Initialized, LONG, Processes},
    programs::Program,
    tasks::{Identity, square},
};

thread_local! {
    static INITIALIZED_WITH: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn initialize(with: String) {
    INITIALIZED_WITH.set(Some(with));
}

fn initialized_with(gate: Key) -> (Identity, Option<String>) {
    (pass(gate), INITIALIZED_WITH.with_borrow(Clone::clone))
}

/// Of `InitializerMixin`.
pub(crate) mod good {
    use super::*;

    pub(crate) fn test_initializer(kind: impl Initialized) {
        let pool = kind.pool_with(3, initialize, "initialized".to_owned());
        let gate = Gate::new();
        let futures: Vec<_> = (0..3).map(|_| pool.submit(initialized_with, gate.key()).unwrap()).collect();
        gate.wait_for(3);
        gate.open();
        let answers: Vec<_> = futures.into_iter().map(|future| future.result().unwrap()).collect();
        assert!(answers.iter().all(|(_, with)| with.as_deref() == Some("initialized")), "{answers:?}");
        assert_eq!(answers.into_iter().map(|(worker, _)| worker).collect::<HashSet<_>>().len(), 3, "in every worker");
    }
}

/// Of `FailingInitializerMixin`.
pub(crate) mod failing {
    use super::*;

    pub(crate) fn test_initializer(kind: impl Initialized) {
        let gate = Gate::new();
        let fail = |gate: Key| -> Result<(), String> {
            pass(gate);
            Err("no disk".to_owned())
        };
        let pool = kind.pool_with(1, fail, gate.key());
        let mut futures: Vec<_> = (0..3).map(|x| pool.submit(square, x).unwrap()).collect();
        gate.wait_for(1);
        assert!(futures.iter().all(|future| !future.done()), "they are pending");
        gate.open();
        assert!(futures[0].wait_timeout(LONG));
        futures.push(pool.submit(square, 4).unwrap());
        for future in futures {
            match future.result_timeout(LONG).unwrap() {
                Err(TaskError::InitializerFailed { cause }) => assert_eq!(cause.to_string(), "no disk"),
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(crate) fn test_spawn(kind: Processes) {
    nothing_is_left("failing_initializers_spawned", kind);
}

pub(crate) fn test_forkserver(kind: Processes) {
    nothing_is_left("failing_initializers_forked", kind);
}

fn nothing_is_left(program: &str, kind: Processes) {
    let (success, output) = Program::start(program, kind, None, &[]).finish();
    assert!(success);
    assert_eq!(output, "nothing is left\n");
}
