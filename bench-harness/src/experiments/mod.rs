//! One file per experiment: what it measures, and what its figures say.

pub(crate) mod bench;
mod breakeven;
mod experiment;
mod findings;
mod grid;
pub(crate) mod overhead;
pub(crate) mod settings;
pub(crate) mod stress;
mod words;

pub(crate) use experiment::Experiment;

/// All that the main job measures, in this order.
pub(crate) static ALL: &[&dyn Experiment] = &[&grid::Grid, &breakeven::BreakEven, &overhead::PerTask];

/// Those that are about one workload each: a sweep.
pub(crate) static SWEEP: &[&dyn Experiment] = &[&grid::Grid];
