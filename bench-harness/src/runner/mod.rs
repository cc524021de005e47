//! Runs cells: in a random order, each in a new process, with clocks and counters.

pub(crate) mod child;
pub(crate) mod counters;
pub(crate) mod process_tree;
pub(crate) mod progress;
pub(crate) mod sampler;
pub(crate) mod schedule;
pub(crate) mod usage;
