//! One file per experiment: its measurements, and its findings.

pub(crate) mod bench;
mod breakeven;
mod causes;
pub(crate) mod claims;
pub(crate) mod cost;
mod experiment;
mod findings;
mod grid;
mod open_loop;
pub(crate) mod overhead;
pub(crate) mod pathologies;
pub(crate) mod python;
mod scaling;
pub(crate) mod settings;
mod speed_up;
pub(crate) mod stress;
mod width;
mod words;

pub(crate) use experiment::Experiment;

/// The experiments of the main job, in this order.
pub(crate) static ALL: &[&dyn Experiment] = &[
    &grid::Grid,
    &scaling::Laws,
    &causes::Causes,
    &open_loop::OpenLoops,
    &breakeven::BreakEven,
    &cost::Cost,
    &overhead::PerTask,
    &pathologies::IN_BENCH,
    &python::IN_BENCH,
];

/// The experiment of `lab breakeven`.
pub(crate) static BREAK_EVEN: &[&dyn Experiment] = &[&breakeven::BreakEven];

/// The experiment of `lab cost`.
pub(crate) static COST: &[&dyn Experiment] = &[&cost::Cost];

/// The experiments of a sweep: those about a single workload.
pub(crate) static SWEEP: &[&dyn Experiment] =
    &[&width::Width, &grid::Grid, &scaling::Laws, &causes::Causes, &open_loop::OpenLoops];
