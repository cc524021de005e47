//! The process pool's everyday promises.

mod pool_kinds;

use executor_core::{Executor, TaskError, as_completed};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(results_come_back, a_panic_comes_back_with_message_place_and_backtrace,);

fn square(x: u64) -> u64 {
    x * x
}

fn results_come_back(kind: Kind) {
    let pool = kind.builder().max_workers(2).build().unwrap();
    assert_eq!(pool.submit(square, 12).unwrap().result(), Ok(144));
    let futures: Vec<_> = (0..100).map(|x| pool.submit(square, x).unwrap()).collect();
    let mut sum = 0;
    for done in as_completed(futures, None) {
        sum += done.unwrap().result().unwrap();
    }
    assert_eq!(sum, (0..100).map(|x| x * x).sum());
    let mapped = pool.map(square, 0..10_000).into_vec().unwrap();
    assert_eq!(mapped, (0..10_000).map(square).collect::<Vec<_>>());
}

fn a_panic_comes_back_with_message_place_and_backtrace(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let error = pool.submit(|x: u64| -> u64 { panic!("no {x}") }, 7).unwrap().result().unwrap_err();
    let TaskError::Panicked { message, location, backtrace } = error else { panic!("{error:?}") };
    assert_eq!(message, "no 7");
    assert!(location.contains("process_basics.rs"), "{location}");
    assert!(!backtrace.is_empty());
}
