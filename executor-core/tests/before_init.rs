//! Values that a program makes before it calls `init()` are made in each of its workers as well.
#![cfg(target_os = "linux")]

mod pool_kinds;

use std::sync::{Mutex, OnceLock};

use executor_core::{Executor, SharedBytes};
use pool_kinds::{Kind, on_every_kind_of_pool};

on_every_kind_of_pool!(bytes_from_before_init_are_a_result_like_any_other);

static PIECE: OnceLock<SharedBytes> = OnceLock::new();
static KEPT: Mutex<Vec<SharedBytes>> = Mutex::new(Vec::new());

/// Where worker processes of this test binary live.
#[test]
fn executor_core_worker() {
    executor_core::register_test_worker(module_path!());
    PIECE.set(filled(77)).unwrap();
    executor_core::init();
}

fn filled(byte: u8) -> SharedBytes {
    SharedBytes::with_len(100_000, |bytes| bytes.fill(byte))
}

/// Keeps what it is given, so that the worker may return it, and returns something else.
fn exchange(bytes: SharedBytes) -> (u8, SharedBytes) {
    let first = bytes[0];
    KEPT.lock().unwrap().push(bytes);
    (first, PIECE.get().unwrap().clone())
}

fn bytes_from_before_init_are_a_result_like_any_other(kind: Kind) {
    executor_core::register_test_worker(module_path!());
    let pool = kind.builder().max_workers(1).build().unwrap();
    for byte in 0..5 {
        let (first, piece) = pool.submit(exchange, filled(byte)).unwrap().result().unwrap();
        assert_eq!((first, piece), (byte, filled(77)));
    }
    assert_eq!(pool.stats().died, 0);
}
