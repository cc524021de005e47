//! Statistics on samples: pure functions, no input or output.

mod bootstrap;
mod crossing;
mod latency;
mod least_squares;
pub(crate) mod metg;
mod order;
mod pairs;
mod scalability;

pub(crate) use bootstrap::{bootstrap_interval, quantile, widening};
pub(crate) use crossing::crossing;
pub(crate) use latency::{nanos, nearest_rank, percentiles};
pub(crate) use least_squares::Normal;
pub(crate) use order::{estimate, median, ratio_of_medians};
pub(crate) use pairs::{block_medians, block_ratios};
pub(crate) use scalability::{FEWEST_WIDTHS, law, serial_share};
