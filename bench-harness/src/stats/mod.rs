//! Statistics on samples: pure functions, no input or output.

mod crossing;
mod latency;
mod least_squares;
pub(crate) mod metg;
mod order;
mod pairs;

pub(crate) use crossing::crossing;
pub(crate) use latency::{nanos, nearest_rank, percentiles};
pub(crate) use least_squares::Normal;
pub(crate) use order::{estimate, median, ratio_of_medians};
pub(crate) use pairs::{block_medians, block_ratios};
