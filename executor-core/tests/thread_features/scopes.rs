//! Scopes: tasks that borrow.

use std::sync::{
    Arc, Barrier,
    atomic::{AtomicUsize, Ordering},
};

use executor_core::{Scope, TaskError, ThreadPoolExecutor, TryMapError};

use crate::{LONG, hold};

#[test]
fn tasks_of_a_scope_borrow_and_are_all_done_at_its_end() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let mut parts = vec![vec![3, 1, 2]; 20];
    let sorted = AtomicUsize::new(0);
    let answer = pool
        .scope(|scope| {
            for part in &mut parts {
                scope
                    .spawn(|| {
                        part.sort_unstable();
                        scope.spawn(|| _ = sorted.fetch_add(1, Ordering::Relaxed)).unwrap();
                    })
                    .unwrap();
            }
            7
        })
        .unwrap();
    assert_eq!((answer, sorted.into_inner()), (7, 20));
    assert!(parts.iter().all(|part| *part == [1, 2, 3]));
}

#[test]
fn a_scope_inside_a_task_of_one_worker_ends() {
    let pool = Arc::new(ThreadPoolExecutor::new(1).unwrap());
    let inner = Arc::clone(&pool);
    let future = pool.spawn(move || {
        let sum = AtomicUsize::new(0);
        let sum_in = &sum;
        inner
            .scope(|scope| {
                for number in 0..10 {
                    scope.spawn(move || _ = sum_in.fetch_add(number, Ordering::Relaxed)).unwrap();
                }
            })
            .unwrap();
        sum.into_inner()
    });
    assert_eq!(future.unwrap().result_timeout(LONG).unwrap(), Ok(45));
}

#[test]
fn an_error_in_a_scope_cancels_the_siblings_that_have_not_started() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let ran = AtomicUsize::new(0);
    let (gate, held) = hold(&pool);
    let outcome = pool.try_scope(|scope| {
        scope.try_spawn(|| Err("no")).unwrap();
        for _ in 0..5 {
            scope
                .try_spawn(|| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
                .unwrap();
        }
        gate.wait();
    });
    assert_eq!(outcome, Err(TryMapError::Output("no")));
    assert_eq!(ran.into_inner(), 0);
    held.result().unwrap();
    let outcome = pool.scope(|scope| scope.spawn(|| panic!("this panic is part of the test")).unwrap());
    assert!(matches!(outcome, Err(TaskError::Panicked { .. })), "{outcome:?}");
}

#[test]
fn what_a_cancelled_task_of_a_scope_borrows_is_released_before_the_scope_ends() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    for _ in 0..200 {
        let (gate, held) = hold(&pool);
        let mut text = "borrowed".to_owned();
        let outcome = pool.try_scope(|scope| {
            let text = &mut text;
            scope.try_spawn(|| Err(())).unwrap();
            scope
                .try_spawn(move || {
                    text.clear();
                    Ok(())
                })
                .unwrap();
            gate.wait();
        });
        assert_eq!(outcome, Err(TryMapError::Output(())));
        assert_eq!(text, "borrowed");
        held.result().unwrap();
    }
}

/// Calls its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn what_a_cancelled_task_of_a_scope_has_captured_may_spawn_there() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let gate = Barrier::new(2);
    let dropped = AtomicUsize::new(0);
    let outcome = pool.try_scope(|scope: &Scope<'_, '_, u8>| {
        scope
            .try_spawn(|| {
                gate.wait();
                Err(1)
            })
            .unwrap();
        let captured = OnDrop(|| {
            dropped.fetch_add(1, Ordering::SeqCst);
            scope.spawn(|| ()).unwrap();
        });
        scope.spawn(move || drop(captured)).unwrap();
        gate.wait();
        // By the task that has failed: the other one is not waited for meanwhile.
        while !scope.cancel_token().is_cancelled() {
            std::thread::yield_now();
        }
    });
    assert_eq!(outcome, Err(TryMapError::Output(1)));
    assert_eq!(dropped.into_inner(), 1);
}
