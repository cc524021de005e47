//! The rules of the claims about time: pure functions of the samples.

pub(super) mod cost;
pub(super) mod cpu;
pub(super) mod data;
pub(super) mod io;
pub(super) mod pool;
#[cfg(test)]
mod tests;
