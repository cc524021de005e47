//! Executors by name.

use crate::model::SERIAL;

/// The place of an executor among those that are as fast: the simplest first.
pub(super) fn simplicity(executor: &str) -> usize {
    let order = [SERIAL, "thread", "rayon", "process"];
    order.iter().position(|name| *name == executor).unwrap_or(order.len())
}

/// An executor and its workers, in words.
pub(super) fn name(executor: &str, workers: u32) -> String {
    match (executor, workers) {
        (SERIAL, _) => SERIAL.to_owned(),
        (_, 1) => format!("{executor} with 1 worker"),
        _ => format!("{executor} with {workers} workers"),
    }
}
