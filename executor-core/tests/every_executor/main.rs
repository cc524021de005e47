//! The promises of the portable API, each kept by every executor.

/// One `#[test]` per executor for each scenario.
macro_rules! on_every_executor {
    ($($scenario:ident),* $(,)?) => {
        mod serial {
            $(#[test] fn $scenario() { super::$scenario(executor_core::SerialExecutor::new()); })*
        }
        mod thread {
            $(#[test] fn $scenario() { super::$scenario(executor_core::ThreadPoolExecutor::new(2).unwrap()); })*
        }
        mod rayon {
            $(#[test] fn $scenario() {
                super::$scenario(executor_core::RayonExecutor::builder().max_workers(2).build().unwrap());
            })*
        }
        mod process {
            use super::*;

            crate::pool_kinds::on_every_kind_of_pool!(from crate::two_processes; $($scenario),*);
        }
    };
}

mod ends;
mod futures;
mod maps;
#[path = "../pool_kinds/mod.rs"]
mod pool_kinds;
mod waits;

use std::time::Duration;

use executor_core::ProcessPoolExecutor;

use pool_kinds::Kind;

executor_core::test_worker!();

const LONG: Duration = Duration::from_secs(60);

fn square(x: u64) -> u64 {
    x * x
}

fn picky(x: u64) -> u64 {
    assert!(x != 3, "not three");
    x
}

fn two_processes(kind: Kind) -> ProcessPoolExecutor {
    kind.builder().max_workers(2).build().unwrap()
}
