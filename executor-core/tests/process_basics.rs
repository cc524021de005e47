//! The process pool's everyday promises.
use executor_core::{Executor, ProcessPoolExecutor, StartMethod, TaskError, as_completed};

executor_core::test_worker!();

/// One `#[test]` per start method for each scenario.
macro_rules! on_every_start_method {
    ($($scenario:ident),* $(,)?) => {
        mod spawn {
            $(#[test] fn $scenario() { super::$scenario(super::StartMethod::Spawn); })*
        }
        #[cfg(target_os = "linux")]
        mod fork_server {
            $(#[test] fn $scenario() { super::$scenario(super::StartMethod::ForkServer); })*
        }
    };
}

on_every_start_method!(results_come_back, a_panic_comes_back_with_message_place_and_backtrace,);

fn square(x: u64) -> u64 {
    x * x
}

fn results_come_back(method: StartMethod) {
    let pool = ProcessPoolExecutor::builder().start_method(method).max_workers(2).build().unwrap();
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

fn a_panic_comes_back_with_message_place_and_backtrace(method: StartMethod) {
    let pool = ProcessPoolExecutor::builder().start_method(method).max_workers(1).build().unwrap();
    let error = pool.submit(|x: u64| -> u64 { panic!("no {x}") }, 7).unwrap().result().unwrap_err();
    let TaskError::Panicked { message, location, backtrace } = error else { panic!("{error:?}") };
    assert_eq!(message, "no 7");
    assert!(location.contains("process_basics.rs"), "{location}");
    assert!(!backtrace.is_empty());
}
