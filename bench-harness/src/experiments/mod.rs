//! One file per experiment: what it measures, and what its figures say.

pub(crate) mod bench;
pub(crate) mod breakeven;
mod findings;
pub(crate) mod overhead;
pub(crate) mod settings;
pub(crate) mod stress;
