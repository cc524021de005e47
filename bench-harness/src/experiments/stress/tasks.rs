//! The tasks of the drivers. Each is a function of its argument, so that every answer can be checked.

use std::{
    thread,
    time::{Duration, Instant},
};

use executor_core::CancelToken;
use serde::{Deserialize, Serialize};

/// The answer to `x`, wherever it is computed (the finalizer of splitmix64).
pub(super) fn answer(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(super) fn quick(x: u64) -> u64 {
    answer(x)
}

/// Up to 200 µs of computation.
pub(super) fn busy(x: u64) -> u64 {
    let end = Instant::now() + Duration::from_micros(x % 200);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    answer(x)
}

/// Up to 8 ms of waiting: the length of the task is the scenario.
pub(super) fn nap(x: u64) -> u64 {
    thread::sleep(Duration::from_millis(x % 8));
    answer(x)
}

/// Longer than any time limit that the drivers set.
pub(super) fn long(x: u64) -> u64 {
    thread::sleep(Duration::from_millis(60 + x % 60));
    answer(x)
}

pub(super) fn panics(x: u64) -> u64 {
    panic!("{}", panic_message(x));
}

pub(super) fn panic_message(x: u64) -> String {
    format!("stress {x}")
}

/// Panics for one item in sixteen.
pub(super) fn panics_at_times(x: u64) -> u64 {
    if x.is_multiple_of(16) { panics(x) } else { answer(x) }
}

pub(super) fn odd_is_an_error(x: u64) -> Result<u64, u64> {
    if x.is_multiple_of(2) { Ok(answer(x)) } else { Err(x) }
}

/// Ends a worker process by SIGABRT.
pub(super) fn aborts(_: u64) -> u64 {
    std::process::abort()
}

/// Ends a worker process by a regular exit.
pub(super) fn exits(x: u64) -> u64 {
    std::process::exit((x % 4) as i32)
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) offset: u64,
    /// Padding, so that it is not always small.
    pub(super) padding: Vec<u8>,
}

pub(super) fn configured(x: u64, config: &Config) -> u64 {
    answer(x.wrapping_add(config.offset).wrapping_add(config.padding.len() as u64))
}

/// A large argument and a large result: each byte is inverted.
pub(super) fn invert(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    bytes
}

/// Two arguments, one of which is a token that the driver cancels. It gives up after a time that only a lost flag can reach.
pub(super) fn until_cancelled(token: CancelToken, x: u64) -> Option<u64> {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if token.is_cancelled() {
            return Some(answer(x));
        }
        thread::sleep(Duration::from_micros(200));
    }
    None
}

pub(super) fn prepares(_: u64) {}
